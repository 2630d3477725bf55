//! The keeper's tasks: short ones that keep the tables ready.

use std::cell::RefCell;
use std::collections::HashMap;

use super::board::Job;
use super::janitor::ask_to_seal;
use super::task::{BUILD_INDEX, Context, Report, VACUUM_REJECTED, VACUUM_STAGING};
use crate::error::Error;
use crate::fact_index;
use crate::guc;
use crate::ingest::ledger;
use crate::installed::{DOORS, Table};
use crate::partition::create::{Parent, ensure_ahead};
use crate::partition::rotate::remove;
use crate::partition::{state, summaries};
use crate::pg::tail;
use crate::rejected::trim::trim;
use crate::shmem;
use crate::sql::{argument, read, value};

/// Dead rows in a staging table that are worth a vacuum: some megabytes, half a second of a busy fleet.
const DEAD_ROWS: i64 = 50_000;

/// Looks in which they must all have been there: the flush clears away what it can by itself, but not at once.
const LOOKS: u32 = 60;

/// Looks in which the end of a table must have been empty: what is empty between two waves of rows will be filled again.
const EMPTY_LOOKS: u32 = 10;

/// When to vacuum. Dead rows that the last vacuum left, because somebody's snapshot may still see them, are no reason to
/// vacuum again; only new ones are. Pure.
#[derive(Debug, Default, Clone, Copy)]
struct Sweep {
    left: i64,
    /// The least number of dead rows in so many looks.
    least: i64,
    looks: u32,
    empty_looks: u32,
}

impl Sweep {
    fn wants_vacuum(&mut self, dead: i64) -> bool {
        self.left = self.left.min(dead);
        self.least = if self.looks == 0 {
            dead
        } else {
            self.least.min(dead)
        };
        self.looks += 1;
        if self.looks < LOOKS {
            return false;
        }
        self.looks = 0;
        let due = self.least - self.left >= DEAD_ROWS;
        if due {
            self.left = dead;
        }
        due
    }

    fn wants_cut(&mut self, is_long: bool) -> bool {
        self.empty_looks = if is_long { self.empty_looks + 1 } else { 0 };
        self.empty_looks >= EMPTY_LOOKS
    }
}

thread_local! {
    static SWEEPS: RefCell<HashMap<u32, Sweep>> = RefCell::default();
}

/// Keeps partitions ready ahead of the current one, fills gaps, and has old ones removed.
pub fn rotate(context: &Context) -> Result<Report, Error> {
    // In the order of the flush, which locks the one before the other as well.
    let mut made = 0;
    for parent in [Parent::Rejected, Parent::Facts] {
        made += ensure_ahead(context.installed, parent)?;
    }
    state::adopt(context.installed)?;
    let waiting = remove(context.installed)?;
    ask_to_seal(context.installed, context.database)?;
    Ok(Report {
        // As many as one transaction may make were made, and there may be more.
        again: made > 0,
        waiting,
        ..Report::default()
    })
}

/// Forgets requests that are too old to be repeated.
pub fn forget_requests(context: &Context) -> Result<Report, Error> {
    let again = ledger::remove_expired(context.installed)?;
    Ok(Report {
        again,
        ..Report::default()
    })
}

/// Has indexes of facts built that are not complete, and made anew where that was asked for.
pub fn look_at_indexes(context: &Context) -> Result<Report, Error> {
    if fact_index::is_wanted(context.installed)? {
        let facts = context.installed.require_table(Table::Facts)?;
        ask_janitor(context.database, BUILD_INDEX, facts.to_u32());
    }
    Ok(Report::default())
}

/// Asks the janitor to vacuum a staging table once there are enough moved rows that the flush does not clear away, and gives
/// back the end of a table that has grown by a backlog.
pub fn sweep_staging(context: &Context) -> Result<Report, Error> {
    for door in DOORS {
        let relation = context.installed.require_table(door)?;
        let dead: Option<i64> = read(
            "SELECT pg_stat_get_dead_tuples($1)",
            vec![argument(relation)],
            value,
        )?;
        let is_long = tail::is_long(relation);
        let wants_cut =
            SWEEPS.with_borrow_mut(|sweeps| sweeps.entry(relation.to_u32()).or_default().wants_cut(is_long));
        if wants_cut {
            tail::cut(relation);
        }
        let relation = relation.to_u32();
        if SWEEPS.with_borrow_mut(|sweeps| {
            sweeps
                .entry(relation)
                .or_default()
                .wants_vacuum(dead.unwrap_or(0))
        }) {
            ask_janitor(context.database, VACUUM_STAGING, relation);
        }
    }
    Ok(Report::default())
}

/// Bounds what is kept of rejected readings.
pub fn trim_rejected(context: &Context) -> Result<Report, Error> {
    let trimmed = trim(context.installed)?;
    if let Some(relation) = trimmed.to_vacuum {
        ask_janitor(context.database, VACUUM_REJECTED, relation);
    }
    Ok(Report {
        again: trimmed.more,
        waiting: trimmed.waiting,
        ..Report::default()
    })
}

pub fn summarise_brin(context: &Context) -> Result<Report, Error> {
    Ok(Report {
        again: summaries::summarise_new(context.installed)?,
        ..Report::default()
    })
}

/// False when there is no janitor to ask: nothing is preloaded, or workers are turned off.
pub fn ask_janitor(database: u32, task: u8, relation: u32) -> bool {
    let job = Job { task, relation };
    let requested = shmem::change_database(database, |database| database.request(job));
    if requested == Some(true) {
        shmem::wake_for_jobs(database);
    }
    requested.is_some() && guc::background_workers()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What came of so many looks that all saw the same.
    fn look(sweep: &mut Sweep, dead: i64) -> bool {
        let found: Vec<bool> = (0..LOOKS).map(|_| sweep.wants_vacuum(dead)).collect();
        assert!(found[..LOOKS as usize - 1].iter().all(|due| !due));
        found[LOOKS as usize - 1]
    }

    #[test]
    fn rows_that_a_vacuum_could_not_remove_are_no_reason_for_the_next() {
        let mut sweep = Sweep::default();
        assert!(!look(&mut sweep, DEAD_ROWS - 1));
        assert!(look(&mut sweep, DEAD_ROWS));
        // A snapshot is held: they stay, and only new ones count.
        assert!(!look(&mut sweep, DEAD_ROWS + 100));
        assert!(look(&mut sweep, 2 * DEAD_ROWS));
        // It is gone, and the vacuum removed them all.
        assert!(!look(&mut sweep, 10));
        assert!(look(&mut sweep, DEAD_ROWS + 10));
    }

    #[test]
    fn what_the_flush_clears_away_is_no_reason_for_a_vacuum() {
        let mut sweep = Sweep::default();
        let due = (0..10 * LOOKS).any(|look| {
            let dead = if look % 20 == 7 { 1000 } else { 10 * DEAD_ROWS };
            sweep.wants_vacuum(dead)
        });
        assert!(!due);
    }

    #[test]
    fn an_end_that_was_empty_for_a_while_is_given_back() {
        let mut sweep = Sweep::default();
        let looks = [true; EMPTY_LOOKS as usize - 1];
        assert!(!looks.map(|look| sweep.wants_cut(look)).contains(&true));
        assert!(!sweep.wants_cut(false));
        assert!(!looks.map(|look| sweep.wants_cut(look)).contains(&true));
        assert!(sweep.wants_cut(true));
        assert!(sweep.wants_cut(true));
    }
}
