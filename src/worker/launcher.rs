//! The launcher: one for the cluster, connected to no database, so that it blocks no DROP. It finds the databases with the
//! extension and sees to it that each has its workers. It looks at what is, each time, rather than at what happened, so
//! that nothing it missed stays wrong.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::board::{Presence, Role};
use super::entry;
use super::hold;
use super::schedule::{LogGate, Now, Restart};
use crate::guc;
use crate::pg::worker::{Handle, State};
use crate::pg::{activity, databases, process, signals, worker, xact};
use crate::shmem;

/// How long it sleeps when nobody wakes it.
const NAP: Duration = Duration::from_secs(1);

pub fn run() {
    signals::install(signals::Stop::AtOnce);
    worker::connect(0);
    activity::set_application_name("pg_telemetry");
    shmem::change(|board| board.launcher.start(process::my_pid(), process::now()));
    worker::at_exit(leave);

    let mut launcher = Launcher::new();
    loop {
        signals::reload_if_asked();
        activity::running("looking after workers");
        launcher.round();
        activity::idle();
        signals::wait(NAP);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn leave(_code: i32, _argument: pg_sys::Datum) {
    shmem::change(|board| board.launcher.pid = 0);
}

type Place = (u32, usize);

struct Launcher {
    born: Instant,
    children: HashMap<Place, Handle>,
    restarts: HashMap<Place, Restart>,
    /// Databases that were looked at and do not have the extension; they need no place on the board.
    absent: HashSet<u32>,
    shortage: LogGate,
}

/// What the board says about one database, copied so that the lock is not held while acting on it.
struct Seen {
    oid: u32,
    presence: Presence,
    held: bool,
    has_jobs: bool,
    pids: [i32; super::board::ROLES],
}

impl Launcher {
    fn new() -> Self {
        Launcher {
            born: Instant::now(),
            children: HashMap::new(),
            restarts: HashMap::new(),
            absent: HashSet::new(),
            shortage: LogGate::default(),
        }
    }

    fn now(&self) -> Now {
        self.born.elapsed()
    }

    fn round(&mut self) {
        self.collect_ended();
        match xact::attempt(Duration::from_secs(10), || Ok(databases::connectable())) {
            Ok(present) => self.enter(&present),
            Err(failure) => log!(
                "pg_telemetry launcher: {} ({})",
                failure.message,
                failure.sqlstate
            ),
        }
        let mut probing = self.children.keys().any(|(_, role)| *role == Role::Probe.index());
        for database in self.look() {
            if database.held || !guc::background_workers() {
                continue;
            }
            match database.presence {
                Presence::Unknown if !probing => {
                    let complete = self.start(&database, Role::Probe);
                    shmem::change_database(database.oid, |known| known.short_of_workers = !complete);
                    // Not when it has to wait after a failure: a broken database must not keep the others waiting.
                    probing = self.children.contains_key(&(database.oid, Role::Probe.index()));
                }
                Presence::Unknown => {}
                Presence::Absent => {
                    self.absent.insert(database.oid);
                }
                Presence::Installed => {
                    self.absent.remove(&database.oid);
                    let mut complete = true;
                    for role in wanted(&database) {
                        complete &= self.start(&database, role);
                    }
                    shmem::change_database(database.oid, |known| known.short_of_workers = !complete);
                }
            }
        }
    }

    /// Forgets processes that ended, and notes when they may be started again: one that had nothing left to do at once.
    fn collect_ended(&mut self) {
        let now = self.now();
        let restarts = &mut self.restarts;
        self.children.retain(|place, handle| {
            let gone = handle.state() == State::Gone;
            if gone && was_done(*place) {
                restarts.remove(place);
            } else if gone {
                restarts.entry(*place).or_default().ended(now);
            }
            !gone
        });
    }

    fn enter(&mut self, present: &[u32]) {
        self.absent.retain(|oid| present.contains(oid));
        self.restarts.retain(|(oid, _), _| present.contains(oid));
        let absent = &self.absent;
        shmem::change(|board| {
            board.retain(|oid| present.contains(&oid));
            let unplaced = present
                .iter()
                .filter(|oid| !absent.contains(oid))
                .filter(|oid| board.enter(**oid).is_none())
                .count();
            board.overflow = u32::try_from(unplaced).unwrap_or(u32::MAX);
        });
        shmem::retain_accounts(|oid| present.contains(&oid) && !absent.contains(&oid));
    }

    fn look(&self) -> Vec<Seen> {
        shmem::look(|board| {
            board
                .databases()
                .map(|database| Seen {
                    oid: database.oid,
                    presence: database.presence,
                    held: hold::is_held(database),
                    has_jobs: database.has_jobs(),
                    pids: database.workers.map(|worker| worker.pid),
                })
                .collect()
        })
        .unwrap_or_default()
    }

    /// Starts a worker unless it is there or has to wait; false when the server had no slot for it.
    fn start(&mut self, database: &Seen, role: Role) -> bool {
        let place = (database.oid, role.index());
        let now = self.now();
        // One that an earlier launcher started is on the board only.
        if self.children.contains_key(&place) || process::is_alive(database.pids[role.index()]) {
            return true;
        }
        let restart = self.restarts.entry(place).or_default();
        if !restart.may_start(now) {
            return !restart.was_refused();
        }
        match entry::start(database.oid, role) {
            Some(handle) => {
                restart.started(now);
                self.children.insert(place, handle);
                true
            }
            None => {
                restart.refused(now);
                if self.shortage.admits(now, "53000") {
                    warning!(
                        "pg_telemetry: no background worker slot left for {} in the database with oid {}; raise max_worker_processes",
                        role.label(),
                        database.oid
                    );
                }
                false
            }
        }
    }
}

fn was_done((database, role): Place) -> bool {
    shmem::look(|board| {
        board
            .database(database)
            .is_some_and(|known| known.workers[role].done)
    }) == Some(true)
}

fn wanted(database: &Seen) -> Vec<Role> {
    let flushers = (0..guc::flush_workers())
        .filter_map(|number| u8::try_from(number).ok())
        .map(Role::Flusher);
    let janitor = database.has_jobs.then_some(Role::Janitor);
    // In order of need, should slots run out.
    flushers.chain([Role::Keeper]).chain(janitor).collect()
}
