//! A backlog, moved by two flushers at once against one: how much of the second core arrives.

use std::time::Instant;

use cluster_tests::{Background, Database, Session};

use super::flush::WITHOUT_B_TREE;
use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::copy_format::{Format, Payload};
use crate::cost::{CPU, WALL};
use crate::flushers::{self, Total, Until};
use crate::readings::Fleet;
use crate::server::Server;
use crate::twin::{FACTS, STAGING};

const ROWS: u64 = 2_000_000;
const COPY_ROWS: usize = 100_000;

pub struct Backlog {
    name: &'static str,
    shows: &'static str,
    b_tree: bool,
}

pub const DEFAULT: Backlog = Backlog {
    name: "backlog_two_flushers_default",
    shows: "2,000,000 staged rows, two sessions that flush, facts with BRIN and b-tree",
    b_tree: true,
};

pub const BRIN: Backlog = Backlog {
    name: "backlog_two_flushers_brin",
    shows: "2,000,000 staged rows, two sessions that flush, facts with BRIN only",
    b_tree: false,
};

impl Case for Backlog {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(WALL, Compare::TimesCheaper).ratio_goal(Bound::AtLeast(1.6)),
            Metric::new(CPU, Compare::TimesCheaper),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["one session"]
    }

    fn rounds(&self, wanted: usize) -> usize {
        wanted.min(3)
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let database = server.database(self.name);
        let mut session = database.connect();
        let mut fleet = Fleet::register(&mut session);
        if !self.b_tree {
            session.exec(WITHOUT_B_TREE);
        }
        Box::new(Drained {
            payload: Payload::new(Format::Binary, &fleet.send(COPY_ROWS)),
            session,
            database,
        })
    }
}

struct Drained {
    payload: Payload,
    session: Session,
    database: Database,
}

impl Drained {
    fn drain(&mut self, flushers: usize) -> Sample {
        for _ in 0..ROWS / COPY_ROWS as u64 {
            self.payload.copy(&mut self.session, STAGING);
        }
        self.session.exec("CHECKPOINT");
        let moved = Default::default();
        let started = Instant::now();
        let shares: Vec<_> = (0..flushers)
            .map(|_| flushers::start(&self.database, Until::Empty, &moved))
            .collect();
        let total = Total::of(started, shares.into_iter().map(Background::join));
        assert_eq!(total.rows, ROWS, "rows that were flushed");
        // The same beginning for everybody.
        self.session.exec(&format!("TRUNCATE {FACTS}, {STAGING}"));
        Sample::default()
            .with(WALL, total.took.as_nanos() as f64 / ROWS as f64)
            .with(CPU, total.cpu_ns as f64 / ROWS as f64)
    }
}

impl Run for Drained {
    fn ours(&mut self) -> Sample {
        self.drain(2)
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        self.drain(1)
    }
}
