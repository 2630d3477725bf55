//! What other sessions see of a worker, statistics of its writes and what it is doing; and what this process wrote.

use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::CString;

thread_local! {
    /// This is a session that runs a statement, which others are to see.
    static IN_STATEMENT: Cell<bool> = const { Cell::new(false) };
}

/// As long as this is there, other sessions see the statement that runs, not the tasks.
pub struct InStatement(());

impl InStatement {
    pub fn begin() -> InStatement {
        IN_STATEMENT.set(true);
        InStatement(())
    }
}

impl Drop for InStatement {
    fn drop(&mut self) {
        IN_STATEMENT.set(false);
    }
}

/// Shown in `pg_stat_activity.application_name`.
pub fn set_application_name(name: &str) {
    if let Ok(name) = CString::new(name) {
        // SAFETY: a valid C string, copied by the server.
        unsafe { pg_sys::pgstat_report_appname(name.as_ptr()) }
    }
}

/// Shown in `pg_stat_activity.query` while it runs.
pub fn running(what: &str) {
    if IN_STATEMENT.get() {
        return;
    }
    if let Ok(what) = CString::new(what) {
        // SAFETY: a valid C string, copied by the server.
        unsafe { pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, what.as_ptr()) }
    }
}

/// Between two runs. Without the report of statistics neither pg_stat_user_tables nor autovacuum would see what a worker wrote.
pub fn idle() {
    // SAFETY: called outside a transaction; a NULL text means none.
    unsafe {
        pg_sys::pgstat_report_stat(false);
        if !IN_STATEMENT.get() {
            pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, std::ptr::null());
        }
    }
}

/// Bytes of WAL that this process has written so far.
pub fn wal_bytes() -> u64 {
    // SAFETY: reads a counter of this process.
    unsafe { pg_sys::pgWalUsage.wal_bytes }
}
