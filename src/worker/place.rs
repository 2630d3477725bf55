//! The place of a process on the board: taken, left, and what is said there about the database.

use std::time::Duration;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::board::{Presence, Role};
use super::hold;
use crate::pg::{lock, process, xact};
use crate::shmem;

/// False when another process has this place, or the database is held for DROP and the like.
pub fn take_place(database: u32, role: Role) -> bool {
    shmem::change_database(database, |known| {
        let taken = process::is_alive(known.workers[role.index()].pid);
        if taken || hold::is_held(known) {
            return false;
        }
        known.workers[role.index()].start(process::my_pid(), process::now());
        true
    })
    .unwrap_or(false)
}

#[pg_guard]
pub unsafe extern "C-unwind" fn leave_place(_code: i32, _argument: pg_sys::Datum) {
    let me = process::my_pid();
    shmem::change(|board| {
        for database in board.databases_mut() {
            for worker in database.workers.iter_mut().filter(|worker| worker.pid == me) {
                worker.pid = 0;
            }
        }
    });
}

/// Tells the launcher that this process does not end by a fault, so that the next one in its place need not wait.
pub fn call_it_done(database: u32, role: Role) {
    shmem::change_database(database, |known| {
        let place = &mut known.workers[role.index()];
        place.done = place.pid == process::my_pid();
    });
}

/// Tells the launcher whether the extension is in this database; false when it could not look.
pub fn probe(database: u32) -> bool {
    let notices = notices(database);
    match xact::attempt(Duration::from_secs(10), || Ok(lock::extension_oid())) {
        Ok(found) => {
            let presence = if found.is_some() {
                Presence::Installed
            } else {
                Presence::Absent
            };
            shmem::change(|board| board.saw(database, notices, presence));
            true
        }
        Err(failure) => {
            log!("pg_telemetry probe: {} ({})", failure.message, failure.sqlstate);
            false
        }
    }
}

pub fn notices(database: u32) -> u32 {
    shmem::look(|board| board.database(database).map_or(0, |known| known.notices)).unwrap_or(0)
}
