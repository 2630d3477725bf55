//! Giving back the room of deleted readings: the rows of a partition are copied, their indexes are built, and the files of the
//! two tables are exchanged, all in one transaction. Only the exchange locks anybody out, and only of this partition; killed
//! before it, nothing has happened. What it leaves behind, the table with the old files, is dropped afterwards.

use std::time::{Duration, Instant};

use pgrx::pg_sys;
use pgrx::spi::quote_literal;

use super::bounds::Period;
use super::holders::still_there;
use super::plan::{Action, Planned};
use super::removed;
use super::retention::removal;
use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Table};
use crate::pg::partitions::to_read;
use crate::pg::relation::Relation;
use crate::pg::rewrite::{Settled, copy_rows, empty_twin};
use crate::pg::{fault, identity, lock, settings, signals, swap, xact};
use crate::sql::{argument, read, run, value};
use crate::worker::task::Step;

/// The comment of a table that holds the old files of a partition, or of one that a dump has brought along.
const LEFT_OVER: &str = "pg_telemetry: left over from a rewrite, to be dropped";

const NEVER: Period = Period { start: 0, end: 0 };

/// How long readers of the partition may wait for us in one try: not at all, as far as anybody notices. Where one of them is always at
/// it for longer than that, twice as long from time to time: it has to come to an end, and they wait no longer than for the
/// slowest of themselves.
const SHORTEST_TRY: Duration = Duration::from_millis(2);
const LONGEST_TRY: Duration = Duration::from_millis(128);
const DOUBLED_AFTER: Duration = Duration::from_secs(5);

/// Between two tries, and how long they go on. What was copied is in vain then.
const AIR: Duration = Duration::from_millis(100);
const TRIES: Duration = Duration::from_secs(60);

/// The length of a try after so long a time. Pure.
fn length_of_try(after: Duration) -> Duration {
    let doublings = (after.as_secs() / DOUBLED_AFTER.as_secs()).min(16) as u32;
    SHORTEST_TRY.saturating_mul(1 << doublings).min(LONGEST_TRY)
}

/// Partitions of which enough was deleted.
pub fn rewrites(installed: &Installed) -> Result<Vec<Planned>, Error> {
    let known = removed::all(installed)?;
    let mut planned = Vec::new();
    for partition in to_read(installed.require_table(Table::Facts)?) {
        let Some(removed) = known.get(&partition.oid).filter(|removed| removed.rows > 0) else {
            continue;
        };
        let rows = rows_of(partition.oid)?;
        if removed.block.is_some() || !is_enough(removed.rows, rows) {
            continue;
        }
        let mut rewrite = removal(installed, Action::Rewrite, partition.oid, partition.period())?;
        rewrite.reason = format!("{} readings were deleted, about {rows} are left", removed.rows);
        planned.push(rewrite);
    }
    Ok(planned)
}

/// So many of a hundred are gone.
fn is_enough(removed: i64, left: i64) -> bool {
    let all = removed.saturating_add(left);
    guc::rewrite_threshold().is_some_and(|percent| removed.saturating_mul(100) >= all.saturating_mul(percent))
}

/// As VACUUM or ANALYZE counted them last; before that, what was deleted counts for little.
fn rows_of(partition: pg_sys::Oid) -> Result<i64, Error> {
    let rows: Option<i64> = read(
        "SELECT CASE WHEN reltuples >= 0 THEN reltuples::bigint END FROM pg_class WHERE oid = $1",
        vec![argument(partition)],
        value,
    )?;
    Ok(rows.unwrap_or(i64::MAX))
}

/// One step, in a transaction of its own. `first`: of this job.
pub fn step(installed: &Installed, partition: pg_sys::Oid, first: bool) -> Result<Step, Error> {
    drop_left_over(installed)?;
    let wanted = rewrites(installed)?
        .into_iter()
        .find(|planned| planned.oid == Some(partition));
    let Some(planned) = wanted else {
        return Ok(Step::Done);
    };
    if !lock::try_alone(partition) {
        return Ok(Step::Waits(format!(
            "{} is being vacuumed or altered",
            planned.partition
        )));
    }
    let relation = Relation::open_locked(partition);
    if !relation.is_plain_heap() || !relation.is_partition() {
        return Ok(Step::Done);
    }
    let Some(settled) = Settled::of(&relation) else {
        return Ok(if first {
            Step::Statement(format!(
                "VACUUM (FREEZE, INDEX_CLEANUP ON, TRUNCATE false, SKIP_LOCKED, PARALLEL 0) {}",
                planned.partition
            ))
        } else {
            Step::Waits(format!(
                "deleted readings of {} can still be seen by some snapshot",
                planned.partition
            ))
        });
    };
    if let Some(holder) = still_there(partition)? {
        return Err(Error::InTheWay {
            relation: planned.partition,
            holder: holder.to_string(),
        });
    }
    rewrite(installed, &planned.partition, &relation, &settled)?;
    Ok(Step::Again)
}

/// The lock on the partition keeps VACUUM and changes of its definition away until the transaction ends.
fn rewrite(installed: &Installed, name: &str, partition: &Relation, settled: &Settled) -> Result<(), Error> {
    let indexes = indexes(partition.oid())?;
    fault::point("before_copy");
    let twin = empty_twin(partition);
    let twin_name = removal(installed, Action::Rewrite, twin, NEVER)?.partition;
    run(&format!(
        "COMMENT ON TABLE {twin_name} IS {}",
        quote_literal(LEFT_OVER)
    ))?;
    {
        let copy = Relation::open_to_write(twin);
        copy_rows(partition, &copy);
    }
    fault::point("rows_copied");
    let mut pairs = Vec::new();
    for index in &indexes {
        pairs.push((index.oid, index.build_on(twin, &twin_name)?));
        fault::point("index_copied");
    }
    swap::flush_wal();
    fault::point("before_exchange");
    let begun = Instant::now();
    loop {
        let locked = settings::undone_after(|| {
            settings::set_lock_timeout(length_of_try(begun.elapsed()));
            Ok(xact::subtransaction(|| {
                removed::note_rewritten(installed, partition.oid())?;
                swap::lock_all(partition.oid(), pairs.iter().map(|(index, _)| *index));
                Ok(())
            }))
        })?;
        match locked {
            Ok(()) => break,
            Err(failure) if failure.sqlstate != "55P03" => return Err(failure.into()),
            Err(failure) if begun.elapsed() > TRIES => return Err(failure.into()),
            Err(_) => signals::pause(AIR),
        }
    }
    if !settled.still_holds(partition) {
        return Err(Error::ChangedMeanwhile(name.to_owned()));
    }
    swap::exchange((partition.oid(), twin), &pairs);
    // Nobody waits for the disk: what a crash takes back is the exchange as a whole, and the old files are still there.
    settings::commit_at_once();
    fault::point("exchanged");
    Ok(())
}

struct Index {
    oid: pg_sys::Oid,
    unique: bool,
    /// From USING on.
    definition: String,
    tablespace: String,
}

impl Index {
    fn build_on(&self, twin: pg_sys::Oid, name: &str) -> Result<pg_sys::Oid, Error> {
        let before = index_oids(twin)?;
        settings::undone_after(|| {
            settings::set_for_index(&self.tablespace);
            run(&format!(
                "CREATE {}INDEX ON {name} {}",
                if self.unique { "UNIQUE " } else { "" },
                self.definition
            ))
        })?;
        index_oids(twin)?
            .into_iter()
            .find(|oid| !before.contains(oid))
            .ok_or_else(|| Error::ChangedMeanwhile(name.to_owned()))
    }
}

fn index_oids(table: pg_sys::Oid) -> Result<Vec<pg_sys::Oid>, Error> {
    let mut found = Vec::new();
    read(
        "SELECT indexrelid FROM pg_index WHERE indrelid = $1",
        vec![argument(table)],
        |rows| {
            for row in rows {
                found.extend(row.get::<pg_sys::Oid>(1)?);
            }
            Ok(())
        },
    )?;
    Ok(found)
}

/// The indexes of a table, as they are to be built on another one. One that is invalid is not copied, and has to be repaired
/// first.
fn indexes(table: pg_sys::Oid) -> Result<Vec<Index>, Error> {
    let text = "
        SELECT i.indexrelid, i.indisunique, i.indisvalid AND i.indisready AND i.indislive,
               CASE WHEN starts_with(d.text, d.head) THEN substr(d.text, length(d.head) + 1) END,
               coalesce((SELECT spcname::text FROM pg_tablespace s WHERE s.oid = x.reltablespace), ''), x.relname::text
        FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
             JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace,
             LATERAL (SELECT pg_get_indexdef(i.indexrelid) AS text,
                             format('CREATE %sINDEX %I ON %I.%I ', CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END,
                                    x.relname, n.nspname, t.relname) AS head) AS d
        WHERE i.indrelid = $1 ORDER BY i.indexrelid";
    let mut found = Vec::new();
    read(text, vec![argument(table)], |rows| {
        for row in rows {
            let valid: Option<bool> = row.get(3)?;
            let (oid, definition) = (row.get(1)?, row.get(4)?);
            let (Some(true), Some(oid), Some(definition)) = (valid, oid, definition) else {
                return Err(Error::InvalidIndex(row.get(6)?.unwrap_or_default()));
            };
            found.push(Index {
                oid,
                unique: row.get(2)?.unwrap_or_default(),
                definition,
                tablespace: row.get(5)?.unwrap_or_default(),
            });
        }
        Ok(())
    })?;
    Ok(found)
}

/// Drops what rewrites left behind. Nobody looks at these tables but dumps, which hold nobody up here.
fn drop_left_over(installed: &Installed) -> Result<(), Error> {
    for (twin, partition) in left_over(installed)? {
        fault::point("before_drop");
        let name = removal(installed, Action::Rewrite, twin, NEVER)?.partition;
        run(&format!("DROP TABLE {name}"))?;
        let still: Option<bool> = read(
            "SELECT EXISTS (SELECT FROM pg_class WHERE oid = $1 AND relkind = 'r')",
            vec![argument(partition)],
            value,
        )?;
        if still == Some(true) {
            swap::name_toast_after(partition);
        }
        fault::point("dropped");
    }
    Ok(())
}

/// Tables with old files, each with the partition that they were of; of a dump, none.
pub fn left_over(installed: &Installed) -> Result<Vec<(pg_sys::Oid, pg_sys::Oid)>, Error> {
    let mut found = Vec::new();
    read(
        "SELECT c.oid, c.relrewrite FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relkind = 'r' AND NOT c.relispartition AND c.relname LIKE 'pg\\_temp\\_%'
           AND pg_get_userbyid(c.relowner) = $2 AND obj_description(c.oid, 'pg_class') = $3",
        vec![
            argument(installed.schema.clone()),
            argument(identity::OWNER),
            argument(LEFT_OVER),
        ],
        |rows| {
            for row in rows {
                found.extend(row.get(1)?.zip(row.get(2)?));
            }
            Ok(())
        },
    )?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_short_for_as_long_as_that_may_do_and_never_long() {
        let tries = [0, 4, 5, 12, 20, 30, 59, 100_000]
            .map(|seconds| length_of_try(Duration::from_secs(seconds)).as_millis());
        assert_eq!(tries, [2, 2, 4, 8, 32, 128, 128, 128]);
        assert_eq!(length_of_try(TRIES), LONGEST_TRY);
    }
}
