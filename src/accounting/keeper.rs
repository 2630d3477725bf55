//! What the keeper writes down each second, when there is something to say.

use std::cell::RefCell;

use super::backlog;
use super::ledger::Account;
use super::samples::Sample;
use super::{crash, history, state};
use crate::error::Error;
use crate::installed::{DOORS, Installed, Table};
use crate::pg::process;
use crate::shmem;
use crate::sql::{argument, read};
use crate::worker::task::{Context, Report};

/// What can be had for next to nothing; as long as it stays the same, nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Signs {
    moves: u64,
    inserted: i64,
    pages: i64,
}

#[derive(Default)]
struct Memory {
    /// Nothing was lost, or that is written down.
    noticed: bool,
    signs: Signs,
    /// What was written last: rows, and moves up to then.
    noted: Option<(i64, u64)>,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// The keeper's task.
pub fn keep_accounts(context: &Context) -> Result<Report, Error> {
    if state::is_kept(context.installed)? {
        if !MEMORY.with_borrow(|memory| memory.noticed) {
            let settled = crash::notice(context.installed)?;
            MEMORY.with_borrow_mut(|memory| memory.noticed = settled);
        }
        let inserted = sample(context.installed)?;
        note_backlog(context.installed, inserted)?;
        history::write_finished(context.installed, false)?;
    }
    Ok(Report::default())
}

/// The last words of a flusher when the server stops: nothing that happened is forgotten over the restart.
pub fn close_accounts(context: &Context) -> Result<(), Error> {
    if state::is_kept(context.installed)? {
        let found = backlog::measure(context.installed, Table::Ingest)?;
        state::note(context.installed, &found, flushed_until()?)?;
        history::write_finished(context.installed, true)?;
    }
    Ok(())
}

/// Keeps the counters of the server for rates; returns how many rows were ever inserted by the fast door.
fn sample(installed: &Installed) -> Result<i64, Error> {
    let mut inserted = 0;
    for (index, door) in DOORS.iter().enumerate() {
        let sample = counters(installed, *door)?;
        if *door == Table::Ingest {
            inserted = sample.inserted;
        }
        shmem::account(|account| {
            let samples = &mut account.samples[index];
            if samples.is_due(sample.at) {
                samples.add(sample);
            }
        });
    }
    Ok(inserted)
}

/// What the server has counted on a staging table up to now.
pub fn counters(installed: &Installed, door: Table) -> Result<Sample, Error> {
    let relation = installed.require_table(door)?;
    read(
        "SELECT pg_stat_get_tuples_inserted($1), pg_stat_get_tuples_deleted($1)",
        vec![argument(relation)],
        |rows| {
            let (inserted, deleted) = rows.first().get_two::<i64, i64>()?;
            Ok(Sample {
                at: process::now(),
                inserted: inserted.unwrap_or(0),
                deleted: deleted.unwrap_or(0),
            })
        },
    )
}

fn note_backlog(installed: &Installed, inserted: i64) -> Result<(), Error> {
    let signs = Signs {
        moves: of_account(|account| account.moves).unwrap_or(0),
        inserted,
        pages: backlog::pages(installed, Table::Ingest)?,
    };
    let quiet = MEMORY.with_borrow(|memory| memory.signs == signs && memory.noted == Some((0, signs.moves)));
    if quiet {
        return Ok(());
    }
    let found = backlog::measure(installed, Table::Ingest)?;
    let now = (found.rows, signs.moves);
    if MEMORY.with_borrow(|memory| memory.noted) != Some(now) {
        state::note(installed, &found, flushed_until()?)?;
    }
    MEMORY.with_borrow_mut(|memory| {
        memory.signs = signs;
        memory.noted = Some(now);
    });
    Ok(())
}

fn flushed_until() -> Result<Option<i64>, Error> {
    if state::has_prepared_transactions()? {
        return Ok(None);
    }
    Ok(of_account(|account| account.progress.flushed_until()).flatten())
}

fn of_account<T>(body: impl FnOnce(&Account) -> T) -> Option<T> {
    let database = process::my_database();
    shmem::look_at_ledger(|ledger| ledger.account(database).map(body)).flatten()
}
