//! Sessions that flush as the workers do: a batch at a time, at once again when it was full, else at the next tick.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cluster_tests::{Background, Database};

use crate::cpu;

/// The defaults of the settings.
pub const BATCH_ROWS: u64 = 100_000;
const INTERVAL: Duration = Duration::from_millis(100);

/// When they stop.
#[derive(Clone, Copy)]
pub enum Until {
    /// There is nothing more to take.
    Empty,
    Time(Instant),
}

/// What one session came to.
#[derive(Clone, Copy)]
pub struct Share {
    pub rows: u64,
    pub cpu_ns: u64,
    pub ended: Instant,
}

/// What several sessions came to together.
#[derive(Clone, Copy)]
pub struct Total {
    pub rows: u64,
    pub cpu_ns: u64,
    pub took: Duration,
}

impl Total {
    pub fn of(started: Instant, shares: impl IntoIterator<Item = Share>) -> Total {
        let nothing = Total {
            rows: 0,
            cpu_ns: 0,
            took: Duration::ZERO,
        };
        shares.into_iter().fold(nothing, |total, share| Total {
            rows: total.rows + share.rows,
            cpu_ns: total.cpu_ns + share.cpu_ns,
            took: total.took.max(share.ended - started),
        })
    }
}

/// Starts one; it adds to `flushed` what it has moved.
pub fn start(database: &Database, until: Until, flushed: &Arc<AtomicU64>) -> Background<Share> {
    let flushed = flushed.clone();
    database.background(move |session| {
        let cpu_before = cpu::nanoseconds_at_rest(session.pid());
        let mut rows = 0;
        let mut ended = Instant::now();
        loop {
            let began = Instant::now();
            let moved = session.number(&format!("SELECT stage_flush({BATCH_ROWS})")) as u64;
            rows += moved;
            flushed.fetch_add(moved, Ordering::Relaxed);
            if moved > 0 {
                ended = Instant::now();
            }
            match until {
                Until::Empty if moved == 0 => break,
                Until::Time(end) if Instant::now() >= end => break,
                Until::Time(_) if moved < BATCH_ROWS => {
                    let next = began + INTERVAL;
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                }
                _ => {}
            }
        }
        Share {
            rows,
            cpu_ns: cpu::nanoseconds_at_rest(session.pid()) - cpu_before,
            ended,
        }
    })
}
