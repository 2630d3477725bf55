//! One side of a comparison of flushes: a session that moves what is in a staging table to facts.

use cluster_tests::{Database, Session};
use postgres::Statement;

use crate::copy_format::{Format, Payload};
use crate::cost::{Cost, Meter};
use crate::readings::Fleet;
use crate::twin::{FACTS, STAGING};
use crate::warm;

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

/// A staged row with its line pointer takes less, a page header and what is left over at its end included.
const BYTES_OF_ROW: usize = 110;

impl Side {
    /// The flush of the extension, of whatever was staged through one door.
    pub fn ours(database: &Database, door: &str) -> Side {
        Side::new(database, door, FACTS, "SELECT telemetry.stage_flush()")
    }

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

    /// See there: the database has buffers that were filled.
    pub fn touch_buffers(&mut self) {
        warm::touch_buffers(&mut self.session);
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

    pub fn flush_unmeasured(&mut self) {
        let done = self.session.client().execute(&self.flush, &[]);
        done.unwrap_or_else(|error| panic!("flush of {}: {error:?}", self.staging));
    }

    /// So many batches, one after another; what all flushes cost.
    pub fn stage_and_flush(
        &mut self,
        meter: &mut Meter,
        fleet: &mut Fleet,
        rows: usize,
        batches: usize,
    ) -> Cost {
        let mut cost = Cost::default();
        for _ in 0..batches {
            self.stage(fleet, rows);
            cost += self.flush(meter);
        }
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

    /// The size of the staging table, in pages.
    pub fn pages(&mut self) -> i64 {
        let size = format!(
            "SELECT pg_relation_size('{}') / current_setting('block_size')::int",
            self.staging
        );
        self.session.number(&size)
    }

    /// A flush that leaves its dead rows to somebody else has not told its whole price.
    pub fn verify_size(&mut self, most_rows: usize) {
        let bytes = self
            .session
            .number(&format!("SELECT pg_relation_size('{}')", self.staging));
        let most = most_rows * BYTES_OF_ROW;
        assert!(
            bytes as usize <= most,
            "{} has {bytes} bytes, not {most} at most",
            self.staging
        );
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
