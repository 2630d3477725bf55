//! stage_flush() against the smallest loop that moves rows at all: scan, claim and multi_insert, written for this comparison
//! (see `least/`). It knows no dictionary, no partitions, no readers and no index; its price is what the server asks for.

use cluster_tests::Database;

use super::flush::WITHOUT_B_TREE;
use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::cost::{CPU, Cost, Meter, WAL, WALL};
use crate::readings::Fleet;
use crate::server::Server;
use crate::side::{Side, prefill};
use crate::twin::{FACTS, STAGING};
use crate::warm;

/// `make bench` builds it and says where it is.
const LIBRARY: &str = "PG_TELEMETRY_BENCH_LIBRARY";

const LEAST_ROWS: usize = 50_000;
const PREFILLED: usize = 100_000;

pub struct LeastLoop {
    name: &'static str,
    shows: &'static str,
    rows: usize,
}

pub const ROWS_10K: LeastLoop = LeastLoop {
    name: "least_loop_10k",
    shows: "stage_flush() of 10,000 rows, facts with BRIN only",
    rows: 10_000,
};

pub const ROWS_100K: LeastLoop = LeastLoop {
    name: "least_loop_100k",
    shows: "stage_flush() of 100,000 rows, facts with BRIN only",
    rows: 100_000,
};

impl Case for LeastLoop {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(CPU, Compare::OfBaseline).ratio_goal(Bound::AtMost(1.3)),
            Metric::new(WALL, Compare::OfBaseline),
            Metric::new(WAL, Compare::OfBaseline),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["the smallest scan + claim + multi_insert loop, without any index"]
    }

    fn rounds(&self, wanted: usize) -> usize {
        2 * wanted
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let library =
            std::env::var(LIBRARY).unwrap_or_else(|_| panic!("{LIBRARY} is not set: `make bench` sets it"));
        let database = server.database(self.name);
        let mut session = database.connect();
        let mut fleet = Fleet::register(&mut session);
        session.exec(WITHOUT_B_TREE);
        session.exec(&format!(
            "CREATE SCHEMA least;
             CREATE UNLOGGED TABLE least.staging (LIKE {STAGING} INCLUDING DEFAULTS);
             CREATE TABLE least.facts (LIKE {FACTS} INCLUDING DEFAULTS);
             CREATE FUNCTION least.flush(regclass, regclass) RETURNS bigint LANGUAGE c STRICT
                 AS '{library}', 'least_flush_wrapper'"
        ));
        prefill(&mut session, &mut fleet, &[FACTS, "least.facts"], PREFILLED);
        warm::fill_buffers(&mut session);
        session.exec("CHECKPOINT");
        let least = "SELECT least.flush('least.staging', 'least.facts')";
        let mut ours = Side::ours(&database, STAGING);
        let mut least = Side::new(&database, "least.staging", "least.facts", least);
        ours.touch_buffers();
        least.touch_buffers();
        Box::new(Loops {
            meter: Meter::new(server.cluster()),
            fleet,
            rows: self.rows,
            batches: LEAST_ROWS.div_ceil(self.rows),
            ours,
            least,
            _database: database,
        })
    }
}

struct Loops {
    meter: Meter,
    fleet: Fleet,
    rows: usize,
    batches: usize,
    ours: Side,
    least: Side,
    _database: Database,
}

impl Run for Loops {
    fn ours(&mut self) -> Sample {
        let cost = self
            .ours
            .stage_and_flush(&mut self.meter, &mut self.fleet, self.rows, self.batches);
        cost.per_row(self.batches * self.rows)
    }

    /// It makes no room for the next batch, so it is given an empty table each time, free of charge.
    fn baseline(&mut self, _which: usize) -> Sample {
        let mut cost = Cost::default();
        for _ in 0..self.batches {
            self.least.vacuum(&mut self.meter);
            cost += self
                .least
                .stage_and_flush(&mut self.meter, &mut self.fleet, self.rows, 1);
        }
        cost.per_row(self.batches * self.rows)
    }

    fn verify(&mut self) {
        self.ours.verify();
        self.least.verify();
    }
}
