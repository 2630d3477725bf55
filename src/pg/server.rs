//! Which server this is, and since when.

use pgrx::pg_sys;

use super::replication;

/// The same for a server, its standbys and its backups, and for no other.
pub fn system_identifier() -> String {
    replication::system_identifier().to_string()
}

/// The timeline that this server writes. Not during recovery.
pub fn timeline() -> i32 {
    i32::try_from(replication::timeline()).unwrap_or(i32::MAX)
}

/// When the postmaster started.
pub fn started_at() -> i64 {
    // SAFETY: a variable that is set before any session.
    unsafe { pg_sys::PgStartTime }
}
