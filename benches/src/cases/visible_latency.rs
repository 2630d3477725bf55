//! How long after its commit a reading is seen in facts, while readings arrive at a constant rate.
//!
//! Arrivals keep to a timetable whether or not the server keeps up: a writer that waited for a slow server would not notice
//! how slow it was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_tests::{Cluster, Database, Session, workers};
use postgres::Statement;

use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::copy_format::{Format, Payload};
use crate::readings::{Fleet, Reading, Value};
use crate::server::{Server, set_background_workers};
use crate::stats::percentile;

/// Time between two commits. Not a divisor of the flush interval: commits fall into every part of it.
const EVERY: Duration = Duration::from_millis(7);

const ROUND: Duration = Duration::from_secs(6);

/// How finely the moment is known at which a reading was seen; what is reported is never too early.
const POLL: Duration = Duration::from_millis(2);

/// How long the last ones may take.
const PATIENCE: Duration = Duration::from_secs(30);

const P50: &str = "p50 ms, commit to seen";
const P99: &str = "p99 ms, commit to seen";
const ARRIVAL_P99: &str = "p99 ms, arrival to seen";
const RATE: &str = "rows/s";

pub struct VisibleLatency {
    name: &'static str,
    shows: &'static str,
    rows_per_second: usize,
}

pub const MODEST: VisibleLatency = VisibleLatency {
    name: "visible_latency",
    shows: "commit to visible in facts at 20,000 rows/s",
    rows_per_second: 20_000,
};

pub const FAST: VisibleLatency = VisibleLatency {
    name: "visible_latency_100k",
    shows: "commit to visible in facts at 100,000 rows/s",
    rows_per_second: 100_000,
};

impl Case for VisibleLatency {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(P50, Compare::OfBaseline).ratio_goal(Bound::AtMost(0.7)),
            Metric::new(P99, Compare::OfBaseline).ratio_goal(Bound::AtMost(2.0)),
            Metric::new(ARRIVAL_P99, Compare::OfBaseline),
            Metric::new(RATE, Compare::OfBaseline),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["flush_interval, and the rate of arrival"]
    }

    fn rounds(&self, wanted: usize) -> usize {
        wanted.min(3)
    }

    fn warms_up(&self) -> bool {
        false
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let database = server.database(self.name);
        let mut session = database.connect();
        let fleet = Fleet::register(&mut session);
        let marker = session.number("SELECT register_attribute(0, 'marker', 'integer')") as i32;
        let seen = session
            .client()
            .prepare(SEEN)
            .unwrap_or_else(|error| panic!("{SEEN}: {error:?}"));
        Box::new(Arrivals {
            cluster: server.cluster().clone(),
            rows: (self.rows_per_second as f64 * EVERY.as_secs_f64()).round() as usize,
            fleet,
            marker,
            next_marker: 1,
            session,
            seen,
            database,
        })
    }
}

/// Markers from a number on that are in facts; the lower bound of time spares the poll all older partitions.
const SEEN: &str = "SELECT entity_id FROM telemetry.entity_values_ts
    WHERE tenant_id = 1 AND attribute_id = $1 AND entity_id >= $2 AND ingested_at > now() - interval '1 hour'";

struct Arrivals {
    cluster: Arc<Cluster>,
    /// Of each commit.
    rows: usize,
    fleet: Fleet,
    /// One row of each commit has this attribute, and the number of the commit as its entity.
    marker: i32,
    next_marker: i64,
    session: Session,
    seen: Statement,
    database: Database,
}

/// When a commit was due, and when the server had confirmed it.
struct Arrival {
    due: Instant,
    committed: Instant,
}

impl Arrivals {
    fn payloads(&mut self) -> Vec<Payload> {
        let commits = (ROUND.as_secs_f64() / EVERY.as_secs_f64()) as i64;
        (0..commits)
            .map(|commit| {
                let mut readings = self.fleet.send(self.rows - 1);
                readings.push(Reading {
                    tenant_id: 1,
                    entity_id: self.next_marker + commit,
                    attribute_id: self.marker,
                    observed_at: readings[0].observed_at,
                    value: Value::Integer(commit),
                });
                Payload::new(Format::Binary, &readings)
            })
            .collect()
    }

    /// For each commit the moment at which it was seen.
    fn watch(&mut self, commits: usize) -> Vec<Instant> {
        let mut seen: Vec<Option<Instant>> = vec![None; commits];
        let deadline = Instant::now() + ROUND + PATIENCE;
        loop {
            let Some(first_unseen) = seen.iter().position(Option::is_none) else {
                return seen.into_iter().flatten().collect();
            };
            assert!(
                Instant::now() < deadline,
                "commit {first_unseen} of {commits} was never seen in facts"
            );
            let from = self.next_marker + first_unseen as i64;
            let rows = self
                .session
                .client()
                .query(&self.seen, &[&self.marker, &from])
                .unwrap_or_else(|error| panic!("{SEEN}: {error:?}"));
            let now = Instant::now();
            for row in rows {
                let commit = row.get::<_, i64>(0) - self.next_marker;
                seen[commit as usize].get_or_insert(now);
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Run for Arrivals {
    fn ours(&mut self) -> Sample {
        let payloads = self.payloads();
        let commits = payloads.len();
        set_background_workers(&self.cluster, true);
        workers::wait_for_start(&self.cluster, self.database.name());

        let writer = self.database.background(move |session| write(session, &payloads));
        let seen = self.watch(commits);
        let arrivals = writer.join();

        set_background_workers(&self.cluster, false);
        workers::wait_for_end(&self.cluster, self.database.name());
        self.next_marker += commits as i64;

        let since = |moment: fn(&Arrival) -> Instant| -> Vec<f64> {
            let moments = arrivals.iter().map(moment).zip(&seen);
            moments
                .map(|(from, to)| milliseconds(to.saturating_duration_since(from)))
                .collect()
        };
        let from_commit = since(|arrival| arrival.committed);
        let from_due = since(|arrival| arrival.due);
        let first = arrivals[0].due;
        let last = seen.iter().max().expect("there are commits");
        Sample::default()
            .with(P50, percentile(&from_commit, 50.0))
            .with(P99, percentile(&from_commit, 99.0))
            .with(ARRIVAL_P99, percentile(&from_due, 99.0))
            .with(RATE, (commits * self.rows) as f64 / (*last - first).as_secs_f64())
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        let interval = self
            .session
            .number("SELECT setting FROM pg_settings WHERE name = 'pg_telemetry.flush_interval'")
            as f64;
        Sample::default()
            .with(P50, interval)
            .with(P99, interval)
            .with(ARRIVAL_P99, interval)
            .with(RATE, self.rows as f64 / EVERY.as_secs_f64())
    }
}

fn write(session: &mut Session, payloads: &[Payload]) -> Vec<Arrival> {
    let mut due = Instant::now();
    payloads
        .iter()
        .map(|payload| {
            due += EVERY;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            payload.copy(session, crate::twin::STAGING);
            Arrival {
                due,
                committed: Instant::now(),
            }
        })
        .collect()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
