//! stage_flush() against P, the best that plain SQL can do: one statement that deletes from staging and inserts into the same
//! kind of facts.
//!
//! What is shown is the steady state: each side finds its staging pages clean and its facts touched since the last
//! checkpoint, so that no full-page images are in the WAL.

use cluster_tests::Database;

use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::cost::{CPU, Cost, Meter, WAL, WALL};
use crate::readings::Fleet;
use crate::server::Server;
use crate::side::{Side, prefill};
use crate::twin::{FACTS, STAGING, Twin};

/// Facts that are there before the first flush: indexes have their depth, and their pages have neighbours.
const PREFILLED: usize = 500_000;

/// Rows that one side moves in one round, in as many batches as it takes.
const LEAST_ROWS: usize = 50_000;

/// P with the rows as they come, and sorted as the b-tree is.
const BASELINES: &[&str] = &["P", "P, sorted"];
const ORDERS: [&str; 2] = ["", "ORDER BY tenant_id, attribute_id, entity_id, ingested_at"];

#[derive(PartialEq)]
enum Indexes {
    Brin,
    /// BRIN and the b-tree.
    Default,
}

pub struct Flush {
    name: &'static str,
    shows: &'static str,
    rows: usize,
    indexes: Indexes,
    times_cheaper: f64,
}

pub const BRIN_10K: Flush = Flush {
    name: "flush_brin_10k",
    shows: "stage_flush() of 10,000 rows, facts with BRIN only",
    rows: 10_000,
    indexes: Indexes::Brin,
    times_cheaper: 5.0,
};

pub const BRIN_100K: Flush = Flush {
    name: "flush_brin_100k",
    shows: "stage_flush() of 100,000 rows, facts with BRIN only",
    rows: 100_000,
    indexes: Indexes::Brin,
    times_cheaper: 5.5,
};

pub const DEFAULT_10K: Flush = Flush {
    name: "flush_default_10k",
    shows: "stage_flush() of 10,000 rows, facts with BRIN and b-tree",
    rows: 10_000,
    indexes: Indexes::Default,
    times_cheaper: 2.0,
};

pub const DEFAULT_100K: Flush = Flush {
    name: "flush_default_100k",
    shows: "stage_flush() of 100,000 rows, facts with BRIN and b-tree",
    rows: 100_000,
    indexes: Indexes::Default,
    times_cheaper: 3.0,
};

impl Case for Flush {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        let wal = Metric::new(WAL, Compare::TimesCheaper);
        vec![
            Metric::new(CPU, Compare::TimesCheaper).ratio_goal(Bound::AtLeast(self.times_cheaper)),
            Metric::new(WALL, Compare::TimesCheaper),
            match self.indexes {
                Indexes::Brin => wal.goal(Bound::AtMost(55.0)),
                Indexes::Default => wal,
            },
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        BASELINES
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let database = server.database(self.name);
        let mut session = database.connect();
        let mut fleet = Fleet::register(&mut session);
        if self.indexes == Indexes::Brin {
            session.exec("DROP INDEX telemetry.entity_values_ts_series_idx");
        }
        let twins = ["plain", "sorted"].map(|schema| Twin::create(&database, schema));
        let facts = [FACTS, &twins[0].facts, &twins[1].facts];
        prefill(&mut session, &mut fleet, &facts, PREFILLED);

        let ours = Side::new(&database, STAGING, FACTS, "SELECT telemetry.stage_flush()");
        let baselines = [0, 1].map(|which| {
            let Twin { staging, facts } = &twins[which];
            let move_all = format!(
                "WITH d AS (DELETE FROM {staging} RETURNING *) INSERT INTO {facts} SELECT * FROM d {}",
                ORDERS[which]
            );
            Side::new(&database, staging, facts, &move_all)
        });
        session.exec("CHECKPOINT");
        Box::new(Flushes {
            meter: Meter::new(server.cluster()),
            fleet,
            rows: self.rows,
            batches: LEAST_ROWS.div_ceil(self.rows),
            ours,
            baselines,
            _database: database,
        })
    }
}

struct Flushes {
    meter: Meter,
    fleet: Fleet,
    rows: usize,
    batches: usize,
    ours: Side,
    baselines: [Side; 2],
    _database: Database,
}

impl Run for Flushes {
    fn ours(&mut self) -> Sample {
        let mut cost = Cost::default();
        for _ in 0..self.batches {
            self.ours.stage(&mut self.fleet, self.rows);
            cost += self.ours.flush(&mut self.meter);
        }
        // The janitor does this after as many rows, and it is part of what our flush costs. P gets it for nothing.
        cost += self.ours.vacuum(&mut self.meter);
        cost.per_row(self.batches * self.rows)
    }

    fn baseline(&mut self, which: usize) -> Sample {
        let side = &mut self.baselines[which];
        let mut cost = Cost::default();
        for _ in 0..self.batches {
            side.stage(&mut self.fleet, self.rows);
            cost += side.flush(&mut self.meter);
        }
        side.vacuum(&mut self.meter);
        cost.per_row(self.batches * self.rows)
    }

    fn verify(&mut self) {
        self.ours.verify();
        self.baselines.iter_mut().for_each(Side::verify);
    }
}
