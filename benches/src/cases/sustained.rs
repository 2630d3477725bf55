//! What comes through when COPY and flush share the machine for a minute, against COPY straight into partitioned facts.
//!
//! Both sides have as many writers as the machine has cores to spare for them, each with its next COPY ready. Ours hold back while
//! much is waiting, so that what is counted can go on for ever: rows in facts, not rows in staging.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cluster_tests::{Background, Database, Session};

use super::flush::WITHOUT_B_TREE;
use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::copy_format::{Format, Payload};
use crate::cost::{Meter, WAL};
use crate::cpu;
use crate::flushers::{self, BATCH_ROWS, Share, Total, Until};
use crate::readings::Fleet;
use crate::server::Server;
use crate::twin::{FACTS, STAGING, Twin};

const WRITERS: usize = 2;
const FLUSHERS: usize = 2;

const COPY_ROWS: usize = 10_000;

/// Different COPYs that a writer sends in turn.
const PAYLOADS: usize = 20;

/// Writers wait while so many rows are staged: one batch for each flusher, and one more.
const MOST_WAITING: u64 = (FLUSHERS as u64 + 1) * BATCH_ROWS;

const RATE: &str = "rows/s into facts";
const CPU: &str = "server CPU ns/row";

pub struct Sustained {
    name: &'static str,
    shows: &'static str,
    b_tree: bool,
    of_direct: f64,
}

pub const DEFAULT: Sustained = Sustained {
    name: "sustained_default",
    shows: "COPY writers and flushers together, facts with BRIN and b-tree",
    b_tree: true,
    of_direct: 1.25,
};

pub const BRIN: Sustained = Sustained {
    name: "sustained_brin",
    shows: "COPY writers and flushers together, facts with BRIN only",
    b_tree: false,
    of_direct: 0.95,
};

impl Case for Sustained {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(RATE, Compare::OfBaseline).ratio_goal(Bound::AtLeast(self.of_direct)),
            Metric::new(CPU, Compare::TimesCheaper),
            Metric::new(WAL, Compare::TimesCheaper),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["direct COPY into the same partitioned table"]
    }

    fn rounds(&self, _wanted: usize) -> usize {
        1
    }

    fn warms_up(&self) -> bool {
        false
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let database = server.database(self.name);
        let mut session = database.connect();
        let mut fleet = Fleet::register(&mut session);
        if !self.b_tree {
            session.exec(WITHOUT_B_TREE);
        }
        let twin = Twin::create(&database, "direct", STAGING);
        let payloads = (0..PAYLOADS)
            .map(|_| Payload::new(Format::Binary, &fleet.send(COPY_ROWS)))
            .collect();
        Box::new(Streams {
            meter: Meter::new(server.cluster()),
            length: Duration::from_secs(server.options().seconds),
            payloads: Arc::new(payloads),
            twin,
            session,
            database,
        })
    }
}

struct Streams {
    meter: Meter,
    length: Duration,
    payloads: Arc<Vec<Payload>>,
    twin: Twin,
    session: Session,
    database: Database,
}

impl Streams {
    /// COPY after COPY until the time is over; `may_go_on` says when to hold back.
    fn write(
        &self,
        table: &str,
        end: Instant,
        may_go_on: impl Fn() -> bool + Send + 'static,
    ) -> Background<Share> {
        let (table, payloads) = (table.to_owned(), self.payloads.clone());
        self.database.background(move |session| {
            let cpu_before = cpu::nanoseconds_at_rest(session.pid());
            let mut rows = 0;
            let mut payloads = payloads.iter().cycle();
            while Instant::now() < end {
                if !may_go_on() {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                let payload = payloads.next().expect("there are payloads");
                rows += payload.copy(session, &table);
            }
            Share {
                rows,
                cpu_ns: cpu::nanoseconds_at_rest(session.pid()) - cpu_before,
                ended: Instant::now(),
            }
        })
    }

    fn begin(&mut self) -> (i64, Instant) {
        self.session.exec("CHECKPOINT");
        (self.meter.wal_position(), Instant::now())
    }

    fn sample(&mut self, wal_before: i64, arrived: Total, cpu_ns: u64) -> Sample {
        let rows = arrived.rows as f64;
        Sample::default()
            .with(RATE, rows / arrived.took.as_secs_f64())
            .with(CPU, cpu_ns as f64 / rows)
            .with(WAL, (self.meter.wal_position() - wal_before) as f64 / rows)
    }

    fn verify_and_empty(&mut self, facts: &str, rows: u64) {
        let found = self.session.number(&format!("SELECT count(*) FROM {facts}"));
        assert_eq!(found as u64, rows, "rows in {facts}");
        self.session.exec(&format!("TRUNCATE {facts}"));
    }
}

impl Run for Streams {
    fn ours(&mut self) -> Sample {
        let (wal, started) = self.begin();
        let end = started + self.length;
        let (staged, flushed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (staged, flushed) = (staged.clone(), flushed.clone());
                self.write(STAGING, end, move || {
                    // Counted before it is sent, so that all writers together keep to the limit.
                    let waiting = staged
                        .load(Ordering::Relaxed)
                        .saturating_sub(flushed.load(Ordering::Relaxed));
                    let free = waiting + COPY_ROWS as u64 <= MOST_WAITING;
                    if free {
                        staged.fetch_add(COPY_ROWS as u64, Ordering::Relaxed);
                    }
                    free
                })
            })
            .collect();
        let flushers: Vec<_> = (0..FLUSHERS)
            .map(|_| flushers::start(&self.database, Until::Time(end), &flushed))
            .collect();
        let written = Total::of(started, writers.into_iter().map(Background::join));
        let arrived = Total::of(started, flushers.into_iter().map(Background::join));
        let sample = self.sample(wal, arrived, written.cpu_ns + arrived.cpu_ns);
        while self.session.number("SELECT stage_flush()") > 0 {}
        self.verify_and_empty(FACTS, written.rows);
        sample
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        let facts = self.twin.facts.clone();
        let (wal, started) = self.begin();
        let end = started + self.length;
        let writers: Vec<_> = (0..WRITERS).map(|_| self.write(&facts, end, || true)).collect();
        let arrived = Total::of(started, writers.into_iter().map(Background::join));
        let sample = self.sample(wal, arrived, arrived.cpu_ns);
        self.verify_and_empty(&facts, arrived.rows);
        sample
    }
}
