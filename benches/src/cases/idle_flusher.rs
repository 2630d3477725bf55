//! What a server pays for workers that have nothing to do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_tests::{Cluster, Database, Session, workers};

use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::cost::Meter;
use crate::cpu;
use crate::server::{Server, set_background_workers};

const WINDOW: Duration = Duration::from_secs(5);

/// Workers that have just begun plan their statements and look around; that is not idling.
const SETTLE: Duration = Duration::from_secs(2);

/// The background writer follows up on earlier WAL with a record of its own within 15 s.
const QUIET: Duration = Duration::from_secs(16);

const FLUSHER: &str = "flusher, % of a core";
const SERVER: &str = "all processes, % of a core";
const WAL: &str = "WAL bytes";
const XIDS: &str = "transaction ids";

pub struct IdleFlusher;

impl Case for IdleFlusher {
    fn name(&self) -> &'static str {
        "idle_flusher"
    }

    fn shows(&self) -> &'static str {
        "workers with nothing to do, twice 5 s"
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(FLUSHER, Compare::SideBySide).goal(Bound::AtMost(0.1)),
            Metric::new(SERVER, Compare::SideBySide),
            Metric::new(WAL, Compare::SideBySide).goal(Bound::AtMost(0.0)),
            Metric::new(XIDS, Compare::SideBySide).goal(Bound::AtMost(0.0)),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["background_workers = off"]
    }

    fn rounds(&self, wanted: usize) -> usize {
        wanted.min(2)
    }

    fn warms_up(&self) -> bool {
        false
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let database = server.database(self.name());
        let cluster = server.cluster().clone();
        let mut meter = Meter::new(&cluster);
        wait_for_quiet(&mut meter);
        Box::new(Idle {
            session: cluster.connect("postgres"),
            meter,
            cluster,
            database,
        })
    }
}

fn wait_for_quiet(meter: &mut Meter) {
    let mut position = meter.wal_position();
    let mut since = Instant::now();
    while since.elapsed() < QUIET {
        std::thread::sleep(Duration::from_millis(500));
        let now = meter.wal_position();
        if now != position {
            (position, since) = (now, Instant::now());
        }
    }
}

struct Idle {
    session: Session,
    meter: Meter,
    cluster: Arc<Cluster>,
    database: Database,
}

/// Counters at one moment.
struct Look {
    at: Instant,
    cpu: HashMap<i32, u64>,
    wal: i64,
    next_xid: i64,
}

impl Idle {
    fn look(&mut self) -> Look {
        let next_xid = self
            .session
            .number("SELECT pg_snapshot_xmax(pg_current_snapshot())");
        Look {
            next_xid,
            wal: self.meter.wal_position(),
            cpu: self.cpu_of_others(),
            at: Instant::now(),
        }
    }

    /// All processes of the server but the sessions that look.
    fn cpu_of_others(&mut self) -> HashMap<i32, u64> {
        let pids = self
            .session
            .column("SELECT pid FROM pg_stat_activity WHERE backend_type <> 'client backend'");
        pids.iter()
            .map(|pid| pid.parse().expect("a process id is a number"))
            .chain([self.cluster.postmaster_pid() as i32])
            .filter_map(|pid| Some((pid, cpu::nanoseconds(pid)?)))
            .collect()
    }

    fn watch(&mut self, flusher: Option<i32>) -> Sample {
        std::thread::sleep(SETTLE);
        let before = self.look();
        std::thread::sleep(WINDOW);
        let after = self.look();

        let window = (after.at - before.at).as_nanos() as f64;
        let spent = |pid: i32| after.cpu[&pid] - before.cpu.get(&pid).copied().unwrap_or(0);
        let percent = |nanoseconds: u64| nanoseconds as f64 / window * 100.0;
        Sample::default()
            .with(FLUSHER, percent(flusher.map_or(0, spent)))
            .with(SERVER, percent(after.cpu.keys().copied().map(spent).sum()))
            .with(WAL, (after.wal - before.wal) as f64)
            .with(XIDS, (after.next_xid - before.next_xid) as f64)
    }
}

impl Run for Idle {
    fn ours(&mut self) -> Sample {
        set_background_workers(&self.cluster, true);
        let flusher = workers::wait_for_start(&self.cluster, self.database.name());
        let sample = self.watch(Some(flusher));
        set_background_workers(&self.cluster, false);
        workers::wait_for_end(&self.cluster, self.database.name());
        sample
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        self.watch(None)
    }
}
