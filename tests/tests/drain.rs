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
