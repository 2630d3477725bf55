//! Names of attributes that a reader asks about, as his own rights let him see them.

use pgrx::pg_sys;

use crate::error::Error;
use crate::ingest::names::registered_names;
use crate::ingest::near::nearest;
use crate::installed::{Installed, Table};
use crate::pg::index_read::Scalar;
use crate::pg::keyed::Keyed;
use crate::sql::{argument, read};
use crate::staging::judge::ValueType;

use super::fault::Fault;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    pub id: i32,
    pub name: String,
    pub value_type: ValueType,
    pub is_hot: bool,
    pub is_searchable: bool,
}

/// In the order of the names; the tenant's own before those that all share. An error for a name that is neither.
pub fn resolve(installed: &Installed, tenant_id: i64, names: &[&str]) -> Result<Vec<Attribute>, Error> {
    let found = match direct(installed, tenant_id, names)? {
        Some(found) => found,
        None => by_sql(installed, tenant_id, names)?,
    };
    let mut resolved = Vec::with_capacity(names.len());
    for (name, found) in names.iter().zip(found) {
        match found {
            Some(attribute) => resolved.push(attribute),
            None => return Err(unknown(installed, tenant_id, name)?),
        }
    }
    Ok(resolved)
}

/// One name after the other, by the index on them. None where only the executor is right.
fn direct(
    installed: &Installed,
    tenant_id: i64,
    names: &[&str],
) -> Result<Option<Vec<Option<Attribute>>>, Error> {
    let key = [
        (("tenant_id", pg_sys::INT8OID), pg_sys::F_BTINT8CMP),
        (("name", pg_sys::TEXTOID), pg_sys::F_BTTEXTCMP),
    ];
    let columns = [
        ("attribute_id", pg_sys::INT4OID),
        ("value_type", pg_sys::TEXTOID),
        ("is_hot", pg_sys::BOOLOID),
        ("is_searchable", pg_sys::BOOLOID),
    ];
    let Some(table) = Keyed::open(installed.require_table(Table::Attributes)?, &key, columns) else {
        return Ok(None);
    };
    let of = |tenant_id, name: &str| {
        table.find(&[Scalar::Whole(tenant_id), Scalar::Text(name)], |row| {
            let value_type = ValueType::named(&row.text(1)?)?;
            Some(Attribute {
                id: row.small(0)?,
                name: name.to_owned(),
                value_type,
                is_hot: row.boolean(2),
                is_searchable: row.boolean(3),
            })
        })
    };
    let either = |name: &&str| of(tenant_id, name).or_else(|| of(0, name)).flatten();
    Ok(Some(names.iter().map(either).collect()))
}

fn by_sql(installed: &Installed, tenant_id: i64, names: &[&str]) -> Result<Vec<Option<Attribute>>, Error> {
    let text = format!(
        "SELECT DISTINCT ON (name) name, attribute_id, value_type, is_hot, is_searchable FROM {}
         WHERE tenant_id = ANY (ARRAY[0, $1]) AND name = ANY ($2) ORDER BY name, tenant_id DESC",
        installed.qualified(Table::Attributes)
    );
    let wanted: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut found = read(&text, vec![argument(tenant_id), argument(wanted)], |rows| {
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let (name, id) = (row.get::<String>(1)?, row.get::<i32>(2)?);
            let value_type = row.get::<String>(3)?.as_deref().and_then(ValueType::named);
            if let (Some(name), Some(id), Some(value_type)) = (name, id, value_type) {
                found.push(Attribute {
                    id,
                    name,
                    value_type,
                    is_hot: row.get(4)?.unwrap_or(false),
                    is_searchable: row.get(5)?.unwrap_or(false),
                });
            }
        }
        Ok(found)
    })?;
    let mut take = |name: &&str| {
        let place = found.iter().position(|attribute| attribute.name == *name)?;
        Some(found.swap_remove(place))
    };
    Ok(names.iter().map(&mut take).collect())
}

fn unknown(installed: &Installed, tenant_id: i64, name: &str) -> Result<Error, Error> {
    let registered = registered_names(installed, tenant_id)?;
    Ok(Fault::Unknown {
        tenant_id,
        name: name.to_owned(),
        near: nearest(name, registered.iter().map(String::as_str)),
    }
    .into())
}
