//! What comes through when COPY and flush share the machine for a minute, against COPY straight into partitioned facts.
//!
//! Both sides have as many writers as the machine has cores to spare for them, each with its next COPY ready. Ours hold back while
//! much is waiting, so that what is counted can go on for ever: rows in facts, not rows in staging.

use std::time::{Duration, Instant};

use cluster_tests::{Background, Session};

use super::flush::WITHOUT_B_TREE;
use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::cost::{Meter, WAL};
use crate::flushers::Total;
use crate::load::{Load, WRITERS, verify_and_empty};
use crate::readings::Fleet;
use crate::server::Server;
use crate::twin::{FACTS, STAGING, Twin};

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
        Box::new(Streams {
            meter: Meter::new(server.cluster()),
            length: Duration::from_secs(server.options().seconds),
            load: Load::new(&database, &mut fleet),
            twin,
            session,
        })
    }
}

struct Streams {
    meter: Meter,
    length: Duration,
    load: Load,
    twin: Twin,
    session: Session,
}

impl Streams {
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
}

impl Run for Streams {
    fn ours(&mut self) -> Sample {
        let (wal, started) = self.begin();
        let (written, arrived) = self.load.run(started, started + self.length);
        let sample = self.sample(wal, arrived, written.cpu_ns + arrived.cpu_ns);
        while self.session.number("SELECT stage_flush()") > 0 {}
        verify_and_empty(&mut self.session, FACTS, written.rows);
        sample
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        let facts = self.twin.facts.clone();
        let (wal, started) = self.begin();
        let end = started + self.length;
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| self.load.write(&facts, end, || true))
            .collect();
        let arrived = Total::of(started, writers.into_iter().map(Background::join));
        let sample = self.sample(wal, arrived, arrived.cpu_ns);
        verify_and_empty(&mut self.session, &facts, arrived.rows);
        sample
    }
}
