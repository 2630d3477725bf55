//! Sealing: a partition into which no reading can come any more is frozen and analysed (VACUUM), its BRIN summarised, and the
//! times of its readings fixed. Then nothing needs to visit it again: no autovacuum for the age of its transactions, no query for
//! another time.
//!
//! The steps, each of them harmless to repeat, the state in the table saying how far it has come:
//! 1. `sealing` is noted and committed. Who writes into it from now on says so, by `reopen`.
//! 2. VACUUM, by itself.
//! 3. With nobody writing into it, which a lock that is given back at once tells, its readings are looked through, by a snapshot
//!    taken after that; then it is `sealed`. Whoever wrote before step 1 had ended, whoever came later has turned it to
//!    `reopened`, and is waited for by the update of its row.
//!
//! Storage parameters of a sealed partition: `storage.rs`. Autovacuum stays on: it finds nothing to do in a frozen table, which costs
//! nothing, and it must come when readings are deleted from it, or come late.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

use super::bounds::{Micros, Period};
use super::holders::holders;
use super::observed::is_closed;
use super::{state, storage};
use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Table};
use crate::pg::partitions::{EPOCH_2000, to_read};
use crate::pg::{compat, fault, lock, process, xact};
use crate::sql::{Argument, argument, read, read_once, run, value, write};
use crate::staging::standstill;

/// A partition that is to be sealed.
#[derive(Debug, Clone)]
pub struct Due {
    pub oid: pg_sys::Oid,
    /// Qualified and quoted.
    pub partition: String,
    pub period: Period,
    /// It was vacuumed since its sealing began.
    pub vacuumed: bool,
    pub reopened: bool,
}

impl Due {
    pub fn reason(&self) -> &'static str {
        match self {
            _ if self.vacuumed => "it is frozen, and what it holds is to be noted",
            _ if self.reopened => "readings came after it was sealed, or it was restored",
            _ => "no reading can come into it any more",
        }
    }

    /// Skip rather than queue behind somebody's lock. The end of the file stays: to give it back would lock readers out.
    pub fn statement(&self) -> String {
        format!(
            "VACUUM (FREEZE, ANALYZE, SKIP_LOCKED, TRUNCATE false, PARALLEL 0) {}",
            self.partition
        )
    }
}

/// What is to be sealed, oldest first: no reading that may still come, or waits in staging, belongs there.
pub fn due(installed: &Installed) -> Result<Vec<Due>, Error> {
    due_where(installed, "ORDER BY s.starts_at", vec![])
}

/// This one, if it is among them.
pub fn due_of(installed: &Installed, partition: pg_sys::Oid) -> Result<Option<Due>, Error> {
    let found = due_where(installed, "AND s.relation_oid = $3", vec![argument(partition)])?;
    Ok(found.into_iter().next())
}

/// The oldest one that is none of these.
pub fn due_but(installed: &Installed, left_alone: Vec<pg_sys::Oid>) -> Result<Option<Due>, Error> {
    let first = "AND NOT s.relation_oid = ANY ($3) ORDER BY s.starts_at LIMIT 1";
    let found = due_where(installed, first, vec![argument(left_alone)])?;
    Ok(found.into_iter().next())
}

/// `further` is what else is said of the row `s` of the state; the arguments from $3 on are for that.
fn due_where(installed: &Installed, further: &str, more: Vec<Argument>) -> Result<Vec<Due>, Error> {
    let Some(state) = state::table(installed)? else {
        return Ok(Vec::new());
    };
    let accepted = guc::accept_past_seconds().saturating_mul(1_000_000);
    let until = standstill::reference(installed, process::now())?
        .saturating_add(EPOCH_2000)
        .saturating_sub(accepted);
    // What this transaction has noted itself nobody else knows yet.
    let vacuumed = if process::counts_statistics() {
        "coalesce(pg_stat_get_last_vacuum_time(s.relation_oid) >= s.sealing_since, false)"
    } else {
        "true"
    };
    let text = format!(
        "SELECT c.oid, format('%I.%I', n.nspname, c.relname), (extract(epoch FROM s.ends_at) * 1000000)::bigint,
                CASE WHEN isfinite(s.starts_at) THEN (extract(epoch FROM s.starts_at) * 1000000)::bigint END,
                s.seal = 'sealing' AND s.sealing_since < now() AND {vacuumed}, s.seal = 'reopened'
         FROM {state} s JOIN pg_class c ON c.oid = s.relation_oid AND c.relname = s.partition
              JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE s.seal <> 'sealed' AND s.leaves_as IS NULL AND s.left_at IS NULL
           AND c.relkind = 'r' AND c.relispartition AND s.ends_at <= to_timestamp($1)
           AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid AND i.inhparent = $2 AND NOT i.inhdetachpending)
           {further}"
    );
    let facts = installed.require_table(Table::Facts)?;
    let mut arguments = vec![argument(until as f64 / 1e6), argument(facts)];
    arguments.extend(more);
    read(&text, arguments, |rows| {
        let mut found = Vec::new();
        for row in rows {
            let (Some(oid), Some(partition), Some(end)) = (row.get(1)?, row.get(2)?, row.get(3)?) else {
                continue;
            };
            found.push(Due {
                oid,
                partition,
                period: Period {
                    start: row.get(4)?.unwrap_or(Micros::MIN),
                    end,
                },
                vacuumed: row.get(5)? == Some(true),
                reopened: row.get(6)? == Some(true),
            });
        }
        Ok(found)
    })
}

/// Step 1.
pub fn begin(installed: &Installed, partition: pg_sys::Oid) -> Result<(), Error> {
    let state = installed.qualified(Table::PartitionState);
    write(
        &format!(
            "UPDATE {state} SET seal = 'sealing', sealing_since = clock_timestamp()
             WHERE relation_oid = $1 AND seal <> 'sealed'"
        ),
        vec![argument(partition)],
        |_| Ok(()),
    )?;
    state::changed(installed)?;
    fault::point("seal_begun");
    Ok(())
}

/// Step 3. False when somebody has reopened it meanwhile.
pub fn finish(installed: &Installed, due: &Due) -> Result<bool, Error> {
    // Given back at once: it says that nobody writes, and stops nobody from it.
    if !lock::nobody_writes(due.oid) {
        let holder = holders(due.oid)?.first().map(ToString::to_string);
        return Err(Error::BeingWritten {
            relation: due.partition.clone(),
            holder: holder.unwrap_or_else(|| "somebody".to_owned()),
        });
    }
    read(
        "SELECT count(brin_summarize_new_values(i.indexrelid))
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
         WHERE i.indrelid = $1 AND a.amname = 'brin' AND i.indisvalid",
        vec![argument(due.oid)],
        |_| Ok(()),
    )?;
    if let Some(change) = storage::sealing(due.oid, &due.partition)? {
        run(&change)?;
    }
    fault::point("seal_before_look");
    let (rows, least, greatest) = look_through(due)?;
    fault::point("seal_before_note");
    let state = installed.qualified(Table::PartitionState);
    let sealed = write(
        &format!(
            "UPDATE {state} SET seal = 'sealed', sealed_at = clock_timestamp(), rows = $2, observed_from = $3, observed_until = $4,
                    tries = 0, next_try_at = NULL, last_error = NULL, in_the_way = NULL
             WHERE relation_oid = $1 AND seal = 'sealing' RETURNING partition"
        ),
        vec![
            argument(due.oid),
            argument(rows),
            argument(least),
            argument(greatest),
        ],
        |rows| Ok(!rows.is_empty()),
    )?;
    state::changed(installed)?;
    fault::point("seal_noted");
    Ok(sealed)
}

type Times = (
    Option<i64>,
    Option<TimestampWithTimeZone>,
    Option<TimestampWithTimeZone>,
);

/// How many readings there are, and their least and greatest time. Where policies hide some from their owner, nobody knows.
fn look_through(due: &Due) -> Result<Times, Error> {
    let hidden: Option<bool> = read(
        "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE oid = $1",
        vec![argument(due.oid)],
        value,
    )?;
    if hidden != Some(false) {
        return Ok((None, None, None));
    }
    let text = format!(
        "SELECT count(*), min(coalesce(observed_at, ingested_at)), max(coalesce(observed_at, ingested_at)) FROM ONLY {}",
        due.partition
    );
    xact::with_latest_snapshot(|| read_once(&text, vec![], |rows| Ok(rows.first().get_three()?)))
}

/// To be called by whoever is about to write into a partition of facts, with the lock of a writer on their parent. Next to
/// nothing where the partition is open.
pub fn reopen_if_closed(installed: &Installed, partition: pg_sys::Oid) -> Result<(), Error> {
    // Before the look: what was noted until then is heard of with the lock, and what comes later waits for it.
    lock::to_write(partition);
    if is_closed(installed, partition)? {
        reopen(installed, partition)?;
    }
    Ok(())
}

fn reopen(installed: &Installed, partition: pg_sys::Oid) -> Result<(), Error> {
    let state = installed.qualified(Table::PartitionState);
    write(
        &format!(
            "UPDATE {state} SET seal = 'reopened', observed_from = NULL, observed_until = NULL, rows = NULL
             WHERE relation_oid = $1 AND seal IN ('sealing', 'sealed')"
        ),
        vec![argument(partition)],
        |_| Ok(()),
    )?;
    state::changed(installed)
}

/// The statement that gives the planner its numbers of all partitions together, when it is time for that: autovacuum never does
/// it. On most versions it visits each partition as well, so it is done when a tenth of them was sealed since the last time:
/// ten partitions' worth of work for one that is sealed, however many there are.
pub fn analyze_statement(installed: &Installed) -> Result<Option<String>, Error> {
    let Some(state) = state::table(installed)? else {
        return Ok(None);
    };
    if !process::counts_statistics() {
        return Ok(None);
    }
    let facts = installed.require_table(Table::Facts)?;
    let sealed: Option<i64> = read(
        &format!(
            "SELECT count(*) FROM {state}
             WHERE seal = 'sealed' AND left_at IS NULL
               AND sealed_at > coalesce(pg_stat_get_last_analyze_time($1), '-infinity')"
        ),
        vec![argument(facts)],
        value,
    )?;
    let partitions = to_read(facts).len() as i64;
    let due = is_analyze_due(sealed.unwrap_or(0), partitions);
    Ok(due.then(|| format!("{} {}", compat::ANALYZE_PARENT, installed.qualified(Table::Facts))))
}

fn is_analyze_due(sealed: i64, partitions: i64) -> bool {
    sealed > 0 && sealed * 10 >= partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_analysed_after_a_tenth_of_its_partitions() {
        for (sealed, partitions, due) in [
            (0, 5, false),
            (1, 10, true),
            (1, 11, false),
            (99, 1000, false),
            (100, 1000, true),
        ] {
            assert_eq!(
                is_analyze_due(sealed, partitions),
                due,
                "{sealed} of {partitions}"
            );
        }
    }
}
