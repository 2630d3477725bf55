//! Names of attributes that a reader asks about, as his own rights let him see them.

use crate::error::Error;
use crate::ingest::names::registered_names;
use crate::ingest::near::nearest;
use crate::installed::{Installed, Table};
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
    let mut resolved = Vec::with_capacity(names.len());
    for name in names {
        match found.iter().position(|attribute| attribute.name == *name) {
            Some(place) => resolved.push(found.swap_remove(place)),
            None => return Err(unknown(installed, tenant_id, name)?),
        }
    }
    Ok(resolved)
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
