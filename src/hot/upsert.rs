//! `upsert_hot_attrs()`: values that whoever writes them wants to read at once. The document and the facts are written in the
//! caller's transaction: a fact on its way through staging could be lost while the document keeps the value.
//!
//! Lock order: the row of the entity, then facts. The flush takes facts first and never waits for a row, so there is no circle;
//! two sessions that upsert several entities in another order can deadlock with each other, as with UPDATE.

use std::cell::OnceCell;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::by_sql;
use super::document::{self, LENGTH};
use super::entity::{Outcome, View, Writer};
use super::merge::{Delta, Merged, Stored, merge};
use super::project::note_changes;
use super::search::{self, Entity};
use super::stamp::Stamp;
use super::times;
use super::value::HotValue;
use crate::error::Error;
use crate::guc;
use crate::ingest::Fault;
use crate::ingest::document::{Place, json, kind, open, type_when_new};
use crate::ingest::functions::finite;
use crate::ingest::names::{Known, Use, with_names};
use crate::ingest::stage::checked;
use crate::ingest::value::Typed;
use crate::installed::{Installed, Table};
use crate::partition::create::{Parent, ensure_at};
use crate::pg::jsonb::{Built, Container, Jsonb, Shape, Value, layout_of};
use crate::pg::partitions::{self, EPOCH_2000};
use crate::pg::{identity, process, xact};
use crate::registry::{required, tenant_at_least};
use crate::shmem;
use crate::staging::batch::{Batch, NO_LEAF};
use crate::staging::compose::{NewReading, compose};
use crate::staging::course::Course;
use crate::staging::dictionary::{self, Attributes};
use crate::staging::flush::{Move, around};
use crate::staging::judge::{self, ValueType};
use crate::staging::store::write_facts;

#[pg_extern]
fn upsert_hot_attrs<'a>(
    tenant_id: Option<i64>,
    entity_id: Option<i64>,
    attrs: Option<Jsonb<'a>>,
    observed_at: Option<TimestampWithTimeZone>,
) -> Result<Built, ErrorReport> {
    let tenant_id = tenant_at_least(tenant_id, 1, "1 and above")?;
    let entity_id = required(entity_id, "entity_id")?;
    let attrs = required(attrs, "attrs")?;
    let observed_at = observed_at.map(finite).transpose()?;
    Ok(identity::as_owner(|| {
        xact::check_writable()?;
        let installed = Installed::require()?;
        shmem::notice_if_unseen(process::my_database());
        let call = Call {
            installed: &installed,
            tenant_id,
            entity_id,
            observed_at,
        };
        let root = open(&attrs, "bytes of attrs")?;
        call.run(&readings(tenant_id, root, &installed)?)
    })?)
}

/// A value of the call.
struct Reading<'a> {
    known: Known,
    name: &'a str,
    value: Typed<'a>,
}

fn readings<'a>(
    tenant_id: i64,
    attrs: Container<'a>,
    installed: &Installed,
) -> Result<Vec<Reading<'a>>, Error> {
    if attrs.shape() != Shape::Object {
        let fault = format!("must be a JSON object, not {}", kind(attrs));
        return Err(Fault::Attrs { fault }.into());
    }
    let pairs = attrs.pairs();
    if let Some((name, _)) = pairs.iter().find(|(_, value)| matches!(value, Value::Null)) {
        let name = (*name).to_owned();
        return Err(Fault::Null { name }.into());
    }
    let uses = pairs.iter().map(|(name, value)| {
        let first = Use {
            place: Place::Attrs,
            type_when_new: type_when_new(value),
            hot_when_new: true,
        };
        (*name, first)
    });
    let most_bytes = guc::max_value_size();
    with_names(installed, tenant_id, uses, |names| {
        let mut readings = Vec::with_capacity(pairs.len());
        for (name, value) in &pairs {
            let (Some(known), Some(json)) = (names.get(*name), json(value)) else {
                return Err(Error::NotRegistered((*name).to_owned()));
            };
            readings.push(Reading {
                known: *known,
                name,
                value: checked(Place::Attrs, name, known, value, &json, most_bytes)?,
            });
        }
        readings.sort_by_key(|reading| reading.known.id);
        Ok(readings)
    })
}

struct Call<'a> {
    installed: &'a Installed,
    tenant_id: i64,
    entity_id: i64,
    observed_at: Option<i64>,
}

impl Call<'_> {
    fn run(&self, readings: &[Reading]) -> Result<Built, Error> {
        // What this transaction did before counts, by this function too, in the same statement even.
        xact::next_command();
        let attributes = self.attributes(readings)?;
        let mut deltas = Vec::with_capacity(readings.len());
        for reading in readings {
            deltas.push(self.delta(reading, &attributes)?);
        }
        let mut ingested_at = 0;
        let mut kept = None;
        let written = {
            let mut change = |view: View| {
                if view.is_deleted {
                    return Err(self.deleted());
                }
                ingested_at = self.stamp(view.stored, &mut deltas)?;
                let merged = merge(view.stored, &deltas, &layout_of).map_err(|fault| self.fault(fault))?;
                if merged.is_none() {
                    kept = view.stored.map(|stored| with_length(stored.attrs));
                }
                Ok(merged)
            };
            self.write(&mut change)?
        };
        self.store_facts(readings, ingested_at)?;
        let attrs = match written {
            Some((merged, place)) => {
                let attrs = Built(merged.attrs.clone());
                let mut changed = Vec::new();
                let entity = Entity {
                    tenant_id: self.tenant_id,
                    entity_id: self.entity_id,
                    place,
                };
                note_changes(&mut changed, entity, merged, &deltas, &attributes);
                if !changed.is_empty() {
                    search::apply(self.installed, &changed)?;
                }
                attrs
            }
            None => kept.unwrap_or_else(empty),
        };
        xact::next_command();
        Ok(attrs)
    }

    /// Where a statement sees what was committed before it, without the executor if the row is free; otherwise as UPDATE. With the
    /// place of the row, 0 if that is not known.
    fn write(
        &self,
        change: &mut dyn FnMut(View) -> Result<Option<Merged>, Error>,
    ) -> Result<Option<(Merged, u64)>, Error> {
        if xact::is_read_committed() {
            let mut writer = Writer::open(self.installed)?;
            match writer.write(self.installed, self.tenant_id, self.entity_id, change)? {
                Outcome::Written(merged, place) => return Ok(Some((merged, place))),
                Outcome::AsItWas => return Ok(None),
                Outcome::Busy => {}
            }
        }
        let merged = by_sql::write_waiting(self.installed, self.tenant_id, self.entity_id, change)?;
        Ok(merged.map(|merged| (merged, 0)))
    }

    /// What is known of the attributes, looked up anew if one seems not to be hot.
    fn attributes(&self, readings: &[Reading]) -> Result<std::rc::Rc<Attributes>, Error> {
        let ids = || readings.iter().map(|reading| reading.known.id);
        let known = dictionary::attributes(self.installed, xact::has_id(), ids())?;
        if ids().all(|id| known.hot(id).is_some()) {
            return Ok(known);
        }
        dictionary::forget();
        dictionary::attributes(self.installed, xact::has_id(), ids())
    }

    fn delta<'r>(&self, reading: &'r Reading, attributes: &Attributes) -> Result<Delta<'r>, Error> {
        let hot = attributes.hot(reading.known.id).ok_or_else(|| Fault::NotHot {
            name: reading.name.to_owned(),
            tenant_id: self.tenant_id,
        })?;
        Ok(Delta {
            attribute_id: reading.known.id,
            name: reading.name,
            shadows: hot.shadows,
            stamp: Stamp::of(0, None),
            value: hot_value(reading),
        })
    }

    /// Gives all values the time of this call, and says when they came in. Without `observed_at` they are newer than what is
    /// stored, however the clock goes.
    fn stamp(&self, stored: Option<Stored>, deltas: &mut [Delta]) -> Result<i64, Error> {
        let now = process::now();
        let ingested_at = match self.observed_at {
            Some(_) => now,
            None => {
                let packed = stored.and_then(|stored| stored.times);
                let times = packed.map(times::unpack).transpose();
                let times = times
                    .map_err(|corrupt| self.fault(corrupt.into()))?
                    .unwrap_or_default();
                let known = |delta: &Delta| {
                    let place = times.binary_search_by_key(&delta.attribute_id, |(id, _)| *id);
                    place.ok().map(|place| times[place].1.event)
                };
                let newest = deltas.iter().filter_map(known).max();
                newest.map_or(now, |newest| now.max(newest.saturating_add(1)))
            }
        };
        for delta in deltas {
            delta.stamp = Stamp::of(ingested_at, self.observed_at);
        }
        Ok(ingested_at)
    }

    fn store_facts(&self, readings: &[Reading], ingested_at: i64) -> Result<(), Error> {
        if readings.is_empty() {
            return Ok(());
        }
        if self
            .observed_at
            .is_some_and(|observed_at| !around().accepts(ingested_at, observed_at))
        {
            return Err(Error::CannotStore(judge::Fault::ObservedAtOutside));
        }
        let facts = self.installed.require_table(Table::Facts)?;
        let mut partitions = partitions::to_write(facts);
        let covering = |partitions: &[partitions::Partition]| {
            let covers = |partition: &partitions::Partition| {
                partition.from <= ingested_at && ingested_at < partition.until
            };
            partitions.iter().position(covers)
        };
        if covering(&partitions).is_none() {
            ensure_at(self.installed, Parent::Facts, &[ingested_at + EPOCH_2000], 1)?;
            partitions = partitions::to_write(facts);
        }
        // Without one the executor is asked, and raises its error.
        let leaf = covering(&partitions).map_or(NO_LEAF, |place| place as u32);
        let mut batch = Batch::unrouted(usize::MAX, usize::MAX);
        let mut tuple = Vec::new();
        for reading in readings {
            let new = NewReading {
                tenant_id: self.tenant_id,
                entity_id: self.entity_id,
                ingested_at,
                observed_at: self.observed_at,
                attribute_id: reading.known.id,
                value: reading.value.column(),
            };
            compose(&new, &mut tuple);
            batch.add(&tuple, ingested_at, leaf);
        }
        let work = Move {
            installed: self.installed,
            door: Table::IngestDurable,
            partitions,
            wrote_before: true,
            course: &Course::default(),
            not_deferred: OnceCell::new(),
        };
        let rows = std::mem::take(&mut batch.rows);
        write_facts(&work, facts, &mut batch, &rows)?;
        batch.rows = rows;
        Ok(())
    }

    fn fault(&self, fault: super::merge::Fault) -> Error {
        fault.of(self.installed, self.tenant_id, self.entity_id)
    }

    fn deleted(&self) -> Error {
        Error::EntityDeleted {
            tenant_id: self.tenant_id,
            entity_id: self.entity_id,
        }
    }
}

fn hot_value<'r>(reading: &'r Reading) -> HotValue<'r> {
    match (&reading.value, reading.known.value_type) {
        (Typed::Number(value), _) => HotValue::Number(*value),
        (Typed::Whole(value), ValueType::Boolean) => HotValue::Boolean(*value != 0),
        (Typed::Whole(value), ValueType::Timestamp) => HotValue::Timestamp(*value),
        (Typed::Whole(value), _) => HotValue::Integer(*value),
        (Typed::Text(text), ValueType::Json) => HotValue::Json(text.as_ref().into()),
        (Typed::Text(text), _) => HotValue::Text(text.as_ref().into()),
        (Typed::Nested, _) => HotValue::Json("null".into()),
    }
}

/// The document of an entity that has none.
pub fn empty() -> Built {
    Built(document::write(&[]).unwrap_or_default())
}

/// A document as a value of its own.
pub fn with_length(container: &[u8]) -> Built {
    let length = (container.len() + LENGTH) as u32;
    let length = if cfg!(target_endian = "little") {
        length << 2
    } else {
        length
    };
    let mut whole = Vec::with_capacity(container.len() + LENGTH);
    whole.extend_from_slice(&length.to_ne_bytes());
    whole.extend_from_slice(container);
    Built(whole)
}
