//! Counting flushes: each counts when its transaction ends, rows when it committed, an error when it did not. Without shared
//! memory nothing is counted.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use super::histogram::Histogram;
use super::minutes::{Counters, Source};
use super::progress::Ticket;
use crate::error::Error;
use crate::pg::fate::{self, Fate};
use crate::pg::{activity, process, xact};
use crate::shmem;
use crate::staging::flush::Flushed;

/// A flush that moved something, or wanted to.
struct Batch {
    part: fate::Part,
    began: Instant,
    wal_before: u64,
    counters: Counters,
}

/// The flushes of the running transaction.
struct Pending {
    ticket: Ticket,
    source: Source,
    /// The part in which a flush has begun and not ended.
    running: Option<fate::Part>,
    batches: Vec<Batch>,
    /// When the last flush began that found the end of staging.
    complete: Option<i64>,
    /// Flushes that were undone by a subtransaction.
    undone: u64,
    /// The last flush of this process was undone.
    failed: bool,
}

thread_local! {
    static PENDING: RefCell<Option<Pending>> = const { RefCell::new(None) };
    static FAILED_BEFORE: Cell<bool> = const { Cell::new(false) };
    static FALLBACKS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Rows are being taken from staging by SQL.
pub fn claimed_by_sql() {
    FALLBACKS.set((FALLBACKS.get().0 + 1, FALLBACKS.get().1));
}

/// A partition gets its rows by SQL.
pub fn stored_by_sql() {
    FALLBACKS.set((FALLBACKS.get().0, FALLBACKS.get().1 + 1));
}

/// Runs one flush of at most `max_rows` rows and counts it.
pub fn counted(
    source: Source,
    max_rows: i64,
    flush: impl FnOnce() -> Result<Flushed, Error>,
) -> Result<Flushed, Error> {
    if !shmem::is_available() {
        return flush();
    }
    let (began, wal_before, at) = (Instant::now(), activity::wal_bytes(), process::now());
    begin(source);
    FALLBACKS.set((0, 0));
    // An error ends the transaction, or the subtransaction that it is caught in; what it means for us comes from there.
    let flushed = flush()?;
    let mut counters = of(&flushed);
    if counters != Counters::NONE {
        counters.batches = 1;
        counters.wal_bytes = activity::wal_bytes().saturating_sub(wal_before);
        time(&mut counters, began.elapsed());
    }
    let nothing_left = !flushed.more && flushed.waiting == 0 && flushed.waiting_reason.is_none();
    let complete = nothing_left && flushed.taken() < max_rows && xact::is_read_committed();
    end(began, wal_before, counters, complete.then_some(at));
    Ok(flushed)
}

fn of(flushed: &Flushed) -> Counters {
    let count = |rows: i64| u64::try_from(rows).unwrap_or(0);
    if flushed.taken() == 0 && flushed.waiting == 0 && flushed.partitions_created == 0 {
        return Counters::NONE;
    }
    let (fallback_claims, fallback_leaves) = FALLBACKS.get();
    Counters {
        rows_flushed: count(flushed.stored),
        rows_rejected: count(flushed.rejected),
        rows_waiting: count(flushed.waiting),
        partitions_created: flushed.partitions_created as u64,
        fallback_claims,
        fallback_leaves,
        ..Counters::NONE
    }
}

fn time(counters: &mut Counters, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    counters.longest_us = micros;
    counters.durations = Histogram::EMPTY;
    counters.durations.record(micros);
}

fn begin(source: Source) {
    fate::listen(transaction_ended);
    PENDING.with_borrow_mut(|pending| {
        if pending.is_none() {
            *pending = shmem::account(|account| account.progress.begin()).map(|ticket| Pending {
                ticket,
                source,
                running: None,
                batches: Vec::new(),
                complete: None,
                undone: 0,
                failed: FAILED_BEFORE.get(),
            });
        }
        if let Some(pending) = pending {
            pending.running = Some(fate::current_part());
        }
    });
}

fn end(began: Instant, wal_before: u64, mut counters: Counters, complete: Option<i64>) {
    PENDING.with_borrow_mut(|pending| {
        let Some(pending) = pending else { return };
        let Some(part) = pending.running.take() else {
            return;
        };
        pending.complete = complete.or(pending.complete);
        if counters != Counters::NONE {
            counters.retries = u64::from(std::mem::take(&mut pending.failed));
            pending.batches.push(Batch {
                part,
                began,
                wal_before,
                counters,
            });
        }
    });
}

fn transaction_ended(fate: Fate) {
    match fate {
        Fate::PartCommitted { part, parent } => PENDING.with_borrow_mut(|pending| {
            if let Some(pending) = pending {
                pending.merge(part, parent);
            }
        }),
        Fate::PartRolledBack { part } => PENDING.with_borrow_mut(|pending| {
            if let Some(pending) = pending {
                pending.undo(part);
            }
        }),
        Fate::Committed | Fate::RolledBack | Fate::Prepared => {
            if let Some(pending) = PENDING.take() {
                pending.settle(fate);
            }
        }
    }
}

impl Pending {
    fn merge(&mut self, part: fate::Part, parent: fate::Part) {
        for batch in self.batches.iter_mut().filter(|batch| batch.part == part) {
            batch.part = parent;
        }
    }

    fn undo(&mut self, part: fate::Part) {
        let before = self.batches.len();
        self.batches.retain(|batch| batch.part != part);
        let mut undone = before - self.batches.len();
        if self.running == Some(part) {
            self.running = None;
            undone += 1;
        }
        if undone > 0 {
            self.complete = None;
            self.failed = true;
            self.undone += undone as u64;
        }
    }

    fn settle(self, fate: Fate) {
        let mut sum = Counters::NONE;
        sum.errors = self.undone;
        match fate {
            Fate::Committed => {
                for batch in &self.batches {
                    let mut counters = batch.counters;
                    if self.source == Source::Worker {
                        // A worker's flush is its transaction, and its rows can be seen from now on.
                        time(&mut counters, batch.began.elapsed());
                        counters.wal_bytes = activity::wal_bytes().saturating_sub(batch.wal_before);
                    }
                    sum.add(&counters);
                }
            }
            Fate::Prepared => {}
            _ => sum.errors += self.batches.len() as u64 + u64::from(self.running.is_some()),
        }
        let failed = match fate {
            Fate::Committed => self.failed,
            _ => self.failed || sum.errors > 0,
        };
        FAILED_BEFORE.set(failed);
        let now = process::now();
        shmem::account(|account| {
            match fate {
                Fate::Committed => account.progress.commit(self.ticket, self.complete),
                _ => account.progress.roll_back(self.ticket),
            }
            if sum != Counters::NONE {
                account.count(now, self.source, &sum);
            }
        });
    }
}
