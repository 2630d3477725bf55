//! One side of a comparison of flushes: a session that moves what is in a staging table to facts.

use cluster_tests::{Database, Session};
use postgres::Statement;

use crate::copy_format::{Format, Payload};
use crate::cost::{Cost, Meter};
use crate::readings::Fleet;
use crate::twin::STAGING;

/// Rows of one COPY into staging: each COPY has a time of its own, as those of a fleet do.
const COPY_ROWS: usize = 1000;

pub struct Side {
    session: Session,
    staging: String,
    facts: String,
    /// In facts, once all that was staged is flushed.
    expected: i64,
    flush: Statement,
}

impl Side {
    /// `flush` is a statement that moves everything; it is prepared here, once.
    pub fn new(database: &Database, staging: &str, facts: &str, flush: &str) -> Side {
        let mut session = database.connect();
        let prepared = session.client().prepare(flush);
        Side {
            expected: session.number(&format!("SELECT count(*) FROM {facts}")),
            session,
            staging: staging.to_owned(),
            facts: facts.to_owned(),
            flush: prepared.unwrap_or_else(|error| panic!("{flush}: {error:?}")),
        }
    }

    pub fn stage(&mut self, fleet: &mut Fleet, rows: usize) {
        self.expected += rows as i64;
        stage(&mut self.session, fleet, &self.staging, rows);
    }

    pub fn flush(&mut self, meter: &mut Meter) -> Cost {
        let (done, cost) = meter.measure(&mut self.session, |session| {
            session.client().execute(&self.flush, &[])
        });
        done.unwrap_or_else(|error| panic!("flush of {}: {error:?}", self.staging));
        cost
    }

    pub fn vacuum(&mut self, meter: &mut Meter) -> Cost {
        let vacuum = format!("VACUUM {}", self.staging);
        let ((), cost) = meter.measure(&mut self.session, |session| session.exec(&vacuum));
        cost
    }

    /// A flush that leaves rows behind is no flush.
    pub fn verify(&mut self) {
        for (table, rows) in [(&self.staging, 0), (&self.facts, self.expected)] {
            let found = self.session.number(&format!("SELECT count(*) FROM {table}"));
            assert_eq!(found, rows, "rows in {table}");
        }
    }
}

/// The same rows into all tables, in the order in which they came.
pub fn prefill(session: &mut Session, fleet: &mut Fleet, tables: &[&str], rows: usize) {
    session.exec(&format!(
        "CREATE UNLOGGED TABLE prefill (LIKE {STAGING} INCLUDING DEFAULTS)"
    ));
    stage(session, fleet, "prefill", rows);
    for table in tables {
        session.exec(&format!("INSERT INTO {table} SELECT * FROM prefill"));
    }
    session.exec("DROP TABLE prefill");
}

fn stage(session: &mut Session, fleet: &mut Fleet, table: &str, rows: usize) {
    for _ in 0..rows / COPY_ROWS {
        Payload::new(Format::Binary, &fleet.send(COPY_ROWS)).copy(session, table);
    }
}
