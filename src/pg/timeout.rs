//! Bounds on time: of one run in a background worker, where `statement_timeout` does not start by itself, and of a part of a
//! transaction in any session.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgrx::pg_sys;

use super::compat::{FIRST_OWN_TIMEOUT, STATEMENT_TIMEOUT};
use super::signals;

unsafe extern "C-unwind" {
    // Exported by the server, but not bound by pgrx.
    fn enable_timeout_after(id: i32, delay_ms: i32);
    fn disable_timeout(id: i32, keep_indicator: bool);
    fn get_timeout_indicator(id: i32, reset: bool) -> bool;
    #[link_name = "RegisterTimeout"]
    fn register_timeout(id: i32, handler: unsafe extern "C-unwind" fn()) -> i32;
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

/// The number that the server gave our own timeout in this process.
static OWN: OnceLock<i32> = OnceLock::new();

static PASSED: AtomicBool = AtomicBool::new(false);

/// Cancels what runs. Runs in a signal handler.
unsafe extern "C-unwind" fn pass() {
    PASSED.store(true, Ordering::SeqCst);
    // SAFETY: flags of this process and its own latch, all made for signal handlers.
    unsafe {
        pg_sys::QueryCancelPending = 1;
        pg_sys::InterruptPending = 1;
        pg_sys::SetLatch(pg_sys::MyLatch);
    }
}

/// After `limit` what runs is cancelled with SQLSTATE 57014. Only one at a time.
pub struct Bound;

impl Bound {
    pub fn start(limit: Duration) -> Bound {
        let millis = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX).max(1);
        PASSED.store(false, Ordering::SeqCst);
        // SAFETY: registered once in this process, with a handler that only sets flags; the server has room for ten such.
        unsafe {
            pg_sys::ffi::pg_guard_ffi_boundary(|| {
                let id = *OWN.get_or_init(|| register_timeout(FIRST_OWN_TIMEOUT, pass));
                enable_timeout_after(id, millis);
            });
        }
        Bound
    }

    pub fn has_passed(&self) -> bool {
        PASSED.load(Ordering::SeqCst)
    }

    /// Ends it before its time, and takes back a cancel of its own that came too late to stop anything.
    pub fn stop(&self) {
        // SAFETY: disabling a timeout that is not active is allowed; the flag belongs to this process.
        unsafe {
            if let Some(id) = OWN.get() {
                pg_sys::ffi::pg_guard_ffi_boundary(|| disable_timeout(*id, false));
            }
            if PASSED.swap(false, Ordering::SeqCst) {
                pg_sys::QueryCancelPending = 0;
            }
        }
    }
}

/// Also when an error goes by.
impl Drop for Bound {
    fn drop(&mut self) {
        self.stop();
    }
}
