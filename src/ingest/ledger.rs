//! Which requests were done, so that a repeat is none. A door has a ledger as durable as itself: what a crash takes from the
//! fast door it takes from the ledger of that door as well, and the repeat stages those readings again.

use std::collections::HashMap;

use pgrx::Uuid;
use pgrx::datum::TimestampWithTimeZone;

use super::document::{Item, Place};
use super::fault::Fault;
use super::request::Request;
use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Table};
use crate::pg::process;
use crate::sql::{argument, read, value, write};

/// Requests that one run of the keeper removes from one ledger.
const REMOVED_AT_ONCE: i64 = 5000;

const LEDGERS: [Table; 2] = [Table::Requests, Table::RequestsVolatile];

fn ledger(durable: bool) -> Table {
    if durable {
        Table::Requests
    } else {
        Table::RequestsVolatile
    }
}

type Entry = (Place, Request, i32);

/// Enters the requests of these items, and takes those out that were done before; how many readings they had. Whoever is
/// doing one of them just now is waited for.
pub fn enter(
    installed: &Installed,
    tenant_id: i64,
    durable: bool,
    items: &mut Vec<Item>,
) -> Result<i64, Error> {
    let mut entries: Vec<Entry> = items
        .iter()
        .filter_map(|item| Some((item.place, item.request?, item.readings.len() as i32)))
        .collect();
    if entries.is_empty() {
        return Ok(0);
    }
    // All callers in the same order, so that none waits for another in a circle.
    entries.sort_by_key(|(_, request, _)| request.id);
    let twice = entries
        .iter()
        .zip(entries.iter().skip(1))
        .find(|(left, right)| left.1.id == right.1.id);
    if let Some((_, (place, request, _))) = twice {
        return Err(Fault::SameRequestTwice {
            at: place.of("request_id"),
            id: request.text(),
        }
        .into());
    }
    let table = ledger(durable);
    installed.require_table(table)?;
    let table = installed.qualified(table);

    let mut done: HashMap<[u8; 16], i32> = HashMap::new();
    while !entries.is_empty() {
        let entered = insert(&table, tenant_id, &entries)?;
        entries.retain(|(_, request, _)| !entered.contains(&request.id));
        if entries.is_empty() {
            break;
        }
        // Some of these may have been removed since; they are entered in the next round.
        let known = look_up(&table, tenant_id, &entries)?;
        for (place, request, _) in &entries {
            let Some((fingerprint, readings)) = known.get(&request.id) else {
                continue;
            };
            if *fingerprint != request.fingerprint {
                return Err(Fault::OtherContents {
                    at: place.of("request_id"),
                    id: request.text(),
                }
                .into());
            }
            done.insert(request.id, *readings);
        }
        entries.retain(|(_, request, _)| !done.contains_key(&request.id));
    }
    items.retain(|item| item.request.is_none_or(|request| !done.contains_key(&request.id)));
    Ok(done.values().map(|readings| i64::from(*readings)).sum())
}

/// The ids that were entered: new ones, and those whose first call is too long ago to count.
fn insert(table: &str, tenant_id: i64, entries: &[Entry]) -> Result<Vec<[u8; 16]>, Error> {
    let text = format!(
        "INSERT INTO {table} AS known (tenant_id, request_id, fingerprint, readings)
         SELECT $1, new.request_id, new.fingerprint, new.readings
         FROM unnest($2, $3, $4) WITH ORDINALITY AS new (request_id, fingerprint, readings, place) ORDER BY place
         ON CONFLICT (tenant_id, request_id) DO UPDATE
             SET requested_at = excluded.requested_at, fingerprint = excluded.fingerprint, readings = excluded.readings
             WHERE known.requested_at < $5
         RETURNING request_id"
    );
    let arguments = vec![
        argument(tenant_id),
        argument(ids(entries)),
        argument(
            entries
                .iter()
                .map(|(_, request, _)| request.fingerprint)
                .collect::<Vec<_>>(),
        ),
        argument(
            entries
                .iter()
                .map(|(_, _, readings)| *readings)
                .collect::<Vec<_>>(),
        ),
        argument(expired_before()?),
    ];
    write(&text, arguments, |rows| {
        let mut entered = Vec::with_capacity(rows.len());
        for row in rows {
            entered.extend(row.get::<Uuid>(1)?.map(|id| *id.as_bytes()));
        }
        Ok(entered)
    })
}

/// Sees what was committed up to now, by those who were waited for above all.
fn look_up(table: &str, tenant_id: i64, entries: &[Entry]) -> Result<HashMap<[u8; 16], (i64, i32)>, Error> {
    let text = format!(
        "SELECT request_id, fingerprint, readings FROM {table} WHERE tenant_id = $1 AND request_id = ANY ($2)"
    );
    write(&text, vec![argument(tenant_id), argument(ids(entries))], |rows| {
        let mut known = HashMap::with_capacity(rows.len());
        for row in rows {
            let entry = (row.get::<Uuid>(1)?, row.get::<i64>(2)?, row.get::<i32>(3)?);
            if let (Some(id), Some(fingerprint), Some(readings)) = entry {
                known.insert(*id.as_bytes(), (fingerprint, readings));
            }
        }
        Ok(known)
    })
}

fn ids(entries: &[Entry]) -> Vec<Uuid> {
    entries
        .iter()
        .map(|(_, request, _)| Uuid::from_bytes(request.id))
        .collect()
}

fn expired_before() -> Result<TimestampWithTimeZone, Error> {
    let time = process::now().saturating_sub(guc::request_window_seconds() * 1_000_000);
    TimestampWithTimeZone::try_from(time).map_err(|_| Error::NoPeriod(time))
}

/// Removes requests that no longer count, a bounded number; whether there may be more. Writes nothing when there is none.
pub fn remove_expired(installed: &Installed) -> Result<bool, Error> {
    let mut more = false;
    for ledger in LEDGERS {
        // Tables of an older version do not have it.
        if installed.table_oid(ledger)?.is_none() {
            continue;
        }
        let table = installed.qualified(ledger);
        let any = format!("SELECT EXISTS (SELECT FROM {table} WHERE requested_at < $1)");
        let found: Option<bool> = read(&any, vec![argument(expired_before()?)], value)?;
        if found != Some(true) {
            continue;
        }
        let text = format!(
            "WITH removed AS (
                 DELETE FROM {table} WHERE ctid = ANY (ARRAY(
                     SELECT ctid FROM {table} WHERE requested_at < $1 ORDER BY requested_at LIMIT $2
                     FOR UPDATE SKIP LOCKED))
                 RETURNING 1)
             SELECT count(*) FROM removed"
        );
        let arguments = vec![argument(expired_before()?), argument(REMOVED_AT_ONCE)];
        let removed: Option<i64> = write(&text, arguments, value)?;
        more |= removed == Some(REMOVED_AT_ONCE);
    }
    Ok(more)
}
