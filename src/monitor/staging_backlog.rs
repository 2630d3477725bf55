//! The rows of `staging_backlog`: one for each door. What is not known is NULL.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::accounting::backlog;
use crate::accounting::keeper::counters;
use crate::accounting::pause::{self, Paused};
use crate::accounting::samples::Rates;
use crate::error::Error;
use crate::installed::{DOORS, Installed, Table};
use crate::pg::holders::{Holder, Kind, holders};
use crate::pg::{identity, lock, process, xact};
use crate::shmem;
use crate::sql::{argument, read, value};

/// A row of a number, with its line pointer: what a dead row takes where no live one tells.
const LEAST_ROW: i64 = 68;

/// Holders that are named; the oldest ones.
const NAMED: usize = 3;

#[derive(Default)]
struct Row {
    door: &'static str,
    staging_table: String,
    rows_waiting: Option<i64>,
    rows_are_estimated: Option<bool>,
    bytes: Option<i64>,
    oldest_at: Option<TimestampWithTimeZone>,
    rates: Option<Rates>,
    drains_in: Option<Interval>,
    exposed_rows: Option<i64>,
    dead_bytes: Option<i64>,
    pinned_bytes: Option<i64>,
    pinned_by: Option<String>,
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn staging_backlog_rows() -> Result<
    TableIterator<
        'static,
        (
            name!(door, String),
            name!(staging_table, String),
            name!(rows_waiting, Option<i64>),
            name!(rows_are_estimated, Option<bool>),
            name!(bytes, Option<i64>),
            name!(oldest_at, Option<TimestampWithTimeZone>),
            name!(rows_in_per_second, Option<f64>),
            name!(rows_out_per_second, Option<f64>),
            name!(drains_in, Option<Interval>),
            name!(exposed_rows, Option<i64>),
            name!(dead_bytes, Option<i64>),
            name!(pinned_bytes, Option<i64>),
            name!(pinned_by, Option<String>),
            name!(paused_at, Option<TimestampWithTimeZone>),
            name!(paused_by, Option<String>),
            name!(pause_reason, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let installed = Installed::require()?;
    let (rows, paused) = identity::as_owner(|| Ok((rows(&installed)?, pause::in_force(&installed)?)))?;
    let rows = rows.into_iter().map(move |row| {
        let paused = paused.clone();
        let (by, reason) = match &paused {
            Some(Paused { by, reason, .. }) => (Some(by.clone()), reason.clone()),
            None => (None, None),
        };
        (
            row.door.to_owned(),
            row.staging_table,
            row.rows_waiting,
            row.rows_are_estimated,
            row.bytes,
            row.oldest_at,
            row.rates.map(|rates| rates.incoming),
            row.rates.map(|rates| rates.outgoing),
            row.drains_in,
            row.exposed_rows,
            row.dead_bytes,
            row.pinned_bytes,
            row.pinned_by,
            paused.map(|paused| paused.at),
            by,
            reason,
        )
    });
    Ok(TableIterator::new(rows.collect::<Vec<_>>()))
}

fn rows(installed: &Installed) -> Result<Vec<Row>, Error> {
    DOORS
        .iter()
        .enumerate()
        .map(|(index, door)| row(installed, *door, index))
        .collect()
}

fn row(installed: &Installed, door: Table, index: usize) -> Result<Row, Error> {
    let mut row = Row {
        door: if door == Table::Ingest { "fast" } else { "durable" },
        staging_table: installed.qualified(door),
        ..Row::default()
    };
    let Some(relation) = installed.table_oid(door)? else {
        return Ok(row);
    };
    let unlogged = is_unlogged(relation)?;
    // A standby has no rows of UNLOGGED tables; and a view must not wait for who locks the table.
    if unlogged && xact::in_recovery() || !lock::try_read(relation) {
        return Ok(row);
    }
    let found = backlog::measure(installed, door)?;
    row.rows_waiting = Some(found.rows);
    row.rows_are_estimated = Some(found.estimated);
    row.exposed_rows = Some(if unlogged { found.rows } else { 0 });
    row.oldest_at = found.oldest_at;
    let (bytes, dead_rows) = sizes(relation)?;
    row.bytes = Some(bytes);
    // Only the primary counts what happens on its tables.
    if !xact::in_recovery() {
        let width = found.row_bytes.checked_div(found.rows).unwrap_or(LEAST_ROW);
        let dead = (dead_rows * width).min(bytes);
        let holders = holders(relation)?;
        row.dead_bytes = Some(dead);
        row.pinned_bytes = Some(if holders.is_empty() { 0 } else { dead });
        row.pinned_by = describe(&holders);
        let database = process::my_database();
        if let Some(now) = counters(installed)?[index] {
            let samples = shmem::look_at_ledger(|ledger| Some(ledger.account(database)?.samples[index]));
            row.rates = samples.flatten().and_then(|samples| samples.rates(now.sample));
        }
    }
    row.drains_in = drains_in(found.rows, row.rates);
    Ok(row)
}

fn is_unlogged(relation: pg_sys::Oid) -> Result<bool, Error> {
    let found: Option<bool> = read(
        "SELECT relpersistence = 'u' FROM pg_class WHERE oid = $1",
        vec![argument(relation)],
        value,
    )?;
    Ok(found == Some(true))
}

/// All bytes on disk, and rows that are dead as far as the server knows.
fn sizes(relation: pg_sys::Oid) -> Result<(i64, i64), Error> {
    read(
        "SELECT pg_table_size($1), pg_stat_get_dead_tuples($1)",
        vec![argument(relation)],
        |rows| {
            let (bytes, dead) = rows.first().get_two::<i64, i64>()?;
            Ok((bytes.unwrap_or(0), dead.unwrap_or(0).max(0)))
        },
    )
}

/// None where more comes in than goes out, and where that is not known.
fn drains_in(rows: i64, rates: Option<Rates>) -> Option<Interval> {
    if rows == 0 {
        return Interval::from_micros(0).into();
    }
    let Rates { incoming, outgoing } = rates?;
    let micros = rows as f64 / (outgoing - incoming) * 1e6;
    if outgoing <= incoming || micros > 1e17 {
        return None;
    }
    Interval::from_micros(micros as i64).into()
}

fn describe(holders: &[Holder]) -> Option<String> {
    let mut named: Vec<String> = holders.iter().take(NAMED).map(name).collect();
    if holders.len() > NAMED {
        named.push(format!("{} more", holders.len() - NAMED));
    }
    (!named.is_empty()).then(|| named.join(", "))
}

fn name(holder: &Holder) -> String {
    let what = match &holder.kind {
        Kind::Reader(pid) => format!("process {pid}, which reads the table"),
        Kind::Snapshot(pid) => format!("process {pid}, whose snapshot may yet read the table"),
        Kind::Standby(pid) => format!("a standby, by WAL sender process {pid}"),
        Kind::Slot(slot) => format!("replication slot {slot}"),
        Kind::Prepared(gid) => format!("prepared transaction {gid}"),
    };
    let since = holder
        .since
        .map(|since| (process::now() - since).max(0) / 1_000_000)
        .map_or(String::new(), |seconds| format!(", for {seconds} s"));
    format!("{what} ({} transactions back{since})", holder.age)
}
