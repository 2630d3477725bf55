//! What a piece of work costs the server: CPU of the session that does it, time, and WAL.

use std::ops::AddAssign;
use std::time::{Duration, Instant};

use cluster_tests::{Cluster, Session};

use crate::case::Sample;
use crate::cpu;

pub const CPU: &str = "CPU ns/row";
pub const WALL: &str = "wall ns/row";
pub const WAL: &str = "WAL bytes/row";

#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    cpu_ns: u64,
    wall: Duration,
    wal_bytes: i64,
}

impl Cost {
    pub fn per_row(self, rows: usize) -> Sample {
        let rows = rows as f64;
        Sample::default()
            .with(CPU, self.cpu_ns as f64 / rows)
            .with(WALL, self.wall.as_nanos() as f64 / rows)
            .with(WAL, self.wal_bytes as f64 / rows)
    }
}

impl Cost {
    /// What this cost more than `other`.
    pub fn beyond(self, other: Cost) -> Cost {
        Cost {
            cpu_ns: self.cpu_ns.saturating_sub(other.cpu_ns),
            wall: self.wall.saturating_sub(other.wall),
            wal_bytes: self.wal_bytes - other.wal_bytes,
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.cpu_ns += other.cpu_ns;
        self.wall += other.wall;
        self.wal_bytes += other.wal_bytes;
    }
}

/// Looks at the server's WAL from a session of its own, so that looking is not part of the cost.
pub struct Meter {
    observer: Session,
}

impl Meter {
    pub fn new(cluster: &Cluster) -> Meter {
        Meter {
            observer: cluster.connect("postgres"),
        }
    }

    pub fn measure<T>(&mut self, session: &mut Session, work: impl FnOnce(&mut Session) -> T) -> (T, Cost) {
        let pid = session.pid();
        let wal = self.wal_position();
        let cpu = cpu::nanoseconds_at_rest(pid);
        let start = Instant::now();
        let value = work(session);
        let wall = start.elapsed();
        let cost = Cost {
            cpu_ns: cpu::nanoseconds_at_rest(pid) - cpu,
            wall,
            wal_bytes: self.wal_position() - wal,
        };
        (value, cost)
    }

    /// In bytes since the beginning of all WAL.
    pub fn wal_position(&mut self) -> i64 {
        self.observer
            .number("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
    }
}
