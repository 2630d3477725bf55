//! The keeper's tasks: short ones that keep the tables ready.

use super::board::Job;
use super::task::{Context, Report, VACUUM_STAGING};
use crate::error::Error;
use crate::installed::DOORS;
use crate::partition::create::{Parent, ensure_ahead};
use crate::shmem;
use crate::sql::{argument, read, value};

/// Dead rows in a staging table that are worth a vacuum: some megabytes, half a second of a busy fleet.
const DEAD_ROWS: i64 = 50_000;

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
        if dead.unwrap_or(0) >= DEAD_ROWS {
            let job = Job {
                task: VACUUM_STAGING,
                relation: relation.to_u32(),
            };
            if shmem::change_database(context.database, |database| database.request(job)) == Some(true) {
                shmem::wake_for_jobs(context.database);
            }
        }
    }
    Ok(Report::default())
}
