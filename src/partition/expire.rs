//! Deleting the readings of tenants whose time is over from partitions that others keep, some pages at a time. Killed in
//! between, it goes on from where the last batch was committed.

use std::time::{Duration, Instant};

use pgrx::pg_sys;

use super::plan::{Action, Planned};
use super::policy::{Expired, Fate, Policies};
use super::removed::{self, Removed};
use super::retention::{doubts_about_the_clock, policies, removal, who_keeps};
use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Table};
use crate::pg::partitions::{Partition, to_read};
use crate::pg::relation::Relation;
use crate::pg::{fault, xact};
use crate::sql::{argument, read, read_once, run, run_once, value};

/// Pages of one batch: some ten thousand readings, deleted in some ten milliseconds.
const PAGES: i64 = 256;

/// What is to be deleted from partitions that stay, the oldest first, and why it is not.
pub fn deletions(installed: &Installed) -> Result<Vec<Planned>, Error> {
    let Some(policies) = policies(installed)? else {
        return Ok(Vec::new());
    };
    let known = removed::all(installed)?;
    let mut doubt = None;
    let mut planned = Vec::new();
    for partition in to_read(installed.require_table(Table::Facts)?) {
        let Some((removed, expired)) = due(installed, &policies, known.get(&partition.oid), &partition)?
        else {
            continue;
        };
        let mut delete = removal(installed, Action::Delete, partition.oid, partition.period())?;
        if removed.block.is_none() && !has_readings(&delete.partition, &expired)? {
            continue;
        }
        if doubt.is_none() {
            doubt = Some(doubts_about_the_clock(installed)?);
        }
        let kept = match doubt.as_ref().and_then(Option::as_ref) {
            Some(doubt) => Some(doubt.clone()),
            None => publication_in_the_way(installed, partition.oid)?,
        };
        match kept {
            Some(reason) => (delete.action, delete.reason) = (Action::Keep, reason),
            None => delete.reason = reason(&removed, &expired),
        }
        planned.push(delete);
    }
    Ok(planned)
}

/// Whose readings are to be deleted from a partition; None when nobody's are, or it leaves as a whole.
fn due(
    installed: &Installed,
    policies: &Policies,
    removed: Option<&Removed>,
    partition: &Partition,
) -> Result<Option<(Removed, Expired)>, Error> {
    let until = partition.period().end;
    let expired = policies.expired(until);
    let Some(removed) = removed else {
        return Ok(None);
    };
    if expired == Expired::Nobodys || !removed.is_sealed || removed.covers(&expired) {
        return Ok(None);
    }
    let leaves = policies.fate(until) != Fate::Stays
        && who_keeps(installed, policies, partition.oid, until)?.is_none();
    Ok((!leaves).then(|| (removed.clone(), expired)))
}

fn reason(removed: &Removed, expired: &Expired) -> String {
    let whose = match expired {
        Expired::AllBut(_) => "the time for all is over, and others keep the partition".to_owned(),
        _ => {
            let tenants = expired.tenants();
            let named: Vec<String> = tenants.iter().take(3).map(i64::to_string).collect();
            let more = tenants.len().saturating_sub(3);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            format!("the time of tenant {}{more} is over", named.join(", "))
        }
    };
    match removed.next_block(expired) {
        0 => whose,
        block => format!("{whose}; done up to page {block}"),
    }
}

fn condition(expired: &Expired) -> &'static str {
    match expired {
        Expired::AllBut(_) => "tenant_id <> ALL ($1)",
        _ => "tenant_id = ANY ($1)",
    }
}

/// Whether the partition has any of these readings: a look into the b-tree for each tenant, where there is one.
fn has_readings(partition: &str, expired: &Expired) -> Result<bool, Error> {
    let text = match expired {
        Expired::AllBut(_) => format!(
            "WITH RECURSIVE present (tenant) AS (
                 SELECT min(tenant_id) FROM ONLY {partition}
                 UNION ALL
                 SELECT (SELECT min(tenant_id) FROM ONLY {partition} WHERE tenant_id > tenant)
                 FROM present WHERE tenant = ANY ($1))
             SELECT coalesce(bool_or(tenant <> ALL ($1)), false) FROM present"
        ),
        _ => format!(
            "SELECT EXISTS (SELECT FROM unnest($1) AS t
                            WHERE EXISTS (SELECT FROM ONLY {partition} AS f WHERE f.tenant_id = t))"
        ),
    };
    let found: Option<bool> = read_once(&text, vec![argument(expired.tenants().to_vec())], value)?;
    Ok(found.unwrap_or(false))
}

/// A publication that would pass deletions of this partition on, unless that is wished.
fn publication_in_the_way(installed: &Installed, partition: pg_sys::Oid) -> Result<Option<String>, Error> {
    if guc::retention_publishes_deletes() {
        return Ok(None);
    }
    let found: Option<String> = read(
        "SELECT quote_ident(p.pubname) FROM pg_publication p
         WHERE p.pubdelete
           AND (p.puballtables
                OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid IN ($1, $2))
                OR EXISTS (SELECT FROM pg_publication_namespace n JOIN pg_class c ON c.relnamespace = n.pnnspid
                           WHERE n.pnpubid = p.oid AND c.oid IN ($1, $2)))
         ORDER BY 1 LIMIT 1",
        vec![
            argument(partition),
            argument(installed.require_table(Table::Facts)?),
        ],
        value,
    )?;
    Ok(found.map(|name| {
        format!(
            "publication {name} would pass the deletions on to its subscribers: take 'delete' out of what it publishes, \
             or turn pg_telemetry.retention_publishes_deletes on"
        )
    }))
}

/// What one batch came to.
pub struct Batch {
    /// There is more to delete from this partition.
    pub more: bool,
}

/// Deletes the next batch, and notes how far that is. None when nothing is to be deleted from this partition any more. Until the
/// transaction ends nobody can change a policy: a hold that is committed stops the next batch, not one that comes after it.
pub fn delete_batch(installed: &Installed, partition: pg_sys::Oid) -> Result<Option<Batch>, Error> {
    hold_policies(installed)?;
    xact::with_latest_snapshot(|| {
        fault::point("policies_held");
        let Some(policies) = policies(installed)? else {
            return Ok(None);
        };
        let facts = installed.require_table(Table::Facts)?;
        let Some(partition) = to_read(facts).into_iter().find(|known| known.oid == partition) else {
            return Ok(None);
        };
        let known = removed::all(installed)?;
        let Some((removed, expired)) = due(installed, &policies, known.get(&partition.oid), &partition)?
        else {
            return Ok(None);
        };
        if doubts_about_the_clock(installed)?.is_some()
            || publication_in_the_way(installed, partition.oid)?.is_some()
        {
            return Ok(None);
        }
        let name = removal(installed, Action::Delete, partition.oid, partition.period())?.partition;
        let first = removed.next_block(&expired);
        if first == 0 && !has_readings(&name, &expired)? {
            removed::note(installed, partition.oid, &expired, None, 0)?;
            return Ok(None);
        }
        let end = i64::from(Relation::open_to_write(partition.oid).blocks());
        let next = first + PAGES;
        let rows = run_once(
            &format!(
                "WITH gone AS (DELETE FROM ONLY {name} WHERE ctid >= '({first},0)' AND ctid < '({next},0)' AND {} RETURNING 1)
                 SELECT count(*) FROM gone",
                condition(&expired)
            ),
            vec![argument(expired.tenants().to_vec())],
            value::<i64>,
        )?;
        let rows = rows.unwrap_or(0);
        fault::point("batch_deleted");
        let more = next < end;
        removed::note(installed, partition.oid, &expired, more.then_some(next), rows)?;
        fault::point("batch_noted");
        Ok(Some(Batch { more }))
    })
}

/// Batches for so long, where there is no janitor; whether there was anything to do. The next call goes on.
pub fn delete_for(installed: &Installed, planned: &Planned, limit: Duration) -> Result<bool, Error> {
    let Some(oid) = planned.oid else {
        return Ok(false);
    };
    let start = Instant::now();
    let mut any = false;
    while start.elapsed() < limit {
        match delete_batch(installed, oid)? {
            Some(batch) => {
                any = true;
                if !batch.more {
                    break;
                }
            }
            None => break,
        }
        xact::next_command();
    }
    Ok(any)
}

/// Nobody changes a policy until the end of the transaction.
pub fn hold_policies(installed: &Installed) -> Result<(), Error> {
    run(&format!(
        "LOCK TABLE {} IN SHARE MODE",
        installed.qualified(Table::Retention)
    ))
}
