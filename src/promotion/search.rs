//! Filling the table that is indexed by value from documents, and emptying it.

use super::build::{Build, Place, Worked};
use super::documents::{locked, next_documents};
use crate::error::Error;
use crate::find::stored_value;
use crate::hot::leaves::Leaves;
use crate::hot::search::{Changed, Entity, apply};
use crate::installed::{Installed, Table};
use crate::pg::jsonb::Jsonb;
use crate::pg::memory::Scratch;
use crate::pg::xact;
use crate::sql::{self, argument, read, value, write};

pub fn fill(installed: &Installed, build: &Build, most: i64) -> Result<Worked, Error> {
    let Some(tenant) = build.tenant(|after| next_documents(installed, after))? else {
        return Ok(Worked::Done);
    };
    // As long as they are locked nobody changes what is read now.
    let (entries, last) = locked(installed, build, tenant, most)?;
    let entities: Vec<i64> = entries.iter().map(|entry| entry.entity_id).collect();
    let changed = values(installed, build, tenant, &entities)?;
    apply(installed, &changed)?;
    Ok(Worked::Some {
        entities: entities.len() as i64,
        place: Place {
            time: None,
            tenant: Some(tenant),
            entity: last,
        },
    })
}

/// What these entities have of the attribute now.
fn values(
    installed: &Installed,
    build: &Build,
    tenant_id: i64,
    entities: &[i64],
) -> Result<Vec<Changed<'static>>, Error> {
    let change = |entity_id, place, document: &Jsonb| Changed {
        entity: Entity {
            tenant_id,
            entity_id,
            place,
        },
        attribute_id: build.attribute_id,
        value: document
            .root()
            .get(&build.name)
            .and_then(|stored| stored_value(build.value_type, stored)),
    };
    let mut changed = Vec::with_capacity(entities.len());
    let mut left = entities;
    xact::with_latest_snapshot(|| {
        let Some(mut leaves) = Leaves::open(installed)? else {
            return Ok(());
        };
        let scratch = Scratch::new();
        while let Some((entity_id, others)) = left.split_first() {
            pgrx::check_for_interrupts!();
            let Some(leaf) = leaves.of(tenant_id, *entity_id) else {
                break;
            };
            if let Some(row) = leaf.find(tenant_id, *entity_id, 0) {
                scratch.within(|| changed.push(change(*entity_id, row.root(), &row.document())));
                scratch.reset();
            }
            left = others;
        }
        Ok(())
    })?;
    if left.is_empty() {
        return Ok(changed);
    }
    let text = format!(
        "SELECT entity_id, hot_attrs FROM {} WHERE tenant_id = $1 AND entity_id = ANY ($2)",
        installed.qualified(Table::Projection)
    );
    sql::each_now(&text, vec![argument(tenant_id), argument(left.to_vec())], |row| {
        if let (Some(entity_id), Some(document)) = (row.long(0), row.document(1)) {
            changed.push(change(entity_id, 0, &document));
        }
        Ok(true)
    })?;
    Ok(changed)
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
