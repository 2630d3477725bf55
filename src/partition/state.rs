//! What is known of each partition of facts, in the table `partition_state`: when it was made, whether it is sealed, how it is
//! to leave, and what went wrong with it last.
//!
//! A row belongs to the table whose number and name it has. After a restore the numbers are others, and after a rename the
//! name is: `adopt` finds the table again, by name and bounds. Without the table (SQL objects of an older version) nothing is
//! known, nothing is sealed and nothing is removed.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use pgrx::pg_sys;

use super::bounds::{Micros, Period};
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::partitions::{EPOCH_2000, Partition, to_read};
use crate::pg::xact::Failure;
use crate::pg::{identity, process};
use crate::pg::{invalidation, lock};
use crate::sql::{self, Argument, argument, read, value, write};

/// What becomes of a partition once it is detached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// Dropped by a later rotation.
    Dropped,
    /// Left where it is.
    Kept,
    /// Moved to where such tables are kept.
    Archived,
}

impl Leaves {
    fn text(self) -> &'static str {
        match self {
            Leaves::Dropped => "drop",
            Leaves::Kept => "keep",
            Leaves::Archived => "archive",
        }
    }
}

/// The table's name for SQL; None where it is missing.
pub fn table(installed: &Installed) -> Result<Option<String>, Error> {
    let there = installed.table_oid(Table::PartitionState)?.is_some();
    Ok(there.then(|| installed.qualified(Table::PartitionState)))
}

/// The bounds as `to_timestamp` takes them: seconds, and open ends as the ends of time.
fn seconds(time: Micros) -> f64 {
    match time {
        Micros::MIN => f64::NEG_INFINITY,
        Micros::MAX => f64::INFINITY,
        _ => time as f64 / 1e6,
    }
}

/// A partition was made by us, `late` when its time had begun already. `child` is its name, qualified and quoted.
pub fn note_made(installed: &Installed, child: &str, period: &Period, late: bool) -> Result<(), Error> {
    let Some(state) = table(installed)? else {
        return Ok(());
    };
    write(
        &format!(
            "INSERT INTO {state} (partition, relation_oid, starts_at, ends_at, made_at, made_late)
             SELECT relname, oid, to_timestamp($2), to_timestamp($3), clock_timestamp(), $4
             FROM pg_class WHERE oid = $1::regclass
             ON CONFLICT (starts_at, partition) DO UPDATE
             SET relation_oid = excluded.relation_oid, schema_name = NULL, ends_at = excluded.ends_at,
                 made_at = excluded.made_at, made_late = excluded.made_late, seal = 'open', sealing_since = NULL,
                 sealed_at = NULL, observed_from = NULL, observed_until = NULL, rows = NULL, leaves_as = NULL,
                 left_at = NULL, tries = 0, next_try_at = NULL, last_error = NULL, in_the_way = NULL,
                 removed_all_but = NULL, removed_tenants = NULL, removal_block = NULL, removal_sealed_at = NULL, removed_rows = 0, rewritten_at = NULL"
        ),
        vec![
            argument(child),
            argument(seconds(period.start)),
            argument(seconds(period.end)),
            argument(late),
        ],
        |_| Ok(()),
    )
}

/// Makes the table agree with the partitions that there are: rows for those that others attached, numbers and names that have
/// changed, no rows for tables that are gone. Returns whether there was anything to do.
pub fn adopt(installed: &Installed) -> Result<bool, Error> {
    let Some(state) = table(installed)? else {
        return Ok(false);
    };
    let attached = to_read(installed.require_table(Table::Facts)?);
    let agrees = agrees(&state, &attached)?;
    let arguments = || {
        vec![
            argument(attached.iter().map(|partition| partition.oid).collect::<Vec<_>>()),
            argument(
                attached
                    .iter()
                    .map(|partition| seconds(partition.period().start))
                    .collect::<Vec<_>>(),
            ),
            argument(
                attached
                    .iter()
                    .map(|partition| seconds(partition.period().end))
                    .collect::<Vec<_>>(),
            ),
        ]
    };
    let attached = "WITH attached AS (
             SELECT a.oid, c.relname::text AS name, to_timestamp(a.s) AS starts_at, to_timestamp(a.e) AS ends_at
             FROM unnest($1::oid[], $2::float8[], $3::float8[]) AS a (oid, s, e) JOIN pg_class c ON c.oid = a.oid)";
    // One at a time; whoever is at it now does the same.
    if agrees || !lock::try_alone(installed.require_table(Table::PartitionState)?) {
        return Ok(false);
    }
    // Attached ones that had another number: restored, or put back. What they hold now nobody has watched. A mere rename
    // changes the name alone.
    write(
        &format!(
            "{attached}
             UPDATE {state} AS s
             SET partition = a.name, relation_oid = a.oid, schema_name = NULL, leaves_as = CASE WHEN s.left_at IS NULL THEN s.leaves_as END,
                 left_at = NULL,
                 seal = CASE WHEN s.relation_oid = a.oid AND s.left_at IS NULL OR s.seal = 'open' THEN s.seal ELSE 'reopened' END,
                 next_try_at = NULL
             FROM attached a
             WHERE s.starts_at = a.starts_at AND s.ends_at = a.ends_at
               AND (s.relation_oid = a.oid
                    OR s.partition = a.name
                       AND NOT EXISTS (SELECT FROM {state} o WHERE o.relation_oid = a.oid AND o.starts_at = a.starts_at))
               AND (s.partition, s.relation_oid, s.left_at) IS DISTINCT FROM (a.name, a.oid, NULL)"
        ),
        arguments(),
        |_| Ok(()),
    )?;
    // Detached ones that had another number: those that we were about to drop or keep, by name.
    write(
        &format!(
            "UPDATE {state} AS s SET relation_oid = c.oid
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE s.leaves_as IS NOT NULL AND c.relname = s.partition AND n.nspname = coalesce(s.schema_name, $1)
               AND c.oid IS DISTINCT FROM s.relation_oid AND c.relkind = 'r' AND NOT c.relispartition
               AND pg_get_userbyid(c.relowner) = $2
               AND NOT EXISTS (SELECT FROM pg_class o WHERE o.oid = s.relation_oid AND o.relname = s.partition)"
        ),
        vec![argument(installed.schema.clone()), argument(identity::OWNER)],
        |_| Ok(()),
    )?;
    write(
        &format!(
            "{attached}, gone AS (
                 DELETE FROM {state} s
                 WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.relation_oid AND c.relname = s.partition)
                    OR EXISTS (SELECT FROM attached a WHERE a.oid = s.relation_oid
                               AND (a.starts_at, a.ends_at) IS DISTINCT FROM (s.starts_at, s.ends_at))),
             left_by_now AS (
                 UPDATE {state} s SET left_at = clock_timestamp(), seal = CASE seal WHEN 'open' THEN 'open' ELSE 'reopened' END
                 WHERE s.left_at IS NULL
                   AND EXISTS (SELECT FROM pg_class c WHERE c.oid = s.relation_oid AND c.relname = s.partition AND NOT c.relispartition))
             INSERT INTO {state} (partition, relation_oid, starts_at, ends_at)
             SELECT name, oid, starts_at, ends_at FROM attached a
             WHERE NOT EXISTS (SELECT FROM {state} s WHERE s.relation_oid = a.oid AND s.starts_at = a.starts_at AND s.ends_at = a.ends_at)
             ON CONFLICT DO NOTHING"
        ),
        arguments(),
        |_| Ok(()),
    )?;
    changed(installed)?;
    Ok(true)
}

/// Whether the table says of these partitions, and of no others, what is so. Compared here: for the planner the list of partitions
/// is of any length, and ten thousand by ten thousand took it seconds.
fn agrees(state: &str, attached: &[Partition]) -> Result<bool, Error> {
    let attached: HashMap<u32, (i64, i64)> = attached
        .iter()
        .map(|partition| (partition.oid.to_u32(), (partition.from, partition.until)))
        .collect();
    let text = format!(
        "SELECT s.relation_oid::bigint, s.starts_at, s.ends_at, s.left_at IS NOT NULL, c.oid IS NOT NULL
         FROM {state} s LEFT JOIN pg_class c ON c.oid = s.relation_oid AND c.relname = s.partition"
    );
    let mut right: HashSet<u32> = HashSet::new();
    let mut wrong = false;
    sql::each_now(&text, vec![], |row| {
        let oid = row.long(0).map(|oid| oid as u32);
        let (has_left, is_there) = (row.boolean(3), row.boolean(4));
        let bounds = oid.and_then(|oid| attached.get(&oid));
        match (oid, bounds) {
            (Some(oid), Some(bounds)) => {
                let same = row.long(1).zip(row.long(2)) == Some(*bounds);
                if same && is_there && !has_left {
                    right.insert(oid);
                }
            }
            _ => wrong |= !has_left || !is_there,
        }
        Ok(!wrong)
    })?;
    Ok(!wrong && right.len() == attached.len())
}

/// Tells every session, once this transaction has committed, to look again which partitions are sealed.
pub fn changed(installed: &Installed) -> Result<(), Error> {
    if let Some(oid) = installed.table_oid(Table::PartitionState)? {
        invalidation::tell(oid);
    }
    Ok(())
}

/// When a partition was made, if that was late.
pub fn made_late_at(installed: &Installed, relation: pg_sys::Oid) -> Result<Option<Micros>, Error> {
    let Some(state) = table(installed)? else {
        return Ok(None);
    };
    read(
        &format!(
            "SELECT (extract(epoch FROM made_at) * 1000000)::bigint FROM {state}
             WHERE relation_oid = $1 AND made_late AND left_at IS NULL"
        ),
        vec![argument(relation)],
        value,
    )
}

/// A partition is about to be detached: whoever finds it later knows what to do with it.
pub fn note_leaving(
    installed: &Installed,
    relation: pg_sys::Oid,
    period: &Period,
    leaves: Leaves,
) -> Result<(), Error> {
    let state = installed.qualified(Table::PartitionState);
    installed.require_table(Table::PartitionState)?;
    write(
        &format!(
            "INSERT INTO {state} (partition, relation_oid, starts_at, ends_at, leaves_as)
             SELECT relname, oid, to_timestamp($2), to_timestamp($3), $4 FROM pg_class WHERE oid = $1
             ON CONFLICT (starts_at, partition) DO UPDATE
             SET relation_oid = excluded.relation_oid, ends_at = excluded.ends_at, leaves_as = excluded.leaves_as"
        ),
        vec![
            argument(relation),
            argument(seconds(period.start)),
            argument(seconds(period.end)),
            argument(leaves.text()),
        ],
        |_| Ok(()),
    )
}

/// Attached partitions other than these do not leave after all: one that somebody detaches by hand must not be dropped for a mark
/// of long ago.
pub fn stay_but(installed: &Installed, leaving: Vec<pg_sys::Oid>) -> Result<(), Error> {
    let Some(state) = table(installed)? else {
        return Ok(());
    };
    let stale = "leaves_as IS NOT NULL AND left_at IS NULL AND NOT relation_oid = ANY ($1)
                 AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = relation_oid AND NOT i.inhdetachpending)";
    let any: Option<bool> = read(
        &format!("SELECT EXISTS (SELECT FROM {state} WHERE {stale})"),
        vec![argument(leaving.clone())],
        value,
    )?;
    if any == Some(true) {
        write(
            &format!("UPDATE {state} SET leaves_as = NULL WHERE {stale}"),
            vec![argument(leaving)],
            |_| Ok(()),
        )?;
    }
    Ok(())
}

/// Tables of ours that are attached to nothing and to be dropped, the oldest first.
pub fn to_drop(installed: &Installed) -> Result<Vec<(pg_sys::Oid, Period)>, Error> {
    detached(installed, "s.leaves_as = 'drop'", vec![])
}

/// Tables of ours that are attached to nothing, and for which this holds.
fn detached(
    installed: &Installed,
    condition: &str,
    more: Vec<Argument>,
) -> Result<Vec<(pg_sys::Oid, Period)>, Error> {
    let Some(state) = table(installed)? else {
        return Ok(Vec::new());
    };
    let mut arguments = vec![argument(identity::OWNER)];
    arguments.extend(more);
    let mut found = Vec::new();
    read(
        &format!(
            "SELECT c.oid, (extract(epoch FROM s.starts_at) * 1000000)::bigint, (extract(epoch FROM s.ends_at) * 1000000)::bigint
             FROM {state} s JOIN pg_class c ON c.oid = s.relation_oid AND c.relname = s.partition
             WHERE isfinite(s.starts_at) AND isfinite(s.ends_at)
               AND c.relkind = 'r' AND pg_get_userbyid(c.relowner) = $1
               AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)
               AND {condition}
             ORDER BY s.starts_at"
        ),
        arguments,
        |rows| {
            for row in rows {
                if let (Some(oid), Some(start), Some(end)) = (row.get(1)?, row.get(2)?, row.get(3)?) {
                    found.push((oid, Period { start, end }));
                }
            }
            Ok(())
        },
    )?;
    Ok(found)
}

/// Tables of ours that are attached to nothing and not where they are to be kept, the oldest first.
pub fn to_archive(
    installed: &Installed,
    schema: Option<String>,
    tablespace: Option<String>,
) -> Result<Vec<(pg_sys::Oid, Period)>, Error> {
    detached(
        installed,
        "s.leaves_as = 'archive'
         AND (c.relnamespace IS DISTINCT FROM coalesce(
                  (SELECT oid FROM pg_namespace WHERE nspname = $2), CASE WHEN $2 IS NULL THEN c.relnamespace END)
              OR $3 IS NOT NULL AND $3 IS DISTINCT FROM (
                  SELECT t.spcname FROM pg_tablespace t, pg_database d
                  WHERE d.datname = current_database() AND t.oid = coalesce(nullif(c.reltablespace, 0), d.dattablespace)))",
        vec![argument(schema), argument(tablespace)],
    )
}

/// A table was moved, and may be called something else there.
pub fn note_archived(installed: &Installed, relation: pg_sys::Oid) -> Result<(), Error> {
    let Some(state) = table(installed)? else {
        return Ok(());
    };
    write(
        &format!(
            "UPDATE {state} AS s SET partition = c.relname, schema_name = n.nspname
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE s.relation_oid = $1 AND c.oid = $1"
        ),
        vec![argument(relation)],
        |_| Ok(()),
    )
}

/// A table is gone.
pub fn forget(installed: &Installed, relation: pg_sys::Oid) -> Result<(), Error> {
    let Some(state) = table(installed)? else {
        return Ok(());
    };
    write(
        &format!("DELETE FROM {state} WHERE relation_oid = $1"),
        vec![argument(relation)],
        |_| Ok(()),
    )
}

/// How long something that failed so often in a row is left alone. Pure.
pub fn back_off(tries: i32) -> Duration {
    // Below the minute after which the keeper looks again.
    const FIRST: u64 = 5;
    const LAST: u64 = 3600;
    let doubled = FIRST << tries.saturating_sub(1).clamp(0, 20);
    Duration::from_secs(doubled.min(LAST))
}

/// What is to be done with a partition has failed: it is tried again later, and `partition_health` says who was in the way.
pub fn note_failure(
    installed: &Installed,
    relation: pg_sys::Oid,
    failure: &Failure,
    in_the_way: Option<String>,
) -> Result<(), Error> {
    let Some(state) = table(installed)? else {
        return Ok(());
    };
    let tries: Option<i32> = read(
        &format!("SELECT tries + 1 FROM {state} WHERE relation_oid = $1"),
        vec![argument(relation)],
        value,
    )?;
    let Some(tries) = tries else {
        return Ok(());
    };
    write(
        &format!(
            "UPDATE {state} SET tries = $2, next_try_at = clock_timestamp() + $3 * interval '1 s', last_error = $4, in_the_way = $5
             WHERE relation_oid = $1"
        ),
        vec![
            argument(relation),
            argument(tries),
            argument(back_off(tries).as_secs_f64()),
            argument(format!("{} ({})", failure.message, failure.sqlstate)),
            argument(in_the_way),
        ],
        |_| Ok(()),
    )
}

/// What was to be done with a partition has worked.
pub fn note_success(installed: &Installed, relation: pg_sys::Oid) -> Result<(), Error> {
    let Some(state) = table(installed)? else {
        return Ok(());
    };
    write(
        &format!(
            "UPDATE {state} SET tries = 0, next_try_at = NULL, last_error = NULL, in_the_way = NULL
             WHERE relation_oid = $1 AND tries > 0"
        ),
        vec![argument(relation)],
        |_| Ok(()),
    )
}

/// Partitions that are left alone for now, after a failure.
pub fn left_alone(installed: &Installed) -> Result<Vec<pg_sys::Oid>, Error> {
    let Some(state) = table(installed)? else {
        return Ok(Vec::new());
    };
    // A clock that was set back must not make the rest long.
    read(
        &format!(
            "SELECT relation_oid FROM {state}
             WHERE next_try_at > clock_timestamp() AND next_try_at < clock_timestamp() + interval '2 hours'"
        ),
        vec![],
        |rows| {
            let mut found = Vec::new();
            for row in rows {
                found.extend(row.get::<pg_sys::Oid>(1)?);
            }
            Ok(found)
        },
    )
}

/// Now, in microseconds since 1970.
pub fn now() -> Micros {
    process::now() + EPOCH_2000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_and_again_is_tried_ever_later_but_at_least_once_an_hour() {
        let waits: Vec<u64> = [0, 1, 2, 3, 6, 7, 1000, i32::MAX]
            .into_iter()
            .map(|tries| back_off(tries).as_secs())
            .collect();
        assert_eq!(waits, [5, 5, 10, 20, 160, 320, 3600, 3600]);
    }
}
