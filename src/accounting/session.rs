//! What a session does that flushes where no keeper does it: notice a crash, and write down what is seen, at most once a second.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::{backlog, crash, state};
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::{process, xact};
use crate::shmem;
use crate::staging::flush::Flushed;
use crate::worker::board::Role;

const NOTED: Duration = Duration::from_secs(1);

thread_local! {
    static SETTLED: Cell<bool> = const { Cell::new(false) };
    static LAST_NOTE: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Rows that were waiting then.
    static WAITED: Cell<i64> = const { Cell::new(0) };
}

/// An older snapshot could neither see nor update what others have written since.
fn is_for_me() -> bool {
    let database = process::my_database();
    let keeper = shmem::look(|board| {
        board
            .database(database)
            .map_or(0, |known| known.workers[Role::Keeper.index()].pid)
    });
    xact::is_read_committed() && !keeper.is_some_and(process::is_alive)
}

/// Before the first flush of a session: a crash ends all sessions, so later there is nothing to notice.
pub fn before_flush(installed: &Installed) -> Result<(), Error> {
    if !SETTLED.get() && is_for_me() && state::is_kept(installed)? {
        SETTLED.set(crash::notice(installed)?);
    }
    Ok(())
}

pub fn after_flush(installed: &Installed, flushed: &Flushed) -> Result<(), Error> {
    let quiet = flushed.taken() == 0 && flushed.waiting == WAITED.get();
    let noted = LAST_NOTE.get().is_some_and(|last| last.elapsed() < NOTED);
    if quiet || noted || !is_for_me() || !state::is_kept(installed)? {
        return Ok(());
    }
    LAST_NOTE.set(Some(Instant::now()));
    WAITED.set(flushed.waiting);
    let at = process::now();
    let found = xact::with_snapshot(|| backlog::measure(installed, Table::Ingest))?;
    // Who else flushes is not known here; but what others hold is still to be seen.
    let empty = found.rows == 0 && !found.estimated;
    state::note(installed, &found, empty.then_some(at))
}
