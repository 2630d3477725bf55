//! Where the postmaster enters the workers.

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::board::Role;
use super::{hold, launcher, service};
use crate::pg;

const LAUNCHER: &str = "pg_telemetry_launcher_main";
const SERVICE: &str = "pg_telemetry_service_main";

/// Called while the postmaster loads preloaded libraries.
pub fn register() {
    pg::worker::register_static("launcher", LAUNCHER);
    hold::install();
}

/// Starts a worker of a database. None when the server has no slot left for it.
pub fn start(database: u32, role: Role) -> Option<pg::worker::Handle> {
    let argument = (role.index() as i64) << 32 | i64::from(database);
    pg::worker::start(role.kind(), SERVICE, argument)
}

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_telemetry_launcher_main(_argument: pg_sys::Datum) {
    launcher::run();
}

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_telemetry_service_main(argument: pg_sys::Datum) {
    let argument = argument.value() as i64;
    let database = argument as u32;
    if let Some(role) = usize::try_from(argument >> 32).ok().and_then(Role::from_index) {
        service::run(database, role);
    }
}
