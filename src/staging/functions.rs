//! The flush as users call it.

use std::cell::RefCell;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::flush::{Flushed, flush};
use crate::error::Error;
use crate::guc;
use crate::installed::Installed;
use crate::pg::{identity, process, xact};
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
    let restore = identity::restrict();
    let flushed = flush_here(max_rows)?;
    restore.now();
    Ok(flushed)
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
    shmem::notice_if_unseen(process::my_database());

    let started_at = process::now();
    let limit = max_rows.unwrap_or(i64::MAX);
    let mut total = Flushed::default();
    // In batches, so that memory stays bounded however much is waiting.
    loop {
        let batch = guc::flush_batch_rows().min(limit.saturating_sub(total.taken()));
        let flushed = flush(&installed, batch)?;
        let more = flushed.taken() >= batch && batch > 0;
        total.add(flushed);
        if !more || total.taken() >= limit {
            break;
        }
    }
    let rows = total.stored;
    LAST.set(Some(Last {
        started_at,
        duration_us: process::now() - started_at,
        flushed: total,
    }));
    Ok(rows)
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
