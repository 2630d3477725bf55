//! COPY into staging against a table that has the same columns and nothing else.

use cluster_tests::{Database, Session};

use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::copy_format::{Format, Payload};
use crate::cost::{CPU, Cost, Meter, WAL, WALL};
use crate::readings::Fleet;
use crate::server::Server;
use crate::twin::STAGING;

/// Few a round and many rounds: what disturbs one of them does not reach the median.
const COPIES: usize = 2;
const ROWS: usize = 10_000;

const BARE: &str = "bare";

pub struct CopyIntoStaging {
    name: &'static str,
    shows: &'static str,
    format: Format,
}

pub const BINARY: CopyIntoStaging = CopyIntoStaging {
    name: "copy_into_staging",
    shows: "binary COPY of 10,000 rows into staging",
    format: Format::Binary,
};

pub const TEXT: CopyIntoStaging = CopyIntoStaging {
    name: "copy_into_staging_text",
    shows: "text COPY of 10,000 rows into staging",
    format: Format::Text,
};

impl Case for CopyIntoStaging {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(CPU, Compare::TimesCheaper),
            // The same as 0.95 of its rate.
            Metric::new(WALL, Compare::TimesCheaper).ratio_goal(Bound::AtLeast(0.95)),
            Metric::new(WAL, Compare::SideBySide),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["a bare unlogged table"]
    }

    fn rounds(&self, wanted: usize) -> usize {
        10 * wanted
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let database = server.database(self.name);
        let mut session = database.connect();
        let mut fleet = Fleet::register(&mut session);
        session.exec(&format!(
            "CREATE UNLOGGED TABLE {BARE} (LIKE {STAGING} INCLUDING DEFAULTS)"
        ));
        let payloads = (0..COPIES)
            .map(|_| Payload::new(self.format, &fleet.send(ROWS)))
            .collect();
        Box::new(Copies {
            meter: Meter::new(server.cluster()),
            session,
            payloads,
            _database: database,
        })
    }
}

struct Copies {
    meter: Meter,
    session: Session,
    payloads: Vec<Payload>,
    _database: Database,
}

impl Copies {
    fn copy_into(&mut self, table: &str) -> Sample {
        let mut cost = Cost::default();
        for payload in &self.payloads {
            cost += self
                .meter
                .measure(&mut self.session, |session| payload.copy(session, table))
                .1;
        }
        // A file that grows from nothing, every time on both sides.
        self.session.exec(&format!("TRUNCATE {table}"));
        cost.per_row(COPIES * ROWS)
    }
}

impl Run for Copies {
    fn ours(&mut self) -> Sample {
        self.copy_into(STAGING)
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        self.copy_into(BARE)
    }
}
