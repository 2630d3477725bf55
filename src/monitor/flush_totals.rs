//! What flushes did since the server started, in numbers that only grow: the shape that exporters want.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::accounting::minutes::{Counters, Source};
use crate::installed::Installed;
use crate::pg::process;
use crate::shmem;

type Row = (
    String,
    i64,
    i64,
    i64,
    i64,
    i64,
    i64,
    i64,
    Option<TimestampWithTimeZone>,
);

/// No rows without preload: nobody counts then.
#[allow(clippy::type_complexity)]
#[pg_extern]
fn flush_totals() -> Result<
    TableIterator<
        'static,
        (
            name!(source, String),
            name!(batches_total, i64),
            name!(rows_flushed_total, i64),
            name!(rows_rejected_total, i64),
            name!(wal_bytes_total, i64),
            name!(fallbacks_total, i64),
            name!(errors_total, i64),
            name!(partitions_created_total, i64),
            name!(counted_since_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    Installed::require()?;
    let database = process::my_database();
    let found = shmem::look_at_ledger(|ledger| {
        let totals = ledger.account(database).map(|account| account.totals);
        (ledger.born, totals)
    });
    let rows = found.map_or_else(Vec::new, |(born, totals)| {
        let totals = totals.unwrap_or([Counters::NONE; 2]);
        [Source::Worker, Source::Sql]
            .into_iter()
            .map(|source| {
                let counters = &totals[source as usize];
                let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
                let row: Row = (
                    source.name().to_owned(),
                    number(counters.batches),
                    number(counters.rows_flushed),
                    number(counters.rows_rejected),
                    number(counters.wal_bytes),
                    number(counters.fallback_claims + counters.fallback_leaves),
                    number(counters.errors),
                    number(counters.partitions_created),
                    TimestampWithTimeZone::try_from(born).ok(),
                );
                row
            })
            .collect()
    });
    Ok(TableIterator::new(rows))
}
