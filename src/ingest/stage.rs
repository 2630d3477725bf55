//! From documents to rows of staging.

use std::collections::{BTreeSet, HashMap};

use super::document::{Entity, Item, MOST_BYTES, Place, json, type_when_new};
use super::fault::Fault;
use super::ledger;
use super::names::{Known, Names, Use, with_names};
use super::value::{Json, Mismatch, Typed, typed};
use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Table};
use crate::pg::door::Door;
use crate::pg::handover::{TAKEN, Taken};
use crate::pg::jsonb::Value;
use crate::pg::process;
use crate::registry;
use crate::sql::write_taken;
use crate::staging::batch::{Batch, NO_LEAF};
use crate::staging::compose::{NewReading, compose};
use crate::staging::json_text::MOST_LEVELS;
use crate::staging::store::COLUMNS;

/// Most bytes of text that one call stages. Far more than its document can hold, but for numbers: 1e131071 takes a few bytes as
/// jsonb and 131,072 as text, and a document full of them would fill the memory of the server.
const MOST_TEXT: usize = 4 * MOST_BYTES;

/// What one call wants to be staged.
pub struct Call<'a> {
    pub tenant_id: i64,
    pub durable: bool,
    pub items: Vec<Item<'a>>,
}

/// How many readings were staged, by this call or by the one that it repeats.
pub fn stage(installed: &Installed, mut call: Call) -> Result<i64, Error> {
    let repeated = ledger::enter(installed, call.tenant_id, call.durable, &mut call.items)?;
    let entities = entities(installed, &call)?;
    if call.items.iter().all(|item| item.readings.is_empty()) {
        return Ok(repeated);
    }
    let uses = call.items.iter().flat_map(|item| {
        let place = item.place;
        item.readings.iter().map(move |(name, value)| {
            let type_when_new = type_when_new(value);
            let first = Use {
                place,
                type_when_new,
                hot_when_new: false,
            };
            (*name, first)
        })
    });
    let batch = with_names(installed, call.tenant_id, uses, |names| {
        rows(&call, &entities, names)
    })?;
    let staged = write_rows(installed, call.durable, batch)?;
    Ok(repeated + staged)
}

/// The ids of those that came with a name of the application's.
fn entities<'a>(installed: &Installed, call: &Call<'a>) -> Result<HashMap<&'a str, i64>, Error> {
    let mut external = BTreeSet::new();
    for item in &call.items {
        let Entity::External(external_id) = item.entity else {
            continue;
        };
        if let Some(fault) = registry::text_fault(external_id, registry::LONGEST_EXTERNAL_ID) {
            return Err(Fault::ExternalId {
                at: item.place.of("external_id"),
                external_id: external_id.to_owned(),
                fault,
            }
            .into());
        }
        external.insert(external_id);
    }
    // In the order of their names, as with attributes.
    registry::entities(installed, call.tenant_id, external)
}

fn rows(call: &Call, entities: &HashMap<&str, i64>, names: &Names) -> Result<Batch, Error> {
    let ingested_at = process::transaction_start();
    let most_bytes = guc::max_value_size();
    let mut batch = Batch::unrouted(usize::MAX, usize::MAX);
    let mut tuple = Vec::new();
    let mut bytes_of_text = 0;
    for item in &call.items {
        let entity_id = match item.entity {
            Entity::Id(id) => id,
            Entity::External(external_id) => entities
                .get(external_id)
                .copied()
                .ok_or_else(|| Error::NotRegistered(external_id.to_owned()))?,
        };
        for (name, value) in &item.readings {
            pgrx::check_for_interrupts!();
            let (Some(known), Some(json)) = (names.get(*name), json(value)) else {
                return Err(Error::NotRegistered((*name).to_owned()));
            };
            let typed = checked(item.place, name, known, value, &json, most_bytes)?;
            if let Typed::Text(text) = &typed {
                bytes_of_text += text.len();
            }
            if bytes_of_text > MOST_TEXT {
                return Err(Fault::TooMuch {
                    what: "bytes of text",
                    count: bytes_of_text,
                    most: MOST_TEXT,
                }
                .into());
            }
            let reading = NewReading {
                tenant_id: call.tenant_id,
                entity_id,
                ingested_at,
                observed_at: item.observed_at,
                attribute_id: known.id,
                value: typed.column(),
            };
            compose(&reading, &mut tuple);
            batch.add(&tuple, ingested_at, NO_LEAF);
        }
    }
    Ok(batch)
}

/// The value as its attribute wants it, or why it is none.
pub fn checked<'a>(
    place: Place,
    name: &str,
    known: &Known,
    value: &Value<'a>,
    json: &Json<'a>,
    most_bytes: usize,
) -> Result<Typed<'a>, Fault> {
    let typed = match typed(known.value_type, json) {
        Ok(Typed::Nested) => Typed::Text(nested_text(place, name, value, most_bytes)?.into()),
        Ok(typed) => typed,
        Err(found) => return Err(value_fault(place, name, known, found, json)),
    };
    match &typed {
        Typed::Text(text) if text.len() > most_bytes => Err(too_long(place, name, text.len(), most_bytes)),
        _ => Ok(typed),
    }
}

fn value_fault(place: Place, name: &str, known: &Known, found: Mismatch, json: &Json) -> Fault {
    Fault::Value {
        at: place.readings(),
        name: name.to_owned(),
        registered: known.value_type,
        found,
        kind: json.kind(),
    }
}

fn too_long(place: Place, name: &str, bytes: usize, most: usize) -> Fault {
    Fault::TooLong {
        at: place.readings(),
        name: name.to_owned(),
        bytes,
        most,
    }
}

fn nested_text(place: Place, name: &str, value: &Value, most_bytes: usize) -> Result<String, Fault> {
    let Value::Nested(container) = value else {
        return Ok(String::new());
    };
    if container.depth(MOST_LEVELS) > MOST_LEVELS {
        return Err(Fault::TooDeep {
            at: place.readings(),
            name: name.to_owned(),
            most: MOST_LEVELS,
        });
    }
    let digits = container.digits(most_bytes);
    if digits > most_bytes {
        return Err(too_long(place, name, digits, most_bytes));
    }
    Ok(container.text())
}

fn write_rows(installed: &Installed, durable: bool, mut batch: Batch) -> Result<i64, Error> {
    let table = if durable {
        Table::IngestDurable
    } else {
        Table::Ingest
    };
    if let Some(door) = Door::open(installed.require_table(table)?) {
        return Ok(door.insert(&mut batch));
    }
    let mut taken = Taken::new();
    for row in &batch.rows {
        taken.add(batch.tuple(row), None);
    }
    let text = format!(
        "INSERT INTO {} ({COLUMNS}) SELECT {COLUMNS} FROM {TAKEN}",
        installed.qualified(table)
    );
    write_taken(&text, vec![], &mut taken)
}
