//! One flush: from each staging table, rows that belong into facts go there, rows that can never be stored go to rejected, and
//! rows that have no partition yet get one, or wait. All in the caller's transaction, so that a row is moved exactly once
//! or not at all. No watermark: what is taken is what is visible, whoever committed it when.

use crate::error::Error;
use crate::guc;
use crate::installed::{DOORS, Installed, Table};
use crate::partition::create::{Parent, ensure_ahead, ensure_at};
use crate::pg::claim::Staging;
use crate::pg::page_plan::Work;
use crate::pg::partitions::{self, EPOCH_2000, Partition};
use crate::pg::xact::Failure;
use crate::pg::{process, relation, settings, xact};
use crate::sql::{read, value};

use super::batch::Batch;
use super::fallback;
use super::judge::Window;
use super::route::{Router, Waiting};
use super::store;

/// Partitions that one flush makes for rows that have none; further ones wait for the next.
pub const PARTITIONS_PER_FLUSH: usize = 100;

#[derive(Debug, Default, Clone)]
pub struct Flushed {
    pub stored: i64,
    pub rejected: i64,
    pub waiting: i64,
    pub waiting_reason: Option<String>,
    pub partitions_created: usize,
    /// Stopped because it had enough: there may be more to take.
    pub more: bool,
    /// There is something to do even if nobody stages anything.
    pub unfinished: bool,
}

impl Flushed {
    /// Rows that left staging.
    pub fn taken(&self) -> i64 {
        self.stored + self.rejected
    }

    /// Counts add up; what waits is what waited last.
    pub fn add(&mut self, later: Flushed) {
        self.stored += later.stored;
        self.rejected += later.rejected;
        self.partitions_created += later.partitions_created;
        self.waiting = later.waiting;
        self.waiting_reason = later.waiting_reason;
        self.more = later.more;
        self.unfinished |= later.unfinished;
    }
}

/// Takes at most `max_rows` rows out of staging.
pub fn flush(installed: &Installed, max_rows: i64) -> Result<Flushed, Error> {
    let mut total = Flushed::default();
    for door in DOORS {
        let left = max_rows - total.taken();
        let work = look(installed, door)?;
        total.unfinished |= work != Work::None;
        if left <= 0 || work != Work::Now {
            continue;
        }
        let before = (total.waiting, total.waiting_reason.take(), total.more);
        let mut flushed = flush_door(installed, door, left)?;
        flushed.waiting += before.0;
        flushed.waiting_reason = flushed.waiting_reason.or(before.1);
        flushed.more |= before.2;
        total.add(flushed);
    }
    Ok(total)
}

/// The cheap answer that an idle flusher needs: reads, takes no transaction id, writes nothing.
fn look(installed: &Installed, door: Table) -> Result<Work, Error> {
    match Staging::open(installed.require_table(door)?) {
        Some(direct) => xact::with_snapshot(|| Ok(direct.work())),
        None if is_empty(installed, door)? => Ok(Work::None),
        None => Ok(Work::Now),
    }
}

/// Whether a table is empty for everybody; rows that another flush holds, and may give back, count as there.
pub fn is_empty(installed: &Installed, door: Table) -> Result<bool, Error> {
    let text = format!("SELECT EXISTS (SELECT FROM {})", installed.qualified(door));
    let found: Option<bool> = read(&text, vec![], value)?;
    Ok(found != Some(true))
}

fn flush_door(installed: &Installed, door: Table, max_rows: i64) -> Result<Flushed, Error> {
    if let Err(failure) = may_delete(installed, door)? {
        return Ok(Flushed {
            waiting_reason: Some(format!("{} ({})", failure.message, failure.sqlstate)),
            ..Flushed::default()
        });
    }
    ensure_ahead(installed, Parent::Rejected)?;
    if door == Table::Ingest {
        // The rows go for good from a table that a crash empties; their facts must not be lost in the same crash.
        settings::commit_to_local_disk();
    }
    let (mut flushed, waiting) = move_rows(installed, door, max_rows)?;
    if waiting.rows == 0 {
        return Ok(flushed);
    }
    let times: Vec<i64> = waiting
        .times(PARTITIONS_PER_FLUSH)
        .into_iter()
        .map(|time| time + EPOCH_2000)
        .collect();
    flushed.waiting = waiting.rows;
    match xact::subtransaction(|| ensure_at(installed, Parent::Facts, &times)) {
        Ok(created) => {
            let left = max_rows - flushed.taken();
            if left > 0 {
                let (more, waiting) = move_rows(installed, door, left)?;
                flushed.add(more);
                flushed.waiting = waiting.rows;
            }
            flushed.partitions_created = created;
        }
        Err(failure) => {
            flushed.waiting_reason = Some(format!(
                "no partition could be made: {} ({})",
                failure.message, failure.sqlstate
            ));
        }
    }
    Ok(flushed)
}

/// A table that publishes its deletions without saying which rows are meant lets nobody delete. That is no reason for the
/// other door to stand still.
fn may_delete(installed: &Installed, door: Table) -> Result<Result<(), Failure>, Error> {
    if !settings::writes_logical_wal() {
        return Ok(Ok(()));
    }
    let staging = installed.require_table(door)?;
    Ok(xact::subtransaction(|| {
        relation::check_replica_identity(staging);
        Ok(())
    }))
}

/// What one move of rows works on.
pub struct Move<'a> {
    pub installed: &'a Installed,
    pub door: Table,
    pub partitions: Vec<Partition>,
    /// The transaction had written something before: perhaps attributes.
    pub wrote_before: bool,
}

/// Moves rows that have a place to go to; says which ones wait for a partition.
fn move_rows(installed: &Installed, door: Table, max_rows: i64) -> Result<(Flushed, Waiting), Error> {
    let staging = installed.require_table(door)?;
    let facts = installed.require_table(Table::Facts)?;
    let work = Move {
        installed,
        door,
        partitions: partitions::to_write(facts),
        wrote_before: xact::has_id(),
    };
    let periods = work
        .partitions
        .iter()
        .map(|partition| (partition.from, partition.until))
        .collect();
    let most_rows = usize::try_from(max_rows).unwrap_or(usize::MAX);
    let mut batch = Batch::new(Router::new(periods, accepted()), most_rows, guc::flush_memory());

    let direct = Staging::open(staging);
    // What was done before in this transaction counts too: rows staged, rows taken.
    xact::next_command();
    let flushed = xact::with_snapshot(|| {
        match direct {
            Some(direct) => direct.claim(&mut batch),
            None => fallback::claim(&work, &mut batch)?,
        }
        store::store(&work, facts, &mut batch)
    })?;
    xact::next_command();
    Ok((flushed, batch.waiting))
}

/// The times that are accepted now.
fn accepted() -> Window {
    const SECOND: i64 = 1_000_000;
    let now = process::now();
    Window {
        from: now.saturating_sub(guc::accept_past_seconds() * SECOND),
        until: now.saturating_add(guc::accept_future_seconds() * SECOND),
    }
}
