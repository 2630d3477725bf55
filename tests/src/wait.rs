//! Waiting for what happens on its own, and bounding what must be quick.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use crate::session::Session;

/// Long enough for anything that works, on a busy machine too; only a failing test ever waits this long.
pub const SOON: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(20);

/// Polls until `look` gives Ok, and returns that. Err holds what was seen instead; the last one is reported.
#[track_caller]
pub fn eventually<T, E: Debug>(timeout: Duration, what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + timeout;
    loop {
        match look() {
            Ok(value) => return value,
            Err(seen) if Instant::now() >= deadline => {
                panic!("not within {timeout:?}: {what}; last seen: {seen:#?}")
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// Until a session waits for a lock.
#[track_caller]
pub fn wait_for_lock(session: &mut Session, pid: i32) {
    let waiting =
        format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event_type = 'Lock'");
    eventually(SOON, "a session waits for a lock", || {
        match session.number(&waiting) {
            1 => Ok(()),
            found => Err(found),
        }
    });
}

/// Runs `act` and fails when it took longer than a promised bound.
#[track_caller]
pub fn within<T>(bound: Duration, what: &str, act: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = act();
    let taken = start.elapsed();
    assert!(taken <= bound, "{what} took {taken:?}, promised were {bound:?}");
    value
}
