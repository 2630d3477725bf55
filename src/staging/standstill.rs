//! Since when rows may have been waiting. A flush that stands still, because facts cannot be written or because nobody runs it,
//! must not make rows too old: how old a reading may be counts from the last time that nothing waited. That time is on the
//! board, and in this process where there is no board. After a restart nobody knows it; then the newest partition of facts
//! that has rows says up to when the flush went on.

use std::cell::Cell;

use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::transaction_end::{End, listen};
use crate::pg::{partitions, process, relation};
use crate::shmem;

/// How exact the time is: it is noted again when it is older than this.
const EXACT: u64 = 1_000_000;

thread_local! {
    /// What counts in this process: seen, or told from facts.
    static NOTHING_WAITED: Cell<i64> = const { Cell::new(NEVER) };
    /// What this process has seen itself.
    static SEEN: Cell<i64> = const { Cell::new(NEVER) };
    /// What is true if this transaction commits as it is: the database, and when nothing waited.
    static PENDING: Cell<Option<(u32, i64)>> = const { Cell::new(None) };
    static LISTENING: Cell<bool> = const { Cell::new(false) };
}

/// Before every time that counts here.
const NEVER: i64 = 0;

/// The time from which the age of readings counts: now, or the last time that nothing waited.
pub fn reference(installed: &Installed, now: i64) -> Result<i64, Error> {
    let known = match known() {
        NEVER => {
            let found = from_facts(installed, now)?.max(SEEN.get());
            note(process::my_database(), found);
            found
        }
        time => time,
    };
    // A clock that was set back must not make everything too new.
    Ok(known.min(now))
}

/// A session that flushes by itself asks facts anew: others may have flushed since.
pub fn forget() {
    NOTHING_WAITED.set(NEVER);
}

/// Nothing waits any more, once this transaction has committed. A part of it that is undone may have been the flush, whose
/// rows wait again.
pub fn nothing_waits(now: i64) {
    if now.abs_diff(SEEN.get()) < EXACT {
        return;
    }
    if !LISTENING.replace(true) {
        listen(on_end);
    }
    PENDING.set(Some((process::my_database(), now)));
}

fn on_end(end: End) {
    if let Some((database, time)) = PENDING.take()
        && end == End::Committed
    {
        SEEN.set(time);
        note(database, time);
    }
}

fn known() -> i64 {
    let database = process::my_database();
    shmem::look(|board| board.database(database).map(|known| known.nothing_waited_at))
        .flatten()
        .filter(|time| *time != NEVER)
        .unwrap_or(NOTHING_WAITED.get())
}

fn note(database: u32, time: i64) {
    NOTHING_WAITED.set(time);
    shmem::change_database(database, |known| known.nothing_waited_at = time);
}

/// The end of the newest partition that has rows, those ahead left aside; now where there are no rows at all.
fn from_facts(installed: &Installed, now: i64) -> Result<i64, Error> {
    let partitions = partitions::to_read(installed.require_table(Table::Facts)?);
    let newest = partitions
        .iter()
        .rev()
        .filter(|partition| partition.from <= now)
        .find(|partition| relation::is_seen_to_have_pages(partition.oid));
    Ok(newest.map_or(now, |partition| partition.until.min(now)))
}
