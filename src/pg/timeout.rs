//! A bound on the time of one run in a background worker, where `statement_timeout` does not start by itself.

use super::compat::STATEMENT_TIMEOUT;
use super::signals;
use pgrx::pg_sys;
use std::time::Duration;

unsafe extern "C-unwind" {
    // Exported by the server, but not bound by pgrx.
    fn enable_timeout_after(id: i32, delay_ms: i32);
    fn disable_timeout(id: i32, keep_indicator: bool);
    fn get_timeout_indicator(id: i32, reset: bool) -> bool;
}

/// After `limit` the running statement is cancelled with SQLSTATE 57014.
pub fn start(limit: Duration) {
    let millis = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX).max(1);
    // SAFETY: the timeout is registered in every process that is connected to a database; the handler only raises SIGINT.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| enable_timeout_after(STATEMENT_TIMEOUT, millis)) }
}

/// Ends the bound, and takes back a cancel that came too late to stop anything.
pub fn stop() {
    // SAFETY: disabling a timeout that is not active is allowed; the flags belong to this process.
    unsafe {
        let by_timeout =
            pg_sys::ffi::pg_guard_ffi_boundary(|| get_timeout_indicator(STATEMENT_TIMEOUT, false));
        pg_sys::ffi::pg_guard_ffi_boundary(|| disable_timeout(STATEMENT_TIMEOUT, false));
        if pg_sys::QueryCancelPending != 0 {
            pg_sys::QueryCancelPending = 0;
            if !by_timeout {
                signals::note_cancelled();
            }
        }
    }
}
