//! What samples cost the keeper and the WAL, with many partitions and many statements. Ticks come each second here and each minute
//! in use, so what one of them takes is told as a share of a minute.

use std::sync::Arc;
use std::time::Duration;

use cluster_tests::{Cluster, Database, Session, workers};

use super::burden::add_partitions;
use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::cost::Meter;
use crate::cpu;
use crate::server::Server;

const CPU: &str = "keeper, % of a core";
const WAL: &str = "WAL, MB an hour";
const TICK: &str = "one tick, ms of CPU";

const WINDOW: Duration = Duration::from_secs(12);

/// All sources have had their first turn by then, the slow ones among them.
const SETTLE: Duration = Duration::from_secs(5);

const MINUTE_MS: f64 = 60_000.0;

/// Statements in pg_stat_statements, and how many of them run between two ticks.
const STATEMENTS: usize = 5000;
const RUNNING: usize = 500;

pub struct Sampling {
    name: &'static str,
    shows: &'static str,
    partitions: usize,
}

pub const FEW: Sampling = Sampling {
    name: "sampling_10_partitions",
    shows: "samples each minute: 10 partitions, 5,000 statements, 500 of them at work",
    partitions: 10,
};

pub const MANY: Sampling = Sampling {
    name: "sampling_1000_partitions",
    shows: "the same with 1,000 partitions",
    partitions: 1000,
};

impl Case for Sampling {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(CPU, Compare::SideBySide).goal(Bound::AtMost(0.5)),
            Metric::new(TICK, Compare::SideBySide),
            Metric::new(WAL, Compare::SideBySide),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["sample_interval = 0"]
    }

    fn rounds(&self, wanted: usize) -> usize {
        wanted.min(2)
    }

    fn warms_up(&self) -> bool {
        false
    }

    /// On a server of its own: that of the other cases has no pg_stat_statements.
    fn set_up(&self, _server: &Server) -> Box<dyn Run> {
        let cluster = Cluster::builder()
            .set("shared_preload_libraries", "pg_stat_statements,pg_telemetry")
            .set("pg_stat_statements.max", STATEMENTS + 1000)
            .set("shared_buffers", "512MB")
            .set("max_wal_size", "32GB")
            .set("autovacuum", "off")
            .set("pg_telemetry.background_workers", "off")
            .start();
        let database = cluster.create_database("sampled");
        let mut session = database.install();
        session.exec("CREATE EXTENSION pg_stat_statements SCHEMA public");
        add_partitions(&mut session, self.partitions);
        for number in 0..STATEMENTS {
            session.exec(&statement(number));
        }
        session.exec("CHECKPOINT");
        let meter = Meter::new(&cluster);
        cluster.set_and_reload("pg_telemetry.background_workers", "on");
        workers::wait_for_start(&cluster, database.name());
        Box::new(Ticks {
            cluster,
            _database: database,
            session,
            meter,
        })
    }
}

/// A different one for each number, as pg_stat_statements tells them apart.
fn statement(number: usize) -> String {
    let (terms, columns) = (number % 100 + 1, number / 100 + 1);
    format!("SELECT {}1 {}", "1 + ".repeat(terms), ", 1".repeat(columns))
}

struct Ticks {
    cluster: Arc<Cluster>,
    _database: Database,
    session: Session,
    meter: Meter,
}

impl Ticks {
    fn watch(&mut self, interval: u32) -> (f64, f64, f64) {
        self.cluster
            .set_and_reload("pg_telemetry.sample_interval", format!("{interval}s"));
        self.work(SETTLE);
        let keeper: i32 = workers::pids(&self.cluster, "sampled", "keeper")[0]
            .parse()
            .expect("a process id is a number");
        let look = |ticks: &mut Ticks| {
            let runs = ticks
                .session
                .number("SELECT count(*) FROM telemetry.sample_runs WHERE source = 'relations'");
            let cpu = cpu::nanoseconds(keeper).expect("the keeper lives");
            (cpu as f64 / 1e6, ticks.meter.wal_position() as f64, runs as f64)
        };
        let before = look(self);
        self.work(WINDOW);
        let after = look(self);
        (after.0 - before.0, after.1 - before.1, after.2 - before.2)
    }

    /// As many different statements as are at work in a busy minute, each second.
    fn work(&mut self, time: Duration) {
        for _ in 0..time.as_secs() {
            let begun = std::time::Instant::now();
            for number in 0..RUNNING {
                self.session.exec(&statement(number * (STATEMENTS / RUNNING)));
            }
            std::thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
        }
    }
}

impl Run for Ticks {
    fn ours(&mut self) -> Sample {
        let (idle_ms, idle_wal, _) = self.watch(0);
        let (ms, wal, ticks) = self.watch(1);
        assert!(ticks > 3.0, "the keeper took {ticks} samples");
        let tick = (ms - idle_ms).max(0.0) / ticks;
        Sample::default()
            .with(CPU, tick / MINUTE_MS * 100.0)
            .with(TICK, tick)
            .with(WAL, (wal - idle_wal).max(0.0) / ticks * 60.0 / 1e6)
    }

    /// By what ours is measured.
    fn baseline(&mut self, _which: usize) -> Sample {
        Sample::default().with(CPU, 0.0).with(TICK, 0.0).with(WAL, 0.0)
    }
}
