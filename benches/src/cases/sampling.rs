//! What samples cost, with many partitions and many statements. Each call takes all of them, which the keeper does in a minute at most:
//! it looks at sizes, tenants and indexes less often. So a minute of the keeper takes no more than one call.

use std::sync::Arc;

use cluster_tests::{Cluster, Database, Session};

use super::burden::add_partitions;
use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::cost::{self, Cost, Meter};
use crate::server::Server;

const CPU: &str = "% of a core";
const WAL: &str = "WAL, MB an hour";
const TICK: &str = "one call, ms of CPU";

/// Calls of one round.
const CALLS: usize = 5;

const MINUTE_MS: f64 = 60_000.0;

/// Statements in pg_stat_statements, and how many of them run between two calls.
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
        &["nothing"]
    }

    fn rounds(&self, wanted: usize) -> usize {
        wanted.min(5)
    }

    /// On a server of its own: that of the other cases has no pg_stat_statements.
    fn set_up(&self, _server: &Server) -> Box<dyn Run> {
        let cluster = Cluster::builder()
            .true_time()
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
        Box::new(Calls {
            meter: Meter::new(&cluster),
            _cluster: cluster,
            sampler: database.connect(),
            _database: database,
            session,
        })
    }
}

/// A different one for each number, as pg_stat_statements tells them apart.
fn statement(number: usize) -> String {
    let (terms, columns) = (number % 100 + 1, number / 100 + 1);
    format!("SELECT {}1 {}", "1 + ".repeat(terms), ", 1".repeat(columns))
}

struct Calls {
    _cluster: Arc<Cluster>,
    _database: Database,
    /// Runs the statements.
    session: Session,
    sampler: Session,
    meter: Meter,
}

impl Run for Calls {
    fn ours(&mut self) -> Sample {
        let mut total = Cost::default();
        for _ in 0..CALLS {
            for number in 0..RUNNING {
                self.session.exec(&statement(number * (STATEMENTS / RUNNING)));
            }
            self.session.exec("SELECT pg_stat_force_next_flush()");
            let (rows, cost) = self.meter.measure(&mut self.sampler, |session| {
                session.rows("SELECT state, source FROM telemetry.take_samples()")
            });
            assert!(rows.iter().all(|row| row[0] != "failed"), "{rows:?}");
            total += cost;
        }
        let each = total.per_row(CALLS);
        let ms = each.value(cost::CPU) / 1e6;
        Sample::default()
            .with(CPU, ms / MINUTE_MS * 100.0)
            .with(TICK, ms)
            .with(WAL, each.value(cost::WAL) * 60.0 / 1e6)
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        Sample::default().with(CPU, 0.0).with(TICK, 0.0).with(WAL, 0.0)
    }
}
