//! Registering and connecting background workers.

use std::time::Duration;

use pgrx::bgworkers::{
    BackgroundWorkerBuilder, BackgroundWorkerStatus, BgWorkerStartTime, DynamicBackgroundWorker,
};
use pgrx::pg_sys;

use super::process::my_pid;

const LIBRARY: &str = "pg_telemetry";

/// Registers a worker with the postmaster at server start; it starts once recovery is over, and again a second after it fails.
pub fn register_static(kind: &str, function: &str) {
    builder(kind, function)
        .set_restart_time(Some(Duration::from_secs(1)))
        .load();
}

/// A worker that was asked for.
pub struct Handle(DynamicBackgroundWorker);

#[derive(Debug, PartialEq, Eq)]
pub enum State {
    Starting,
    Running,
    Gone,
}

impl Handle {
    pub fn state(&self) -> State {
        match self.0.pid() {
            Ok(_) => State::Running,
            Err(BackgroundWorkerStatus::NotYetStarted) => State::Starting,
            Err(_) => State::Gone,
        }
    }
}

/// Starts a worker that tells this process when it starts and ends. None when the server has no slot left.
pub fn start(kind: &str, function: &str, argument: i64) -> Option<Handle> {
    builder(kind, function)
        .set_argument(Some(pg_sys::Datum::from(argument)))
        .set_notify_pid(my_pid())
        .load_dynamic()
        .ok()
        .map(Handle)
}

fn builder(kind: &str, function: &str) -> BackgroundWorkerBuilder {
    BackgroundWorkerBuilder::new(&format!("pg_telemetry {kind}"))
        .set_library(LIBRARY)
        .set_function(function)
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
}

/// Connects this worker to a database; 0: to none, for the catalogs that all databases share. Ends the process if the
/// database is gone.
pub fn connect(database: u32) {
    // SAFETY: called once at the start of a worker. No user means the bootstrap superuser, who is always there.
    unsafe {
        if database == 0 {
            pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0);
        } else {
            pg_sys::BackgroundWorkerInitializeConnectionByOid(
                pg_sys::Oid::from(database),
                pg_sys::InvalidOid,
                0,
            );
        }
    }
}

/// Runs `body` when this process ends, in whatever way, as long as it still may use shared memory.
pub fn at_exit(body: unsafe extern "C-unwind" fn(i32, pg_sys::Datum)) {
    // SAFETY: the callback has the signature that the server calls.
    unsafe { pg_sys::before_shmem_exit(Some(body), pg_sys::Datum::from(0)) }
}
