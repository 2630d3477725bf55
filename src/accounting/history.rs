//! Minutes that are over, in the table `flush_history`, so that they survive a restart.

use pgrx::datum::TimestampWithTimeZone;

use super::histogram::Histogram;
use super::minutes::{Counters, Key, Source};
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::{process, xact};
use crate::shmem;
use crate::sql::{self, Argument, argument, read, write};

const COLUMNS: &str = "minute, source, since, batches, rows_flushed, rows_rejected, rows_waiting, longest_us, durations, wal_bytes,
    fallback_claims, fallback_leaves, retries, errors, partitions_created";

/// Writes what is over, or everything before the server stops, and removes what is too old: a bounded part of it each time.
pub fn write_finished(installed: &Installed, all: bool) -> Result<(), Error> {
    let (database, now) = (process::my_database(), process::now());
    let waiting = shmem::look_at_ledger(|ledger| {
        ledger
            .account(database)
            .is_some_and(|account| account.minutes.has_finished(now, all))
    });
    if waiting != Some(true) {
        return Ok(());
    }
    let finished = shmem::account(|account| account.minutes.seal(now, all)).unwrap_or_default();
    let history = installed.qualified(Table::FlushHistory);
    let text = format!(
        "INSERT INTO {history} ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
         ON CONFLICT DO NOTHING"
    );
    for (key, counters) in &finished {
        write(&text, arguments(key, counters), |_| Ok(()))?;
    }
    let keys: Vec<Key> = finished.into_iter().map(|(key, _)| key).collect();
    xact::after_commit(move || {
        shmem::account(|account| account.minutes.written(&keys));
    });
    let prune = format!(
        "DELETE FROM {history} WHERE ctid = ANY (ARRAY(
             SELECT ctid FROM {history} WHERE minute < now() - interval '7 days' LIMIT 1000))"
    );
    write(&prune, vec![], |_| Ok(()))
}

fn arguments(key: &Key, counters: &Counters) -> Vec<Argument> {
    let timestamp = |at: i64| argument(TimestampWithTimeZone::try_from(at).ok());
    let number = |count: u64| argument(i64::try_from(count).unwrap_or(i64::MAX));
    vec![
        timestamp(key.minute),
        argument(key.source.name()),
        timestamp(key.since),
        number(counters.batches),
        number(counters.rows_flushed),
        number(counters.rows_rejected),
        number(counters.rows_waiting),
        number(counters.longest_us),
        argument(counters.durations.to_counts()),
        number(counters.wal_bytes),
        number(counters.fallback_claims),
        number(counters.fallback_leaves),
        number(counters.retries),
        number(counters.errors),
        number(counters.partitions_created),
    ]
}

pub fn read_all(installed: &Installed) -> Result<Vec<(Key, Counters)>, Error> {
    read_from(installed, "", vec![])
}

/// Minutes that begin at this time or later.
pub fn read_since(installed: &Installed, since: i64) -> Result<Vec<(Key, Counters)>, Error> {
    read_from(installed, "WHERE minute >= $1", vec![sql::time(since)])
}

fn read_from(
    installed: &Installed,
    condition: &str,
    arguments: Vec<Argument>,
) -> Result<Vec<(Key, Counters)>, Error> {
    let text = format!(
        "SELECT {COLUMNS} FROM {} {condition}",
        installed.qualified(Table::FlushHistory)
    );
    read(&text, arguments, |rows| {
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let time = |column: usize| -> Result<i64, Error> {
                Ok(row
                    .get::<TimestampWithTimeZone>(column)?
                    .map_or(0, pgrx::pg_sys::TimestampTz::from))
            };
            let number = |column: usize| -> Result<u64, Error> {
                Ok(row
                    .get::<i64>(column)?
                    .and_then(|number| u64::try_from(number).ok())
                    .unwrap_or(0))
            };
            let source = row.get::<String>(2)?.unwrap_or_default();
            let key = Key {
                minute: time(1)?,
                source: Source::from_name(&source),
                since: time(3)?,
            };
            let durations = row.get::<Vec<i32>>(9)?.unwrap_or_default();
            let counters = Counters {
                batches: number(4)?,
                rows_flushed: number(5)?,
                rows_rejected: number(6)?,
                rows_waiting: number(7)?,
                longest_us: number(8)?,
                durations: Histogram::from_counts(&durations),
                wal_bytes: number(10)?,
                fallback_claims: number(11)?,
                fallback_leaves: number(12)?,
                retries: number(13)?,
                errors: number(14)?,
                partitions_created: number(15)?,
            };
            found.push((key, counters));
        }
        Ok(found)
    })
}
