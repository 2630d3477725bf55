//! The flush as users call it.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::course::Course;
use super::flush::{Flushed, flush, is_empty};
use super::standstill;
use crate::accounting::minutes::Source;
use crate::accounting::{pause, session, tally};
use crate::argument;
use crate::error::Error;
use crate::guc;
use crate::ingest::ledger;
use crate::installed::{DOORS, Installed, Table};
use crate::pg::horizon;
use crate::pg::{identity, process, signals, xact};
use crate::shmem;

struct Last {
    started_at: i64,
    duration_us: i64,
    flushed: Flushed,
}

thread_local! {
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

#[pg_extern]
fn stage_flush(max_rows: Option<i64>) -> Result<i64, ErrorReport> {
    Ok(identity::as_owner(|| flush_here(max_rows))?)
}

fn flush_here(max_rows: Option<i64>) -> Result<i64, Error> {
    if let Some(value) = max_rows.filter(|rows| *rows < 0) {
        return Err(Error::OutOfRange {
            argument: "max_rows",
            value,
            allowed: "0 and above; NULL: no limit",
        });
    }
    xact::check_writable()?;
    let installed = Installed::require()?;
    check_snapshot(&installed)?;
    shmem::notice_if_unseen(process::my_database());

    standstill::forget();
    let started_at = process::now();
    if let Some(paused) = pause::holds(&installed)? {
        // No error: whoever calls this by a schedule should not fail for it.
        let flushed = Flushed {
            waiting_reason: Some(paused),
            ..Flushed::default()
        };
        return Ok(remember(started_at, flushed));
    }
    session::before_flush(&installed)?;
    let mut course = Course::default();
    let flushed = flush_batches(&installed, max_rows.unwrap_or(i64::MAX), &mut course)?;
    if flushed.taken() == 0
        && let Some(obstacle) = course.obstacle()
    {
        return Err(obstacle.as_error().into());
    }
    if !shmem::is_available() {
        // There is no keeper. What cannot be done now is done by a later call.
        let _ = xact::subtransaction(|| ledger::remove_expired(&installed));
    }
    session::after_flush(&installed, &flushed)?;
    Ok(remember(started_at, flushed))
}

/// For last_flush(); the rows that reached facts.
fn remember(started_at: i64, flushed: Flushed) -> i64 {
    let rows = flushed.stored;
    LAST.set(Some(Last {
        started_at,
        duration_us: process::now() - started_at,
        flushed,
    }));
    rows
}

/// A snapshot that serves the whole transaction may be too old to find in staging what it should.
fn check_snapshot(installed: &Installed) -> Result<(), Error> {
    DOORS
        .iter()
        .try_for_each(|door| horizon::check_snapshot(installed.require_table(*door)?))
}

/// In batches, so that memory stays bounded however much is waiting, each with a snapshot of its own.
fn flush_batches(installed: &Installed, limit: i64, course: &mut Course) -> Result<Flushed, Error> {
    let mut total = Flushed::default();
    loop {
        let batch = guc::flush_batch_rows().min(limit.saturating_sub(total.taken()));
        let flushed = flush_batch(installed, batch, course)?;
        let more = flushed.more;
        total.add(flushed);
        if !more || total.taken() >= limit {
            return Ok(total);
        }
    }
}

/// The fast way in a subtransaction: the transaction is the caller's, and has to go on when something is in the way.
fn flush_batch(installed: &Installed, rows: i64, course: &mut Course) -> Result<Flushed, Error> {
    let run = |course: &mut Course| {
        tally::counted(Source::Sql, rows, || {
            xact::with_snapshot(|| flush(installed, rows, course))
        })
    };
    if course.is_careful() {
        return run(course);
    }
    match xact::subtransaction(|| run(course)) {
        Ok(flushed) => Ok(flushed),
        Err(failure) if course.stumbled(&failure.sqlstate) => run(course),
        Err(failure) => Err(failure.into()),
    }
}

/// How soon drain() looks again at rows that could not be moved.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

#[pg_extern]
fn drain(timeout: Option<Interval>) -> Result<bool, ErrorReport> {
    Ok(identity::as_owner(|| drain_here(timeout))?)
}

fn drain_here(timeout: Option<Interval>) -> Result<bool, Error> {
    let limit = argument::timeout(timeout)?;
    xact::check_writable()?;
    let installed = Installed::require()?;
    check_snapshot(&installed)?;
    standstill::forget();
    let start = Instant::now();
    let mut course = Course::default();
    loop {
        let paused = pause::holds(&installed)?;
        if paused.is_none() {
            flush_batches(&installed, i64::MAX, &mut course)?;
        }
        let empty = xact::with_snapshot(|| {
            DOORS
                .iter()
                .try_fold(true, |empty, door| Ok(empty && is_empty(&installed, *door)?))
        })?;
        let is_paused = paused.is_some();
        if let Some(paused) = paused.filter(|_| !empty) {
            return Err(Error::Paused(paused));
        }
        let behind = projection_is_behind(&installed)?;
        if empty && !behind {
            return Ok(true);
        }
        if start.elapsed() >= limit || is_paused {
            if empty {
                notice!(
                    "staging is empty, but documents of hot attributes are not up to date yet: somebody holds their entities, or \
                     an old snapshot; what they lack is stored, and waits in projection_pending for a later flush"
                );
            }
            return Ok(empty);
        }
        signals::pause(LOOK_AGAIN);
    }
}

/// Stored readings wait for being taken into documents.
fn projection_is_behind(installed: &Installed) -> Result<bool, Error> {
    // An older version has no such table.
    if installed.table_oid(Table::Pending)?.is_none() {
        return Ok(false);
    }
    xact::with_snapshot(|| Ok(!is_empty(installed, Table::Pending)?))
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn last_flush() -> Result<
    TableIterator<
        'static,
        (
            name!(started_at, TimestampWithTimeZone),
            name!(rows_flushed, i64),
            name!(rows_rejected, i64),
            name!(rows_waiting, i64),
            name!(waiting_reason, Option<String>),
            name!(partitions_created, i32),
            name!(duration_ms, f64),
        ),
    >,
    ErrorReport,
> {
    let row = LAST.with_borrow(|last| {
        last.as_ref().and_then(|last| {
            Some((
                TimestampWithTimeZone::try_from(last.started_at).ok()?,
                last.flushed.stored,
                last.flushed.rejected,
                last.flushed.waiting,
                last.flushed.waiting_reason.clone(),
                i32::try_from(last.flushed.partitions_created).unwrap_or(i32::MAX),
                last.duration_us as f64 / 1000.0,
            ))
        })
    });
    Ok(TableIterator::new(row))
}
