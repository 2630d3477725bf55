//! Which server this is, and since when.

use pgrx::pg_sys;

/// The same for a server, its standbys and its backups, and for no other.
pub fn system_identifier() -> String {
    // SAFETY: reads the control file, which every process has in memory.
    unsafe { pg_sys::GetSystemIdentifier() }.to_string()
}

/// The timeline that this server writes. Not during recovery.
pub fn timeline() -> i32 {
    // SAFETY: reads shared memory that is set once recovery is over.
    i32::try_from(unsafe { pg_sys::GetWALInsertionTimeLine() }).unwrap_or(i32::MAX)
}

/// When the postmaster started.
pub fn started_at() -> i64 {
    // SAFETY: a variable that is set before any session.
    unsafe { pg_sys::PgStartTime }
}
