//! Filling documents with an attribute that has become hot, and taking out one that is no longer.

use super::build::{Build, Place, Worked};
use crate::error::Error;
use crate::hot::times;
use crate::installed::{Installed, Table};
use crate::pg::partitions;
use crate::sql::{Argument, argument, read, read_once, run_once, time, value, write};
use crate::staging::store::COLUMNS;

/// Has the newest reading of each entity wait for the projection, one partition after the other: the flush takes them in as it takes in
/// all that waits there, and newest wins, so neither the order nor what comes in meanwhile matters.
pub fn fill(installed: &Installed, build: &Build, most: i64) -> Result<Worked, Error> {
    let facts = installed.require_table(Table::Facts)?;
    let from = build.place.time.unwrap_or(i64::MIN);
    let found = partitions::to_read(facts)
        .into_iter()
        .find(|part| part.until > from);
    let Some(partition) = found else {
        // All of it is on its way, and complete once it has arrived.
        return Ok(match is_pending(installed, build.attribute_id)? {
            true => {
                Worked::Waiting("readings that wait for the projection; a flush takes them in".to_owned())
            }
            false => Worked::Done,
        });
    };
    let bounds = || {
        vec![
            argument(build.attribute_id),
            time(partition.from.max(from)),
            time(partition.until),
        ]
    };
    let next_partition = Worked::Some {
        entities: 0,
        place: Place {
            time: Some(partition.until),
            ..Place::default()
        },
    };
    let Some(tenant) = build.tenant(|after| next_tenant(installed, &bounds, after))? else {
        return Ok(next_partition);
    };
    let after = build.place.entity.filter(|_| build.place.tenant == Some(tenant));
    let behind = after.map_or("", |_| "AND entity_id > $6");
    let mut arguments = bounds();
    arguments.extend([argument(tenant), argument(most), argument(after)]);
    let text = format!(
        "WITH newest AS (
             SELECT DISTINCT ON (entity_id) {COLUMNS} FROM {facts}
             WHERE tenant_id = $4 AND attribute_id = $1 AND ingested_at >= $2 AND ingested_at < $3 {behind}
             ORDER BY entity_id, least(coalesce(observed_at, ingested_at), ingested_at) DESC, ingested_at DESC,
                      value_num DESC, value_int DESC, value_text COLLATE \"C\" DESC
             LIMIT $5),
         kept AS (INSERT INTO {pending} ({COLUMNS}) SELECT {COLUMNS} FROM newest)
         SELECT count(*), max(entity_id) FROM newest",
        facts = installed.qualified(Table::Facts),
        pending = installed.qualified(Table::Pending),
    );
    let (entities, last) = run_once(&text, arguments, |rows| Ok(rows.first().get_two::<i64, i64>()?))?;
    let entities = entities.unwrap_or(0);
    let is_last = entities < most;
    Ok(Worked::Some {
        entities,
        place: Place {
            time: Some(partition.from.max(from)),
            tenant: Some(tenant),
            entity: last.filter(|_| !is_last),
        },
    })
}

/// The tenant of a shared attribute that comes next in a partition.
fn next_tenant(
    installed: &Installed,
    bounds: &dyn Fn() -> Vec<Argument>,
    after: Option<i64>,
) -> Result<Option<i64>, Error> {
    let mut arguments = bounds();
    arguments.push(argument(after.unwrap_or(0)));
    // Attribute and partition are looked at for each tenant in turn.
    let text = format!(
        "SELECT min(tenant_id) FROM {} WHERE tenant_id > $4 AND ingested_at >= $2 AND ingested_at < $3 AND $1 IS NOT NULL",
        installed.qualified(Table::Facts)
    );
    read_once(&text, arguments, value)
}

fn is_pending(installed: &Installed, attribute_id: i32) -> Result<bool, Error> {
    let text = format!(
        "SELECT EXISTS (SELECT FROM {} WHERE attribute_id = $1)",
        installed.qualified(Table::Pending)
    );
    let found: Option<bool> = read(&text, vec![argument(attribute_id)], value)?;
    Ok(found == Some(true))
}

/// A document with its times.
pub struct Entry {
    pub entity_id: i64,
    pub times: times::Times,
}

/// Entities of a tenant behind the place, whose documents have the attribute, locked against those who write them. Returns
/// also the last one that was looked at, None at the end.
pub fn locked(
    installed: &Installed,
    build: &Build,
    tenant: i64,
    most: i64,
) -> Result<(Vec<Entry>, Option<i64>), Error> {
    let after = build.place.entity.filter(|_| build.place.tenant == Some(tenant));
    let behind = after.map_or("", |_| "AND entity_id > $3");
    let text = format!(
        "SELECT entity_id, hot_times FROM {} WHERE tenant_id = $1 {behind} ORDER BY entity_id LIMIT $2 FOR NO KEY UPDATE",
        installed.qualified(Table::Projection)
    );
    let arguments = vec![argument(tenant), argument(most), argument(after)];
    run_once(&text, arguments, |rows| {
        let mut found = Vec::new();
        let (mut last, mut seen) = (None, 0);
        for row in rows {
            seen += 1;
            last = row.get::<i64>(1)?;
            let (Some(entity_id), Some(packed)) = (last, row.get::<&[u8]>(2)?) else {
                continue;
            };
            let times = times::unpack(packed)
                .map_err(|fault| Error::UnreadableRow(format!("entity_jsonb ({})", fault.0)))?;
            if times
                .binary_search_by_key(&build.attribute_id, |(id, _)| *id)
                .is_ok()
            {
                found.push(Entry { entity_id, times });
            }
        }
        Ok((found, last.filter(|_| seen >= most)))
    })
}

/// The tenant whose documents come next.
pub fn next_documents(installed: &Installed, after: Option<i64>) -> Result<Option<i64>, Error> {
    let text = format!(
        "SELECT min(tenant_id) FROM {} WHERE tenant_id > $1",
        installed.qualified(Table::Projection)
    );
    read(&text, vec![argument(after.unwrap_or(0))], value)
}

/// Takes the attribute out of documents.
pub fn empty(installed: &Installed, build: &Build, most: i64) -> Result<Worked, Error> {
    let Some(tenant) = build.tenant(|after| next_documents(installed, after))? else {
        return Ok(Worked::Done);
    };
    let (entries, last) = locked(installed, build, tenant, most)?;
    let count = entries.len() as i64;
    let entities: Vec<i64> = entries.iter().map(|entry| entry.entity_id).collect();
    let times: Vec<Vec<u8>> = entries
        .into_iter()
        .map(|mut entry| {
            entry.times.retain(|(id, _)| *id != build.attribute_id);
            times::pack(&entry.times)
        })
        .collect();
    if count > 0 {
        write(
            &format!(
                "UPDATE {} AS p SET hot_attrs = p.hot_attrs - $3, hot_times = n.times
                 FROM unnest($2, $4) AS n (entity_id, times)
                 WHERE p.tenant_id = $1 AND p.entity_id = n.entity_id",
                installed.qualified(Table::Projection)
            ),
            vec![
                argument(tenant),
                argument(entities),
                argument(build.name.clone()),
                argument(times),
            ],
            |_| Ok(()),
        )?;
    }
    Ok(Worked::Some {
        entities: count,
        place: Place {
            time: None,
            tenant: Some(tenant),
            entity: last,
        },
    })
}
