//! Making way for DROP, RENAME and TEMPLATE of a database: the server refuses them while anybody is connected, workers
//! included. So the backend that is about to do it holds the database on the board, sends our workers away and waits
//! until they are gone; afterwards the launcher brings them back, if there is still something to serve.

use std::time::{Duration, Instant};

use super::board::Database;
use crate::pg::utility_hook::{self, Guarded};
use crate::pg::{process, signals};
use crate::shmem;

/// The server itself gives others five seconds to leave.
const PATIENCE: Duration = Duration::from_secs(4);

pub fn install() {
    utility_hook::install(Guarded {
        before: take,
        after: release,
    });
}

/// Whether a backend that is still there holds the database.
pub fn is_held(database: &Database) -> bool {
    process::is_alive(database.held_by)
}

fn take(oid: u32) {
    let holder = process::my_pid();
    let known = shmem::change_database(oid, |database| {
        database.held_by = holder;
        database.pids().collect::<Vec<_>>()
    });
    for pid in known.into_iter().flatten() {
        process::terminate(pid);
    }
    let start = Instant::now();
    while start.elapsed() < PATIENCE && somebody_is_left(oid) {
        signals::pause(Duration::from_millis(5));
    }
}

fn somebody_is_left(oid: u32) -> bool {
    shmem::look(|board| {
        board
            .database(oid)
            .is_some_and(|found| found.pids().any(process::is_alive))
    })
    .unwrap_or(false)
}

fn release(oid: u32) {
    let holder = process::my_pid();
    shmem::change_database(oid, |database| {
        if database.held_by == holder {
            database.held_by = 0;
        }
    });
    shmem::wake_launcher();
}
