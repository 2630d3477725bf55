//! pause() and resume(): the truth is in `flush_pause`, so that it outlives a restart and a failover. A process that looks ten
//! times a second remembers the answer for a second; with preload, or in the same session, only until it changes.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::argument::reason as checked;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::{identity, process, xact};
use crate::shmem;
use crate::sql::{argument, read, value, write};

const REMEMBERED: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct Paused {
    pub at: TimestampWithTimeZone,
    pub by: String,
    pub reason: Option<String>,
    /// All of it, for people.
    pub text: String,
}

/// How the text begins that says so.
const SAID: &str = "paused by";

/// Whether what a task waits for is the end of a pause.
pub fn is_meant(waiting: &str) -> bool {
    waiting.starts_with(SAID)
}

/// None while flushing goes on, and where the table is not there.
pub fn in_force(installed: &Installed) -> Result<Option<Paused>, Error> {
    if installed.table_oid(Table::FlushPause)?.is_none() {
        return Ok(None);
    }
    let text = format!(
        "SELECT paused_at, paused_by, pause_reason,
                format('{SAID} %s since %s%s', paused_by, date_trunc('second', paused_at), ': ' || pause_reason)
         FROM {}",
        installed.qualified(Table::FlushPause)
    );
    read(&text, vec![], |rows| {
        if rows.is_empty() {
            return Ok(None);
        }
        let row = rows.first();
        let (Some(at), Some(by), Some(text)) = (row.get(1)?, row.get(2)?, row.get(4)?) else {
            return Ok(None);
        };
        Ok(Some(Paused {
            at,
            by,
            reason: row.get(3)?,
            text,
        }))
    })
}

struct Remembered {
    pauses: u32,
    at: Instant,
    text: Option<String>,
}

thread_local! {
    static REMEMBERED_ANSWER: RefCell<Option<Remembered>> = const { RefCell::new(None) };
}

/// Why nobody must flush, if so.
pub fn holds(installed: &Installed) -> Result<Option<String>, Error> {
    let pauses = pauses();
    let known = REMEMBERED_ANSWER.with_borrow(|known| {
        known
            .as_ref()
            .filter(|known| known.pauses == pauses && known.at.elapsed() < REMEMBERED)
            .map(|known| known.text.clone())
    });
    if let Some(text) = known {
        return Ok(text);
    }
    // Not with a snapshot from before the number was read, which may miss what the number tells of.
    let text = xact::with_snapshot(|| in_force(installed))?.map(|paused| paused.text);
    // What this transaction has changed itself may be undone.
    if !xact::has_id() {
        REMEMBERED_ANSWER.set(Some(Remembered {
            pauses,
            at: Instant::now(),
            text: text.clone(),
        }));
    }
    Ok(text)
}

fn pauses() -> u32 {
    let database = process::my_database();
    shmem::look_at_ledger(|ledger| ledger.account(database).map_or(0, |account| account.pauses)).unwrap_or(0)
}

fn tell() {
    REMEMBERED_ANSWER.set(None);
    xact::after_commit(|| {
        shmem::account(|account| account.pauses = account.pauses.wrapping_add(1));
    });
}

#[pg_extern]
fn pause(reason: Option<String>) -> Result<bool, ErrorReport> {
    let by = identity::current_name();
    Ok(identity::as_owner(|| pause_here(by, reason))?)
}

fn pause_here(by: String, reason: Option<String>) -> Result<bool, Error> {
    let reason = checked(reason)?;
    let paused = table_to_write()?;
    // Waits for nobody but somebody else who pauses or resumes.
    let text = format!(
        "WITH before AS (SELECT FROM {paused})
         INSERT INTO {paused} AS p (paused_at, paused_by, pause_reason) VALUES (clock_timestamp(), $1, $2)
         ON CONFLICT (only_row) DO UPDATE
             SET paused_by = excluded.paused_by, pause_reason = coalesce(excluded.pause_reason, p.pause_reason)
         RETURNING NOT EXISTS (SELECT FROM before)"
    );
    let changed: Option<bool> = write(&text, vec![argument(by), argument(reason)], value)?;
    tell();
    Ok(changed == Some(true))
}

#[pg_extern]
fn resume() -> Result<bool, ErrorReport> {
    Ok(identity::as_owner(resume_here)?)
}

fn resume_here() -> Result<bool, Error> {
    let text = format!("DELETE FROM {} RETURNING true", table_to_write()?);
    let changed: Option<bool> = write(&text, vec![], value)?;
    tell();
    Ok(changed == Some(true))
}

fn table_to_write() -> Result<String, Error> {
    xact::check_writable()?;
    let installed = Installed::require()?;
    installed.require_table(Table::FlushPause)?;
    Ok(installed.qualified(Table::FlushPause))
}
