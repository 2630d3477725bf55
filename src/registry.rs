//! Names to ids: attributes and entities, registered when they are new.

use std::collections::{BTreeSet, HashMap};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::SpiTupleTable;

use crate::error::Error;
use crate::ingest::names;
use crate::installed::{Installed, Table};
use crate::pg::{identity, xact};
use crate::sql::{argument, read, value, write};
use crate::staging::dictionary;

/// Longest name of an attribute, in bytes.
pub const LONGEST_NAME: usize = 63;

/// Longest external id of an entity, in bytes.
pub const LONGEST_EXTERNAL_ID: usize = 255;

const VALUE_TYPES: [&str; 6] = ["number", "integer", "boolean", "timestamp", "text", "json"];

#[pg_extern]
fn register_attribute(
    tenant_id: Option<i64>,
    name: Option<&str>,
    value_type: Option<&str>,
    unit: Option<&str>,
    is_hot: Option<bool>,
) -> Result<i32, ErrorReport> {
    let tenant_id = tenant_at_least(tenant_id, 0, "0 (shared by all tenants) and above")?;
    let name = required(name, "name")?;
    check_text(name, "name", LONGEST_NAME)?;
    let value_type = required(value_type, "value_type")?;
    if !VALUE_TYPES.contains(&value_type) {
        return Err(Error::UnknownValueType(value_type.to_owned()).into());
    }
    let is_hot = required(is_hot, "is_hot")?;
    Ok(identity::as_owner(|| {
        get_or_create_attribute(tenant_id, name, value_type, unit, is_hot)
    })?)
}

fn get_or_create_attribute(
    tenant_id: i64,
    name: &str,
    value_type: &str,
    unit: Option<&str>,
    is_hot: bool,
) -> Result<i32, Error> {
    let attributes = Installed::require()?.qualified(Table::Attributes);
    // Looked up first: an attribute that exists costs no write, and is found on a standby as well.
    let found = read(
        &format!("SELECT attribute_id, value_type FROM {attributes} WHERE tenant_id = $1 AND name = $2"),
        vec![argument(tenant_id), argument(name.to_owned())],
        id_and_type,
    )?;
    let (id, registered) = match found {
        Some(known) => known,
        None => create_attribute(&attributes, tenant_id, name, value_type, unit, is_hot)?,
    };
    if registered == value_type {
        return Ok(id);
    }
    let (name, wanted) = (name.to_owned(), value_type.to_owned());
    Err(Error::TypeClash {
        name,
        tenant_id,
        registered,
        wanted,
    })
}

/// The update that changes nothing gives back a row which another session, or this statement, made a moment ago.
fn create_attribute(
    attributes: &str,
    tenant_id: i64,
    name: &str,
    value_type: &str,
    unit: Option<&str>,
    is_hot: bool,
) -> Result<(i32, String), Error> {
    xact::check_writable()?;
    // It may hide a shared one of the same name.
    names::forget();
    dictionary::changed(&Installed::require()?)?;
    let created = write(
        &format!(
            "INSERT INTO {attributes} AS known (tenant_id, name, value_type, unit, is_hot) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (tenant_id, name) DO UPDATE SET name = known.name RETURNING attribute_id, value_type"
        ),
        vec![
            argument(tenant_id),
            argument(name.to_owned()),
            argument(value_type.to_owned()),
            argument(unit.map(str::to_owned)),
            argument(is_hot),
        ],
        id_and_type,
    )?;
    created.ok_or_else(|| Error::NotRegistered(name.to_owned()))
}

fn id_and_type(rows: SpiTupleTable<'_>) -> Result<Option<(i32, String)>, Error> {
    if rows.is_empty() {
        return Ok(None);
    }
    let (id, value_type) = rows.first().get_two()?;
    Ok(id.zip(value_type))
}

#[pg_extern]
fn register_entity(tenant_id: Option<i64>, external_id: Option<&str>) -> Result<i64, ErrorReport> {
    let tenant_id = tenant_at_least(tenant_id, 1, "1 and above")?;
    let external_id = required(external_id, "external_id")?;
    check_text(external_id, "external_id", LONGEST_EXTERNAL_ID)?;
    Ok(identity::as_owner(|| {
        get_or_create_entity(&Installed::require()?, tenant_id, external_id)
    })?)
}

/// The ids of several entities, in order, those that are new given out one by one: whoever gives all of his names in the same
/// order waits for nobody in a circle.
pub fn entities<'a>(
    installed: &Installed,
    tenant_id: i64,
    external_ids: BTreeSet<&'a str>,
) -> Result<HashMap<&'a str, i64>, Error> {
    let mut known: HashMap<String, i64> = HashMap::new();
    // One by itself is looked up below.
    if external_ids.len() > 1 {
        let text = format!(
            "SELECT external_id, entity_id FROM {} WHERE tenant_id = $1 AND external_id = ANY ($2)",
            installed.qualified(Table::Entities)
        );
        let names: Vec<String> = external_ids.iter().map(|name| (*name).to_owned()).collect();
        known = read(&text, vec![argument(tenant_id), argument(names)], |rows| {
            let mut known = HashMap::with_capacity(rows.len());
            for row in rows {
                known.extend(row.get::<String>(1)?.zip(row.get::<i64>(2)?));
            }
            Ok(known)
        })?;
    }
    let id = |name: &'a str| match known.get(name) {
        Some(id) => Ok((name, *id)),
        None => Ok((name, get_or_create_entity(installed, tenant_id, name)?)),
    };
    external_ids.into_iter().map(id).collect()
}

fn get_or_create_entity(installed: &Installed, tenant_id: i64, external_id: &str) -> Result<i64, Error> {
    let entities = installed.qualified(Table::Entities);
    let arguments = || vec![argument(tenant_id), argument(external_id.to_owned())];
    let found: Option<i64> = read(
        &format!("SELECT entity_id FROM {entities} WHERE tenant_id = $1 AND external_id = $2"),
        arguments(),
        value,
    )?;
    if let Some(id) = found {
        return Ok(id);
    }
    xact::check_writable()?;
    loop {
        let created: Option<i64> = write(
            &format!(
                "INSERT INTO {entities} (tenant_id, external_id) VALUES ($1, $2)
                 ON CONFLICT DO NOTHING RETURNING entity_id"
            ),
            arguments(),
            value,
        )?;
        if let Some(id) = created {
            return Ok(id);
        }
        // Another session registered the same name a moment ago; or the application chose the number itself that came next,
        // and perhaps those behind it as well, so the sequence goes on behind them all.
        let registered: Option<i64> = write(
            &format!("SELECT entity_id FROM {entities} WHERE tenant_id = $1 AND external_id = $2"),
            arguments(),
            value,
        )?;
        if let Some(id) = registered {
            return Ok(id);
        }
        let skipped: Option<bool> = write(
            &format!(
                "SELECT setval(pg_get_serial_sequence($2, 'entity_id'), max(entity_id)) > 0
                 FROM {entities} WHERE tenant_id = $1"
            ),
            vec![argument(tenant_id), argument(entities.clone())],
            value,
        )?;
        if skipped != Some(true) {
            return Err(Error::NotRegistered(external_id.to_owned()));
        }
    }
}

pub fn required<T>(argument_value: Option<T>, argument: &'static str) -> Result<T, Error> {
    argument_value.ok_or(Error::NullArgument { argument })
}

pub fn tenant_at_least(tenant_id: Option<i64>, least: i64, allowed: &'static str) -> Result<i64, Error> {
    let value = required(tenant_id, "tenant_id")?;
    if value < least {
        return Err(Error::OutOfRange {
            argument: "tenant_id",
            value,
            allowed,
        });
    }
    Ok(value)
}

fn check_text(text: &str, argument: &'static str, longest: usize) -> Result<(), Error> {
    match text_fault(text, longest) {
        Some(fault) => Err(Error::InvalidText { argument, fault }),
        None => Ok(()),
    }
}

/// Why a text is no name.
pub fn text_fault(text: &str, longest: usize) -> Option<String> {
    if text.is_empty() {
        Some("it is empty".to_owned())
    } else if text.len() > longest {
        Some(format!("it has {} bytes, allowed are {longest}", text.len()))
    } else if text.chars().any(char::is_control) {
        Some("it contains a control character".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_in_bytes() {
        assert!(check_text(&"a".repeat(63), "name", 63).is_ok());
        assert!(check_text(&"ä".repeat(32), "name", 63).is_err());
        assert!(check_text("", "name", 63).is_err());
        assert!(check_text("a\tb", "name", 63).is_err());
    }
}
