//! The rows of `flush_stats`: minutes from the table and from shared memory, each counted once.

use std::collections::{BTreeMap, HashSet};

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::accounting::minutes::{Counters, Key, Source};
use crate::accounting::{history, state};
use crate::error::Error;
use crate::installed::Installed;
use crate::pg::{identity, process, xact};
use crate::shmem;

type Row = (
    TimestampWithTimeZone,
    String,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<f64>,
    Option<f64>,
    Option<f64>,
    Option<f64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
);

#[allow(clippy::type_complexity)]
#[pg_extern]
fn flush_stats_rows() -> Result<
    TableIterator<
        'static,
        (
            name!(minute, TimestampWithTimeZone),
            name!(source, String),
            name!(batches, Option<i64>),
            name!(rows_flushed, Option<i64>),
            name!(rows_rejected, Option<i64>),
            name!(rows_waiting, Option<i64>),
            name!(p50_ms, Option<f64>),
            name!(p95_ms, Option<f64>),
            name!(p99_ms, Option<f64>),
            name!(max_ms, Option<f64>),
            name!(wal_bytes, Option<i64>),
            name!(fallback_claims, Option<i64>),
            name!(fallback_leaves, Option<i64>),
            name!(retries, Option<i64>),
            name!(errors, Option<i64>),
            name!(partitions_created, Option<i64>),
        ),
    >,
    ErrorReport,
> {
    let installed = Installed::require()?;
    Ok(TableIterator::new(identity::as_owner(|| rows(&installed))?))
}

fn rows(installed: &Installed) -> Result<Vec<Row>, Error> {
    let written = if state::is_kept(installed)? {
        history::read_all(installed)?
    } else {
        Vec::new()
    };
    let database = process::my_database();
    let remembered = shmem::look_at_ledger(|ledger| {
        ledger
            .account(database)
            .map(|account| account.minutes.all())
            .unwrap_or_default()
    })
    .unwrap_or_default();
    let mut rows: Vec<Row> = united(written, remembered)
        .into_iter()
        .filter_map(|((minute, source), counters)| row(minute, source, &counters))
        .collect();
    // An empty view would look like a server on which nobody flushes.
    if !shmem::is_available() && !xact::in_recovery() {
        rows.extend(not_counted());
    }
    Ok(rows)
}

/// What is in both is one.
fn united(
    written: Vec<(Key, Counters)>,
    remembered: Vec<(Key, Counters)>,
) -> BTreeMap<(i64, Source), Counters> {
    let in_table: HashSet<(i64, &str, i64)> = written
        .iter()
        .map(|(key, _)| (key.minute, key.source.name(), key.since))
        .collect();
    let only_remembered: Vec<_> = remembered
        .into_iter()
        .filter(|(key, _)| !in_table.contains(&(key.minute, key.source.name(), key.since)))
        .collect();
    drop(in_table);
    let mut minutes = BTreeMap::new();
    for (key, counters) in written.into_iter().chain(only_remembered) {
        minutes
            .entry((key.minute, key.source))
            .or_insert(Counters::NONE)
            .add(&counters);
    }
    minutes
}

fn row(minute: i64, source: Source, counters: &Counters) -> Option<Row> {
    let number = |count: u64| i64::try_from(count).ok();
    let quantile = |share: f64| {
        counters
            .durations
            .quantile_us(share, counters.longest_us)
            .map(|us| us / 1000.0)
    };
    Some((
        TimestampWithTimeZone::try_from(minute).ok()?,
        source.name().to_owned(),
        number(counters.batches),
        number(counters.rows_flushed),
        number(counters.rows_rejected),
        number(counters.rows_waiting),
        quantile(0.5),
        quantile(0.95),
        quantile(0.99),
        quantile(1.0),
        number(counters.wal_bytes),
        number(counters.fallback_claims),
        number(counters.fallback_leaves),
        number(counters.retries),
        number(counters.errors),
        number(counters.partitions_created),
    ))
}

fn not_counted() -> Option<Row> {
    const MINUTE: i64 = 60_000_000;
    let now = process::now();
    let minute = TimestampWithTimeZone::try_from(now - now.rem_euclid(MINUTE)).ok()?;
    let source = "not preloaded".to_owned();
    Some((
        minute, source, None, None, None, None, None, None, None, None, None, None, None, None, None, None,
    ))
}
