//! The same flush twice, in two databases: one carries a burden that must not make it dearer.

use std::time::{Duration, Instant};

use cluster_tests::{Database, Session};

use super::flush::WITHOUT_B_TREE;
use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::cost::{CPU, Meter, WAL, WALL};
use crate::readings::Fleet;
use crate::server::Server;
use crate::side::{Side, prefill};
use crate::twin::{FACTS, STAGING};

const ROWS: usize = 10_000;
const BATCHES: usize = 10;

/// In facts before the first flush.
const PREFILLED: usize = 50_000;

/// What five minutes come to is flushes: one each 100 ms. A tenth of them shows what grows, and what does not.
const FLUSHES: usize = 300;
const LONG_FLUSHES: usize = 3000;
const INTERVAL: Duration = Duration::from_millis(100);

enum What {
    /// A snapshot older than all flushes, whose holder never touched staging.
    HeldSnapshot,
    /// So many times as many facts.
    Facts { times: usize, b_tree: bool },
    /// So many partitions, against ten.
    Partitions(usize),
}

pub struct Burden {
    name: &'static str,
    shows: &'static str,
    what: What,
}

pub const HELD_SNAPSHOT: Burden = Burden {
    name: "same_flush_held_snapshot",
    shows: "10,000 rows after 300 flushes under a held snapshot (BENCH_LONG=1: five real minutes), BRIN only",
    what: What::HeldSnapshot,
};

pub const FACTS_BRIN: Burden = Burden {
    name: "same_flush_100x_facts_brin",
    shows: "10,000 rows with 5,000,000 facts against 50,000, BRIN only",
    what: What::Facts {
        times: 100,
        b_tree: false,
    },
};

pub const FACTS_DEFAULT: Burden = Burden {
    name: "same_flush_100x_facts_default",
    shows: "10,000 rows with 5,000,000 facts against 50,000, BRIN and b-tree",
    what: What::Facts {
        times: 100,
        b_tree: true,
    },
};

pub const PARTITIONS: Burden = Burden {
    name: "same_flush_1000_partitions",
    shows: "10,000 rows with 1,000 partitions against 10, BRIN only",
    what: What::Partitions(1000),
};

impl Case for Burden {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(CPU, Compare::OfBaseline).ratio_goal(Bound::AtMost(1.1)),
            Metric::new(WALL, Compare::OfBaseline),
            Metric::new(WAL, Compare::OfBaseline),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["itself without that"]
    }

    /// Two sides that are nearly the same: many rounds tell them apart.
    fn rounds(&self, wanted: usize) -> usize {
        2 * wanted
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let brin_only = !matches!(self.what, What::Facts { b_tree: true, .. });
        let (facts, partitions) = match self.what {
            What::Facts { times, .. } => (times * PREFILLED, 10),
            What::Partitions(partitions) => (PREFILLED, partitions),
            What::HeldSnapshot => (PREFILLED, 10),
        };
        let mut ours = Bearer::new(server, self.name, brin_only, facts, partitions);
        let mut baseline = Bearer::new(
            server,
            &format!("{}_without", self.name),
            brin_only,
            PREFILLED,
            10,
        );
        let meter = Meter::new(server.cluster());
        let holder = matches!(self.what, What::HeldSnapshot).then(|| {
            server.set_least_grace();
            hold_snapshot(&ours.database)
        });
        if holder.is_some() {
            let long = server.options().long;
            let mut next = Instant::now();
            for _ in 0..if long { LONG_FLUSHES } else { FLUSHES } {
                if long {
                    next += INTERVAL;
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                }
                ours.side.stage(&mut ours.fleet, ROWS);
                ours.side.flush_unmeasured();
                baseline.side.stage(&mut baseline.fleet, ROWS);
                baseline.side.flush_unmeasured();
            }
        }
        server.cluster().connect("postgres").exec("CHECKPOINT");
        Box::new(Burdened {
            meter,
            ours,
            baseline,
            _holder: holder,
        })
    }
}

/// A session that looked at nothing but the clock, and will see the database as it is now until it is dropped.
pub fn hold_snapshot(database: &Database) -> Session {
    let mut holder = database.connect();
    holder.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT now()");
    holder
}

struct Bearer {
    database: Database,
    fleet: Fleet,
    side: Side,
}

impl Bearer {
    fn new(server: &Server, name: &str, brin_only: bool, facts: usize, partitions: usize) -> Bearer {
        let database = server.database(name);
        let mut session = database.connect();
        let mut fleet = Fleet::register(&mut session);
        if brin_only {
            session.exec(WITHOUT_B_TREE);
        }
        add_partitions(&mut session, partitions);
        prefill(&mut session, &mut fleet, &[FACTS], facts);
        Bearer {
            side: Side::ours(&database, STAGING),
            fleet,
            database,
        }
    }

    fn flush(&mut self, meter: &mut Meter) -> Sample {
        let cost = self.side.stage_and_flush(meter, &mut self.fleet, ROWS, BATCHES);
        cost.per_row(ROWS * BATCHES)
    }
}

/// Days of long ago, until there are so many partitions.
pub fn add_partitions(session: &mut Session, wanted: usize) {
    let there = session.number(&format!(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = '{FACTS}'::regclass"
    ));
    for day in 0..(wanted as i64 - there) {
        session.exec(&format!(
            "SET timezone = 'UTC';
             DO $$ BEGIN EXECUTE format('CREATE TABLE telemetry.old_{day} PARTITION OF {FACTS} FOR VALUES FROM (%L) TO (%L)',
                 date '2010-01-01' + {day}, date '2010-01-02' + {day}); END $$"
        ));
    }
}

struct Burdened {
    meter: Meter,
    ours: Bearer,
    baseline: Bearer,
    _holder: Option<Session>,
}

impl Run for Burdened {
    fn ours(&mut self) -> Sample {
        self.ours.flush(&mut self.meter)
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        self.baseline.flush(&mut self.meter)
    }

    fn verify(&mut self) {
        self.ours.side.verify();
        self.baseline.side.verify();
    }
}
