//! Bad rows against good ones: a reading that is refused must not cost much more than one that is stored with the default
//! indexes, or whoever sends bad ones starves those who do not.

use cluster_tests::{Database, Session};

use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::copy_format::{Format, Payload};
use crate::cost::{CPU, Cost, Meter, WAL, WALL};
use crate::readings::Fleet;
use crate::server::Server;
use crate::side::prefill;
use crate::twin::{FACTS, STAGING};

const ROWS: usize = 100_000;
const COPY_ROWS: usize = 1000;

/// Facts that are there before, so that the index has its depth.
const PREFILLED: usize = 500_000;

/// No attribute has this id.
const UNKNOWN: i32 = i32::MAX;

pub struct Rejects {
    name: &'static str,
    shows: &'static str,
    /// One of so many rows is bad.
    one_in: usize,
    of_stored: f64,
}

pub const STORM: Rejects = Rejects {
    name: "reject_storm",
    shows: "stage_flush() of 100,000 rows that are all refused, against as many that are stored",
    one_in: 1,
    of_stored: 0.5,
};

pub const FEW: Rejects = Rejects {
    name: "reject_few",
    shows: "stage_flush() of 100,000 rows of which 1 % are refused, against as many that are stored",
    one_in: 100,
    of_stored: 0.95,
};

impl Case for Rejects {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(CPU, Compare::TimesCheaper).ratio_goal(Bound::AtLeast(self.of_stored)),
            Metric::new(WALL, Compare::TimesCheaper),
            Metric::new(WAL, Compare::TimesCheaper),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["all stored"]
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let database = server.database(self.name);
        let mut session = database.connect();
        let mut fleet = Fleet::register(&mut session);
        prefill(&mut session, &mut fleet, &[FACTS], PREFILLED);
        session.exec("CHECKPOINT");
        Box::new(Flushes {
            meter: Meter::new(server.cluster()),
            fleet,
            session,
            one_in: self.one_in,
            refused: 0,
            _database: database,
        })
    }
}

struct Flushes {
    meter: Meter,
    fleet: Fleet,
    session: Session,
    one_in: usize,
    refused: usize,
    _database: Database,
}

impl Flushes {
    /// Stages and flushes; each `one_in`-th row of a COPY is bad, or none.
    fn flush(&mut self, one_in: Option<usize>) -> Cost {
        for _ in 0..ROWS / COPY_ROWS {
            let mut readings = self.fleet.send(COPY_ROWS);
            if let Some(one_in) = one_in {
                for reading in readings.iter_mut().step_by(one_in) {
                    reading.attribute_id = UNKNOWN;
                    self.refused += 1;
                }
            }
            Payload::new(Format::Binary, &readings).copy(&mut self.session, STAGING);
        }
        let ((), cost) = self.meter.measure(&mut self.session, |session| {
            session.exec("SELECT telemetry.stage_flush()")
        });
        cost
    }
}

impl Run for Flushes {
    fn ours(&mut self) -> Sample {
        self.flush(Some(self.one_in)).per_row(ROWS)
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        self.flush(None).per_row(ROWS)
    }

    fn verify(&mut self) {
        let found = self
            .session
            .number("SELECT count(*) FROM telemetry.entity_values_rejected");
        assert_eq!(found, self.refused as i64, "rows in rejected");
    }
}
