//! stage_flush() against P, the best that plain SQL can do: one statement that deletes from staging and inserts into the same
//! kind of facts.
//!
//! What is shown is the steady state: every session has touched all buffers (see `warm`), each side finds its facts touched since the last checkpoint, so that no full-page
//! images are in the WAL. P finds its staging pages vacuumed, free of charge. Ours makes room by itself at the next flush, which
//! is in its price, and [`Run::verify`] sees to it that nothing was put off; for the durable door it is the janitor's
//! VACUUM that makes room, and ours pays for it.

use cluster_tests::Database;

use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::cost::{CPU, Cost, Meter, WAL, WALL};
use crate::readings::Fleet;
use crate::server::Server;
use crate::side::{Side, prefill};
use crate::twin::{DURABLE_STAGING, FACTS, STAGING, Twin};
use crate::warm;

/// Facts that are there before the first flush: indexes have their depth, and their pages have neighbours.
const PREFILLED: usize = 500_000;

/// Rows that one side moves in one round, in as many batches as it takes.
const LEAST_ROWS: usize = 50_000;

/// So many times what is moved before room is made may lie in staging when all is done, moved or not: the last of it, and
/// something whose pages were still in use.
const TIMES_IN_STAGING: usize = 3;

/// P with the rows as they come, and sorted as the b-tree is.
const BASELINES: &[&str] = &["P", "P, sorted"];
const ORDERS: [&str; 2] = ["", "ORDER BY tenant_id, attribute_id, entity_id, ingested_at"];

pub const WITHOUT_B_TREE: &str = "DROP INDEX telemetry.entity_values_ts_series_idx";

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
    door: &'static str,
    times_cheaper: f64,
}

pub const BRIN_10K: Flush = Flush {
    name: "flush_brin_10k",
    shows: "stage_flush() of 10,000 rows, facts with BRIN only",
    rows: 10_000,
    indexes: Indexes::Brin,
    door: STAGING,
    times_cheaper: 5.0,
};

pub const BRIN_100K: Flush = Flush {
    name: "flush_brin_100k",
    shows: "stage_flush() of 100,000 rows, facts with BRIN only",
    rows: 100_000,
    indexes: Indexes::Brin,
    door: STAGING,
    times_cheaper: 5.5,
};

pub const DEFAULT_10K: Flush = Flush {
    name: "flush_default_10k",
    shows: "stage_flush() of 10,000 rows, facts with BRIN and b-tree",
    rows: 10_000,
    indexes: Indexes::Default,
    door: STAGING,
    times_cheaper: 2.0,
};

pub const DEFAULT_100K: Flush = Flush {
    name: "flush_default_100k",
    shows: "stage_flush() of 100,000 rows, facts with BRIN and b-tree",
    rows: 100_000,
    indexes: Indexes::Default,
    door: STAGING,
    times_cheaper: 3.0,
};

pub const DURABLE_BRIN_10K: Flush = Flush {
    name: "flush_durable_brin_10k",
    shows: "stage_flush() of 10,000 rows of the durable door, VACUUM included, facts with BRIN only",
    rows: 10_000,
    indexes: Indexes::Brin,
    door: DURABLE_STAGING,
    times_cheaper: 1.7,
};

pub const DURABLE_DEFAULT_100K: Flush = Flush {
    name: "flush_durable_default_100k",
    shows: "stage_flush() of 100,000 rows of the durable door, VACUUM included, facts with BRIN and b-tree",
    rows: 100_000,
    indexes: Indexes::Default,
    door: DURABLE_STAGING,
    times_cheaper: 1.7,
};

impl Flush {
    fn is_durable(&self) -> bool {
        self.door == DURABLE_STAGING
    }
}

impl Case for Flush {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        let cheaper = Metric::new(WAL, Compare::TimesCheaper);
        vec![
            Metric::new(CPU, Compare::TimesCheaper).ratio_goal(Bound::AtLeast(self.times_cheaper)),
            Metric::new(WALL, Compare::TimesCheaper),
            match self.indexes {
                _ if self.is_durable() => {
                    Metric::new(WAL, Compare::OfBaseline).ratio_goal(Bound::AtMost(0.65))
                }
                Indexes::Brin => cheaper.goal(Bound::AtMost(55.0)),
                Indexes::Default => cheaper,
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
            session.exec(WITHOUT_B_TREE);
        }
        let twins = ["plain", "sorted"].map(|schema| Twin::create(&database, schema, self.door));
        let facts = [FACTS, &twins[0].facts, &twins[1].facts];
        prefill(&mut session, &mut fleet, &facts, PREFILLED);
        warm::fill_buffers(&mut session);

        let mut ours = Side::ours(&database, self.door);
        let mut baselines = [0, 1].map(|which| {
            let Twin { staging, facts } = &twins[which];
            let move_all = format!(
                "WITH d AS (DELETE FROM {staging} RETURNING *) INSERT INTO {facts} SELECT * FROM d {}",
                ORDERS[which]
            );
            Side::new(&database, staging, facts, &move_all)
        });
        session.exec("CHECKPOINT");
        ours.touch_buffers();
        baselines.iter_mut().for_each(Side::touch_buffers);
        Box::new(Flushes {
            meter: Meter::new(server.cluster()),
            fleet,
            rows: self.rows,
            batches: LEAST_ROWS.div_ceil(self.rows),
            pays_for_vacuum: self.is_durable(),
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
    pays_for_vacuum: bool,
    ours: Side,
    baselines: [Side; 2],
    _database: Database,
}

impl Run for Flushes {
    fn ours(&mut self) -> Sample {
        let mut cost = self
            .ours
            .stage_and_flush(&mut self.meter, &mut self.fleet, self.rows, self.batches);
        if self.pays_for_vacuum {
            cost += self.ours.vacuum(&mut self.meter);
        }
        cost.per_row(self.batches * self.rows)
    }

    fn baseline(&mut self, which: usize) -> Sample {
        let side = &mut self.baselines[which];
        let cost: Cost = side.stage_and_flush(&mut self.meter, &mut self.fleet, self.rows, self.batches);
        side.vacuum(&mut self.meter);
        cost.per_row(self.batches * self.rows)
    }

    fn verify(&mut self) {
        self.ours.verify();
        let until_room = self.rows * if self.pays_for_vacuum { self.batches } else { 1 };
        self.ours.verify_size(TIMES_IN_STAGING * until_room);
        self.baselines.iter_mut().for_each(Side::verify);
    }
}
