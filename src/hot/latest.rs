//! `entity_latest()` and `entities_latest()`: documents as they are read, with the rights of the caller.

use std::collections::HashMap;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::document::{self, Item, LENGTH, Pair, key_order};
use super::leaf::row_hash;
use super::merge::Stored;
use super::staged;
use super::times;
use super::upsert::{empty, with_length};
use crate::error::Error;
use crate::find::attribute::resolve;
use crate::heat::{self, Use};
use crate::ingest::Fault;
use crate::installed::{Installed, Table};
use crate::pg::identity;
use crate::pg::jsonb::Built;
use crate::pg::projection::{ReadLeaf, Reader};
use crate::registry::{required, tenant_at_least};
use crate::sql::{argument, read};
use crate::staging::dictionary;

/// Entities of one call of `entities_latest()`: what it returns lies in memory.
const MOST_ENTITIES: usize = 100_000;

#[pg_extern]
fn entity_latest(
    tenant_id: Option<i64>,
    entity_id: Option<i64>,
    names: Option<Vec<Option<String>>>,
    include_staged: Option<bool>,
) -> Result<Built, ErrorReport> {
    let tenant_id = tenant_at_least(tenant_id, 1, "1 and above")?;
    let entity_id = required(entity_id, "entity_id")?;
    let include_staged = required(include_staged, "include_staged")?;
    let installed = Installed::require()?;
    let names = names
        .map(|names| asked(&installed, tenant_id, names))
        .transpose()?;
    let mut source = Source::open(&installed)?;
    let document = if include_staged {
        let own_rights = !source.is_direct();
        let mut staged = None;
        source.with(&installed, tenant_id, entity_id, |stored| {
            staged = Some(staged::merged(
                &installed, tenant_id, entity_id, stored, own_rights,
            )?);
            Ok(())
        })?;
        match staged.flatten() {
            Some(document) => document,
            None => empty(),
        }
    } else {
        source.document(&installed, tenant_id, entity_id)?
    };
    Ok(match names {
        Some(names) => only(&document, &names).map_err(|fault| fault.of(&installed, tenant_id, entity_id))?,
        None => document,
    })
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn entities_latest(
    tenant_id: Option<i64>,
    entity_ids: Option<Vec<Option<i64>>>,
    names: Option<Vec<Option<String>>>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(entity_id, i64),
            name!(attribute, String),
            name!(value, Built),
            name!(observed_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let tenant_id = tenant_at_least(tenant_id, 1, "1 and above")?;
    let entity_ids = required(entity_ids, "entity_ids")?;
    if entity_ids.len() > MOST_ENTITIES {
        let fault = Fault::TooMuch {
            what: "entities of one call",
            count: entity_ids.len(),
            most: MOST_ENTITIES,
        };
        return Err(Error::from(fault).into());
    }
    let installed = Installed::require()?;
    let names = names
        .map(|names| asked(&installed, tenant_id, names))
        .transpose()?;
    let mut source = Source::open(&installed)?;
    let mut rows = Vec::new();
    for entity_id in entity_ids {
        let entity_id = required(entity_id, "entity_ids")?;
        pgrx::check_for_interrupts!();
        source.with(&installed, tenant_id, entity_id, |view| {
            let Shown::There(Some(stored)) = view else {
                return Ok(());
            };
            let of = |fault: super::merge::Fault| fault.of(&installed, tenant_id, entity_id);
            let seen = seen(&installed, stored).map_err(|fault| match fault {
                Seen::Fault(fault) => of(fault),
                Seen::Error(error) => error,
            })?;
            for pair in document::read(stored.attrs).map_err(|corrupt| of(corrupt.into()))? {
                let name = String::from_utf8_lossy(pair.key);
                if names
                    .as_ref()
                    .is_some_and(|names| !names.iter().any(|one| *one == *name))
                {
                    continue;
                }
                let observed_at = seen
                    .get(&*name)
                    .and_then(|time| TimestampWithTimeZone::try_from(*time).ok());
                rows.push((entity_id, name.into_owned(), single(pair.item), observed_at));
            }
            Ok(())
        })?;
    }
    Ok(TableIterator::new(rows))
}

enum Seen {
    Fault(super::merge::Fault),
    Error(Error),
}

/// When the value under each name was observed.
fn seen(installed: &Installed, stored: Stored) -> Result<HashMap<String, i64>, Seen> {
    let Some(packed) = stored.times else {
        return Ok(HashMap::new());
    };
    let times = times::unpack(packed).map_err(|corrupt| Seen::Fault(corrupt.into()))?;
    let ids = times.iter().map(|(id, _)| *id);
    // What names stand for is no secret.
    let attributes =
        identity::as_owner(|| dictionary::attributes(installed, false, ids)).map_err(Seen::Error)?;
    let named = times.iter().filter_map(|(id, stamp)| {
        let hot = attributes.hot(*id)?;
        Some((hot.name.to_string(), stamp.event))
    });
    Ok(named.collect())
}

/// The names that are asked for: each is that of a hot attribute.
fn asked(installed: &Installed, tenant_id: i64, names: Vec<Option<String>>) -> Result<Vec<String>, Error> {
    let mut asked = Vec::with_capacity(names.len());
    for name in names {
        asked.push(required(name, "names")?);
    }
    asked.sort_unstable_by(|left, right| key_order(left.as_bytes(), right.as_bytes()));
    asked.dedup();
    let wanted: Vec<&str> = asked.iter().map(String::as_str).collect();
    let found = identity::as_owner(|| resolve(installed, tenant_id, &wanted))?;
    for attribute in &found {
        heat::count(tenant_id, attribute.id, Use::Asked);
    }
    match found.into_iter().find(|attribute| !attribute.is_hot) {
        Some(cold) => Err(Fault::NotHot {
            name: cold.name,
            tenant_id,
        }
        .into()),
        None => Ok(asked),
    }
}

/// A document with these names alone, which are in the order of keys.
fn only(document: &Built, names: &[String]) -> Result<Built, super::merge::Fault> {
    let pairs = document::read(&document.0[LENGTH..])?;
    let chosen: Vec<Pair> = names
        .iter()
        .filter_map(|name| {
            let place = pairs.binary_search_by(|pair| key_order(pair.key, name.as_bytes()));
            place.ok().map(|place| pairs[place])
        })
        .collect();
    document::write(&chosen)
        .map(Built)
        .ok_or(super::merge::Fault::TooLarge)
}

/// A value as a document of its own.
pub fn single(item: Item) -> Built {
    with_length(&document::alone(item))
}

/// What the caller sees of an entity.
pub enum Shown<'a> {
    There(Option<Stored<'a>>),
    /// It is stored, but not to be shown.
    Deleted(Option<Stored<'a>>),
}

/// Where documents are read: straight from the leaves, or by the executor.
pub struct Source {
    reader: Option<Reader>,
    leaf: Option<(usize, Option<ReadLeaf>)>,
}

impl Source {
    pub fn open(installed: &Installed) -> Result<Source, Error> {
        Ok(Source {
            reader: Reader::open(installed.require_table(Table::Projection)?),
            leaf: None,
        })
    }

    pub fn is_direct(&self) -> bool {
        self.reader.is_some()
    }

    fn document(&mut self, installed: &Installed, tenant_id: i64, entity_id: i64) -> Result<Built, Error> {
        let mut document = None;
        self.with(installed, tenant_id, entity_id, |shown| {
            if let Shown::There(Some(stored)) = shown {
                document = Some(with_length(stored.attrs));
            }
            Ok(())
        })?;
        Ok(document.unwrap_or_else(empty))
    }

    /// Hands over what is stored of an entity.
    pub fn with(
        &mut self,
        installed: &Installed,
        tenant_id: i64,
        entity_id: i64,
        body: impl FnOnce(Shown) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if let Some(reader) = &self.reader {
            let place = reader.leaf_of(row_hash(tenant_id, entity_id));
            if self.leaf.as_ref().is_none_or(|(open, _)| *open != place) {
                self.leaf = None;
                self.leaf = Some((place, reader.leaf(place)));
            }
        }
        let Some((_, Some(leaf))) = &mut self.leaf else {
            return by_sql(installed, tenant_id, entity_id, body);
        };
        match leaf.find(tenant_id, entity_id, 0) {
            None => body(Shown::There(None)),
            Some(row) => {
                let stored = Stored {
                    attrs: row.attrs(),
                    times: row.times(),
                };
                body(if row.is_deleted() {
                    Shown::Deleted(Some(stored))
                } else {
                    Shown::There(Some(stored))
                })
            }
        }
    }
}

fn by_sql(
    installed: &Installed,
    tenant_id: i64,
    entity_id: i64,
    body: impl FnOnce(Shown) -> Result<(), Error>,
) -> Result<(), Error> {
    let text = format!(
        "SELECT hot_attrs, hot_times, deleted_at IS NOT NULL FROM {} WHERE tenant_id = $1 AND entity_id = $2",
        installed.qualified(Table::Projection)
    );
    let found = read(&text, vec![argument(tenant_id), argument(entity_id)], |rows| {
        if rows.is_empty() {
            return Ok(None);
        }
        Ok(Some(rows.first().get_three::<Built, Vec<u8>, bool>()?))
    })?;
    match &found {
        None | Some((None, ..)) => body(Shown::There(None)),
        Some((Some(attrs), times, deleted)) => {
            let stored = Stored {
                attrs: &attrs.0[LENGTH..],
                times: times.as_deref(),
            };
            body(if *deleted == Some(true) {
                Shown::Deleted(Some(stored))
            } else {
                Shown::There(Some(stored))
            })
        }
    }
}
