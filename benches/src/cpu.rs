//! CPU time of server processes, as the scheduler counts it.

use std::fs;
use std::time::{Duration, Instant};

/// How long a process that has answered may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(5);

/// Nanoseconds on a CPU since the process began; None when there is no such process.
pub fn nanoseconds(pid: i32) -> Option<u64> {
    let line = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    line.split_whitespace().next()?.parse().ok()
}

/// The same for a session that waits for its client. The counter of a process that still runs lags by up to a tick, so it
/// is read when the process sleeps.
pub fn nanoseconds_at_rest(pid: i32) -> u64 {
    let start = Instant::now();
    while !is_asleep(pid) {
        assert!(
            start.elapsed() < PATIENCE,
            "server process {pid} does not come to rest"
        );
        std::thread::sleep(Duration::from_micros(100));
    }
    nanoseconds(pid)
        .unwrap_or_else(|| panic!("/proc/{pid}/schedstat: benchmarks need the scheduler's statistics"))
}

fn is_asleep(pid: i32) -> bool {
    let line = fs::read_to_string(format!("/proc/{pid}/stat"))
        .unwrap_or_else(|error| panic!("/proc/{pid}/stat: {error}"));
    // The command name is in parentheses and may contain anything; the state follows.
    line.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('S'))
}
