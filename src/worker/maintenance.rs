//! The keeper's tasks: short ones that keep the tables ready.

use std::cell::RefCell;
use std::collections::HashMap;

use super::board::Job;
use super::task::{Context, Report, VACUUM_REJECTED, VACUUM_STAGING};
use crate::error::Error;
use crate::installed::DOORS;
use crate::partition::create::{Parent, ensure_ahead};
use crate::rejected::trim::trim;
use crate::shmem;
use crate::sql::{argument, read, value};

/// Dead rows in a staging table that are worth a vacuum: some megabytes, half a second of a busy fleet.
const DEAD_ROWS: i64 = 50_000;

/// When to vacuum. Dead rows that the last vacuum left, because somebody's snapshot may still see them, are no reason to
/// vacuum again; only new ones are. Pure.
#[derive(Debug, Default, Clone, Copy)]
struct Sweep {
    left: i64,
}

impl Sweep {
    fn wants_vacuum(&mut self, dead: i64) -> bool {
        self.left = self.left.min(dead);
        let due = dead - self.left >= DEAD_ROWS;
        if due {
            self.left = dead;
        }
        due
    }
}

thread_local! {
    static SWEEPS: RefCell<HashMap<u32, Sweep>> = RefCell::default();
}

/// Keeps partitions ready ahead of the current one.
pub fn premake(context: &Context) -> Result<Report, Error> {
    // In the order of the flush, which locks the one before the other as well.
    for parent in [Parent::Rejected, Parent::Facts] {
        ensure_ahead(context.installed, parent)?;
    }
    Ok(Report::default())
}

/// Asks the janitor to vacuum a staging table once enough moved rows lie in it, long before autovacuum would come round.
pub fn sweep_staging(context: &Context) -> Result<Report, Error> {
    for door in DOORS {
        let relation = context.installed.require_table(door)?;
        let dead: Option<i64> = read(
            "SELECT pg_stat_get_dead_tuples($1)",
            vec![argument(relation)],
            value,
        )?;
        let relation = relation.to_u32();
        if SWEEPS.with_borrow_mut(|sweeps| {
            sweeps
                .entry(relation)
                .or_default()
                .wants_vacuum(dead.unwrap_or(0))
        }) {
            ask_janitor(context, VACUUM_STAGING, relation);
        }
    }
    Ok(Report::default())
}

/// Bounds what is kept of rejected readings.
pub fn trim_rejected(context: &Context) -> Result<Report, Error> {
    let trimmed = trim(context.installed)?;
    if let Some(relation) = trimmed.to_vacuum {
        ask_janitor(context, VACUUM_REJECTED, relation);
    }
    Ok(Report {
        again: trimmed.more,
        waiting: trimmed.waiting,
        ..Report::default()
    })
}

fn ask_janitor(context: &Context, task: u8, relation: u32) {
    let job = Job { task, relation };
    if shmem::change_database(context.database, |database| database.request(job)) == Some(true) {
        shmem::wake_for_jobs(context.database);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_a_vacuum_could_not_remove_are_no_reason_for_the_next() {
        let mut sweep = Sweep::default();
        assert!(!sweep.wants_vacuum(DEAD_ROWS - 1));
        assert!(sweep.wants_vacuum(DEAD_ROWS));
        // A snapshot is held: they stay, and only new ones count.
        assert!(!sweep.wants_vacuum(DEAD_ROWS + 100));
        assert!(sweep.wants_vacuum(2 * DEAD_ROWS));
        // It is gone, and the vacuum removed them all.
        assert!(!sweep.wants_vacuum(10));
        assert!(sweep.wants_vacuum(DEAD_ROWS + 10));
    }
}
