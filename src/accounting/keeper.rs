//! What the keeper writes down each second, when there is something to say.

use std::cell::RefCell;

use pgrx::pg_sys;

use super::ledger::Account;
use super::samples::Sample;
use super::{backlog, crash, history, state};
use crate::error::Error;
use crate::installed::{DOORS, Installed, Table};
use crate::pg::{lock, process};
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
    let installed = context.installed;
    let doors = counters(installed)?;
    if state::is_kept(installed)? {
        if !MEMORY.with_borrow(|memory| memory.noticed) {
            let settled = crash::notice(installed)?;
            MEMORY.with_borrow_mut(|memory| memory.noticed = settled);
        }
        note_backlog(installed, doors[0])?;
        history::write_finished(installed, false)?;
    }
    shmem::account(|account| {
        for (samples, door) in account.samples.iter_mut().zip(doors) {
            if let Some(Counted { sample, .. }) = door
                && samples.is_due(sample.at)
            {
                samples.add(sample);
            }
        }
    });
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

/// What the server has counted on a staging table up to now.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    relation: pg_sys::Oid,
    pub sample: Sample,
}

/// Of both doors, in their order; None where one is not there.
pub fn counters(installed: &Installed) -> Result<[Option<Counted>; 2], Error> {
    let text =
        "SELECT c.relname::text, c.oid, pg_stat_get_tuples_inserted(c.oid), pg_stat_get_tuples_deleted(c.oid)
                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = $1 AND c.relname = ANY ($2)";
    let names = DOORS.map(Table::name).to_vec();
    read(
        text,
        vec![argument(installed.schema.clone()), argument(names)],
        |rows| {
            let mut doors = [None; 2];
            for row in rows {
                let name = row.get::<String>(1)?;
                let found = DOORS.iter().position(|door| name.as_deref() == Some(door.name()));
                let (Some(place), Some(relation)) = (found, row.get(2)?) else {
                    continue;
                };
                let sample = Sample {
                    at: process::now(),
                    inserted: row.get(3)?.unwrap_or(0),
                    deleted: row.get(4)?.unwrap_or(0),
                };
                doors[place] = Some(Counted { relation, sample });
            }
            Ok(doors)
        },
    )
}

fn note_backlog(installed: &Installed, door: Option<Counted>) -> Result<(), Error> {
    // Whoever locks the table keeps rows from coming and going; there is nothing to say until it is over.
    let Some(door) = door.filter(|door| lock::try_read(door.relation)) else {
        return Ok(());
    };
    let signs = Signs {
        moves: of_account(|account| account.moves).unwrap_or(0),
        inserted: door.sample.inserted,
        pages: backlog::pages(door.relation)?,
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
