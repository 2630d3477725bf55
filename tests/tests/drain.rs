//! drain(): everything that is staged reaches facts, or it says that it does not.

use std::time::{Duration, Instant};

use cluster_tests::readings::{attribute, facts, stage};
use cluster_tests::shared;

#[test]
fn both_doors_are_emptied_in_several_batches() {
    let database = shared::database();
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    assert!(session.is_true("SELECT drain()"), "nothing is staged yet");
    // The default batch has 100,000 rows.
    stage(&mut session, "entity_values_ingest", id, 1, 150_000);
    stage(&mut session, "entity_values_ingest_durable", id, 150_001, 150_010);
    assert!(session.is_true("SELECT drain()"));
    assert_eq!(facts(&mut session), (150_010, 150_010));
}

#[test]
fn rows_that_others_hold_keep_it_from_saying_empty() {
    let database = shared::database();
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    let mut holder = database.connect();
    holder.exec("BEGIN; SELECT 1 FROM entity_values_ingest WHERE entity_id = 3 FOR UPDATE");
    let start = Instant::now();
    assert!(!session.is_true("SELECT drain('200 ms')"));
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(facts(&mut session), (9, 9));
    holder.exec("COMMIT");
    assert!(session.is_true("SELECT drain('200 ms')"));
    assert_eq!(facts(&mut session), (10, 10));
}

#[test]
fn rows_that_are_committed_while_it_waits_are_moved_too() {
    let database = shared::database();
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest", id, 1, 1);
    let mut holder = database.connect();
    holder.exec("BEGIN");
    holder.exec("SELECT 1 FROM entity_values_ingest FOR UPDATE");
    let draining = database.background(|session| session.is_true("SELECT drain('30 s')"));
    stage(&mut session, "entity_values_ingest_durable", id, 2, 10);
    holder.exec("COMMIT");
    assert!(draining.join());
    assert_eq!(facts(&mut session), (10, 10));
}

#[test]
fn documents_that_are_behind_are_waited_for_and_said_to_be_so() {
    let database = shared::database();
    let mut session = database.install();
    session.exec("SELECT register_attribute(1, 'temperature', 'number', is_hot => true)");
    let mut holder = database.connect();
    holder.exec("BEGIN; INSERT INTO entity_jsonb (tenant_id, entity_id, as_of) VALUES (1, 3, now())");
    session.exec(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)
         SELECT 1, entity, attribute_id, 5 FROM generate_series(1, 4) entity, attributes",
    );
    let drain = |timeout: &str| database.psql(&format!("SELECT drain('{timeout}')"));
    let start = Instant::now();
    let said = drain("300 ms");
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!(
        said.stdout.contains("\n t\n"),
        "staging is empty: {}",
        said.stdout
    );
    assert!(said.stderr.contains("projection_pending"), "{}", said.stderr);
    assert_eq!(session.number("SELECT count(*) FROM projection_pending"), 1);
    // Who is paused does not wait for what cannot come.
    session.exec("SELECT pause()");
    let start = Instant::now();
    assert!(session.is_true("SELECT drain('1 min')"));
    assert!(start.elapsed() < Duration::from_secs(30));
    session.exec("SELECT resume()");
    let draining = database.background(|session| session.is_true("SELECT drain('30 s')"));
    holder.exec("ROLLBACK");
    assert!(draining.join());
    assert_eq!(session.number("SELECT count(*) FROM projection_pending"), 0);
    assert_eq!(session.text("SELECT entity_latest(1, 3)"), "{\"temperature\": 5}");
    assert_eq!(drain("10 s").stderr, "");
}

#[test]
fn a_timeout_must_be_a_time() {
    let database = shared::database();
    let mut session = database.install();
    assert!(
        session
            .fails_with("22023", "SELECT drain('-1 s')")
            .message
            .contains("timeout")
    );
    session.fails_with("22004", "SELECT drain(NULL)");
    session.exec("SET default_transaction_read_only = on");
    session.fails_with("25006", "SELECT drain()");
}
