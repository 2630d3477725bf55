//! Readings to feed a database with, and where they went.

use std::time::Instant;

use crate::database::Database;
use crate::session::Session;
use crate::shared;
use crate::wait::{SOON, eventually};

/// The two staging tables.
pub const DOORS: [&str; 2] = ["entity_values_ingest", "entity_values_ingest_durable"];

/// A database without workers, so that each flush is the test's own.
pub struct Ready {
    pub database: Database,
    pub session: Session,
    /// The id of a number.
    pub temperature: i64,
}

pub fn ready() -> Ready {
    let database = shared::database();
    let mut session = database.install();
    let temperature = attribute(&mut session, "temperature", "number");
    Ready {
        database,
        session,
        temperature,
    }
}

/// Registers an attribute of tenant 1 and returns its id.
#[track_caller]
pub fn attribute(session: &mut Session, name: &str, value_type: &str) -> i64 {
    session.number(&format!("SELECT register_attribute(1, '{name}', '{value_type}')"))
}

/// Stages one number for each entity from `first` to `last`.
#[track_caller]
pub fn stage(session: &mut Session, door: &str, attribute_id: i64, first: i64, last: i64) {
    session.exec(&format!(
        "INSERT INTO {door} (tenant_id, entity_id, attribute_id, value_num)
         SELECT 1, entity, {attribute_id}, entity / 10.0 FROM generate_series({first}, {last}) AS entity"
    ));
}

/// How many readings there are, and how many different entities they are about: equal when nothing came twice.
#[track_caller]
pub fn facts(session: &mut Session) -> (i64, i64) {
    counts(session, "entity_values_ts")
}

/// Waits until somebody, the workers most likely, has moved everything.
#[track_caller]
pub fn wait_for_facts(session: &mut Session, rows: i64) {
    eventually(SOON, &format!("{rows} facts"), || match facts(session) {
        seen if seen == (rows, rows) => Ok(()),
        seen => Err(seen),
    });
}

/// The same over all places where a reading can be: staging, facts and rejected.
#[track_caller]
pub fn everywhere(session: &mut Session) -> (i64, i64) {
    counts(
        session,
        "(SELECT entity_id FROM entity_values_ingest UNION ALL SELECT entity_id FROM entity_values_ingest_durable
          UNION ALL SELECT entity_id FROM entity_values_ts UNION ALL SELECT entity_id FROM entity_values_rejected)",
    )
}

#[track_caller]
fn counts(session: &mut Session, from: &str) -> (i64, i64) {
    let sql = format!("SELECT count(*), count(DISTINCT entity_id) FROM {from} AS readings");
    let row = session.rows(&sql).swap_remove(0);
    let number = |text: &str| text.parse().expect("count() is a number");
    (number(&row[0]), number(&row[1]))
}

/// Does what is left to do after promotions, so many entities at a time. It begins once all transactions have ended that were
/// open then, those of other databases too.
#[track_caller]
pub fn build_attributes(session: &mut Session, batch: i64) {
    let deadline = Instant::now() + SOON;
    loop {
        session.exec("SELECT stage_flush()");
        if session.number(&format!("SELECT build_attributes({batch})")) == 0 {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{:?}",
            session.rows("SELECT * FROM attribute_builds")
        );
    }
}
