//! Filling the table that is indexed by value from documents, and emptying it.

use super::build::{Build, Place, Worked};
use super::documents::{locked, next_documents};
use crate::error::Error;
use crate::find::stored_value;
use crate::hot::search::{Changed, apply};
use crate::installed::{Installed, Table};
use crate::sql::{self, argument, read, value, write};

pub fn fill(installed: &Installed, build: &Build, most: i64) -> Result<Worked, Error> {
    let Some(tenant) = build.tenant(|after| next_documents(installed, after))? else {
        return Ok(Worked::Done);
    };
    // As long as they are locked nobody changes what is read now.
    let (entries, last) = locked(installed, build, tenant, most)?;
    let entities: Vec<i64> = entries.iter().map(|entry| entry.entity_id).collect();
    let text = format!(
        "SELECT entity_id, hot_attrs FROM {} WHERE tenant_id = $1 AND entity_id = ANY ($2)",
        installed.qualified(Table::Projection)
    );
    let mut filled = 0;
    let mut changed: Vec<Changed<'static>> = Vec::with_capacity(entities.len());
    if !entities.is_empty() {
        sql::each_now(&text, vec![argument(tenant), argument(entities)], |row| {
            let (Some(entity_id), Some(document)) = (row.long(0), row.document(1)) else {
                return Ok(true);
            };
            let stored = document.root().get(&build.name);
            let value = stored.and_then(|stored| stored_value(build.value_type, stored));
            changed.push(Changed {
                tenant_id: tenant,
                entity_id,
                attribute_id: build.attribute_id,
                value,
            });
            Ok(true)
        })?;
        filled = changed.len() as i64;
        apply(installed, &changed)?;
    }
    Ok(Worked::Some {
        entities: filled,
        place: Place {
            time: None,
            tenant: Some(tenant),
            entity: last,
        },
    })
}

pub fn empty(installed: &Installed, build: &Build, most: i64) -> Result<Worked, Error> {
    let search = installed.qualified(Table::Search);
    let next = |after: Option<i64>| -> Result<Option<i64>, Error> {
        let text = format!("SELECT min(tenant_id) FROM {search} WHERE tenant_id > $1");
        read(&text, vec![argument(after.unwrap_or(0))], value)
    };
    let Some(tenant) = build.tenant(next)? else {
        return Ok(Worked::Done);
    };
    let removed: Option<i64> = write(
        &format!(
            "WITH gone AS (
                 DELETE FROM {search} WHERE tenant_id = $1 AND attribute_id = $2 AND entity_id = ANY (ARRAY(
                     SELECT entity_id FROM {search} WHERE tenant_id = $1 AND attribute_id = $2 ORDER BY entity_id LIMIT $3))
                 RETURNING 1)
             SELECT count(*) FROM gone"
        ),
        vec![argument(tenant), argument(build.attribute_id), argument(most)],
        value,
    )?;
    let removed = removed.unwrap_or(0);
    Ok(Worked::Some {
        entities: removed,
        place: Place {
            time: None,
            tenant: Some(tenant),
            // Any number: there is more of this tenant.
            entity: (removed >= most).then_some(0),
        },
    })
}
