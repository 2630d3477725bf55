//! Signals and waiting in a worker.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgrx::pg_sys;

use super::compat::install_signal_handler;

unsafe extern "C-unwind" {
    // The server's own handlers: pgrx wraps functions of these names in a guard, which a signal handler must not have.
    #[link_name = "die"]
    fn server_die(signal: c_int);
    #[link_name = "SignalHandlerForConfigReload"]
    fn server_reload(signal: c_int);
}

static STOP_REQUESTED: AtomicBool = AtomicBool::new(false);

/// Somebody cancelled what this process does, and it went on all the same.
static CANCELLED: AtomicBool = AtomicBool::new(false);

/// SIGTERM cancels what runs, as pg_cancel_backend does, and leaves it to the worker to end in its own way.
unsafe extern "C-unwind" fn request_stop(_signal: c_int) {
    STOP_REQUESTED.store(true, Ordering::SeqCst);
    // SAFETY: flags of this process and its own latch, all made for signal handlers.
    unsafe {
        pg_sys::QueryCancelPending = 1;
        pg_sys::InterruptPending = 1;
        pg_sys::SetLatch(pg_sys::MyLatch);
    }
}

/// How a worker takes SIGTERM.
pub enum Stop {
    /// Ends at the next interrupt check, in the middle of whatever runs.
    AtOnce,
    /// Cancels what runs and asks by `stop_requested()`.
    InItsOwnWay,
}

pub fn install(stop: Stop) {
    let handler = match stop {
        Stop::AtOnce => server_die,
        Stop::InItsOwnWay => request_stop,
    };
    // SAFETY: handlers that only set flags and the latch; signals are still blocked here.
    unsafe {
        install_signal_handler(libc::SIGTERM, handler);
        install_signal_handler(libc::SIGHUP, server_reload);
        // Up to here a reload was ignored, and the configuration may be older than that.
        pg_sys::ConfigReloadPending = 1;
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

pub fn stop_requested() -> bool {
    STOP_REQUESTED.load(Ordering::SeqCst)
}

/// Whether this process was told to stop or to read its configuration.
pub fn asks_for_attention() -> bool {
    // SAFETY: a flag of this process, set by the handler of SIGHUP.
    stop_requested() || unsafe { pg_sys::ConfigReloadPending != 0 }
}

/// Reads the configuration again if the server was told to; says whether it did.
pub fn reload_if_asked() -> bool {
    // SAFETY: a flag of this process, set by the handler of SIGHUP.
    unsafe {
        if pg_sys::ConfigReloadPending == 0 {
            return false;
        }
        pg_sys::ConfigReloadPending = 0;
        pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
    }
    true
}

/// Sleeps until the latch is set or the time is over. Takes interrupts, so that a barrier of DROP DATABASE elsewhere never
/// waits for a sleeping worker; ends the process with the postmaster.
pub fn wait(timeout: Duration) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // Rounded up: a wait that ends a moment early would be followed by another one of nothing.
    let millis = i64::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i64::MAX);
    // SAFETY: the latch of this process.
    unsafe {
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            events as i32,
            millis as std::ffi::c_long,
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    absorb_interrupts();
}

/// Sleeps for a moment in a backend that runs a statement; a cancel of the statement ends it.
pub fn pause(time: Duration) {
    std::thread::sleep(time);
    pg_sys::check_for_interrupts!();
}

/// Takes interrupts between transactions. A cancel has nothing to cancel here, so it is held off meanwhile: one that
/// comes in the middle must not raise an error either, for SIGTERM cancels as well.
pub fn absorb_interrupts() {
    // SAFETY: a counter of this process. Any other error ends the process, so that it need not be restored then.
    unsafe { pg_sys::QueryCancelHoldoffCount += 1 };
    pg_sys::check_for_interrupts!();
    // SAFETY: a counter and a flag of this process.
    unsafe {
        pg_sys::QueryCancelHoldoffCount -= 1;
        if pg_sys::QueryCancelPending != 0 {
            pg_sys::QueryCancelPending = 0;
            note_cancelled();
        }
    }
}

/// A cancel was taken; what runs next is not cancelled by it.
pub fn note_cancelled() {
    CANCELLED.store(true, Ordering::SeqCst);
}

/// Whether there was a cancel since this was asked last.
pub fn was_cancelled() -> bool {
    CANCELLED.swap(false, Ordering::SeqCst)
}
