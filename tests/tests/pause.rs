//! pause() and resume(): nothing is flushed in between, nothing is lost, and everybody can see why.

use std::time::Duration;

use cluster_tests::readings::{Ready, attribute, facts, ready, stage, wait_for_facts};
use cluster_tests::{NULL, SOON, Stop, eventually, workers};

#[test]
fn workers_stand_still_until_resume_across_a_restart() {
    let (database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    wait_for_facts(&mut session, 10);
    assert!(session.is_true("SELECT pause('new disk')"));
    assert!(!session.is_true("SELECT pause()"), "it was paused already");
    stage(&mut session, "entity_values_ingest", id, 11, 20);
    stage(&mut session, "entity_values_ingest_durable", id, 21, 30);
    let said = eventually(SOON, "worker_status says so", || {
        let row = session
            .rows("SELECT state, detail, hint FROM worker_status WHERE task = 'flush'")
            .swap_remove(0);
        if row[0] == "paused" { Ok(row) } else { Err(row) }
    });
    assert!(
        said[1].contains("postgres") && said[1].contains("new disk"),
        "{said:?}"
    );
    assert!(said[2].contains("resume()"), "{said:?}");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(facts(&mut session), (10, 10));
    let backlog = "SELECT door, rows_waiting, exposed_rows, paused_by, pause_reason, paused_at <= now() FROM staging_backlog";
    let expected = [
        ["fast", "10", "10", "postgres", "new disk", "t"],
        ["durable", "10", "0", "postgres", "new disk", "t"],
    ];
    assert_eq!(session.rows(backlog), expected);

    database.cluster().restart(Stop::Fast);
    workers::wait_for_start(database.cluster(), database.name());
    let mut session = database.connect();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(session.rows(backlog), expected);
    assert!(session.is_true("SELECT resume()"));
    wait_for_facts(&mut session, 30);
    assert!(!session.is_true("SELECT resume()"), "it was not paused");
    assert_eq!(
        session.text("SELECT DISTINCT paused_at FROM staging_backlog"),
        NULL
    );
}

#[test]
fn sql_callers_get_zero_and_the_reason_but_drain_fails() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    let mut admin = database.connect_as(&database.create_login(Some("telemetry_admin")));
    admin.exec("SET search_path = telemetry");
    // Undone with its transaction.
    admin.exec("BEGIN; SELECT pause(); ROLLBACK");
    stage(&mut session, "entity_values_ingest", temperature, 1, 10);
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    admin.exec("SELECT pause('maintenance')");
    assert!(session.is_true("SELECT drain()"), "nothing is staged");
    stage(&mut session, "entity_values_ingest", temperature, 11, 20);
    let mut other = database.connect();
    assert_eq!(other.number("SELECT stage_flush()"), 0);
    let reason = other.text("SELECT waiting_reason FROM last_flush()");
    assert!(
        reason.starts_with("paused by") && reason.ends_with(": maintenance"),
        "{reason}"
    );
    let failure = other.fails_with("55000", "SELECT drain()");
    assert!(failure.message.contains("maintenance"), "{failure}");
    assert!(failure.hint.contains("resume()"), "{failure}");
    assert_eq!(facts(&mut session), (10, 10));
    admin.exec("SELECT resume()");
    eventually(
        SOON,
        "a session that remembered the pause goes on",
        || match other.number("SELECT stage_flush()") {
            10 => Ok(()),
            rows => Err(rows),
        },
    );
    assert_eq!(facts(&mut session), (20, 20));
}

#[test]
fn a_reason_is_short_and_plain_and_the_caller_may_write() {
    let Ready { mut session, .. } = ready();
    for reason in ["repeat('x', 501)", "E'two\\nlines'"] {
        let failure = session.fails_with("22023", &format!("SELECT pause({reason})"));
        assert!(failure.message.contains("reason"), "{failure}");
    }
    session.exec("SELECT pause(repeat('x', 500)); SELECT pause(''); SELECT resume()");
    session.exec("SET default_transaction_read_only = on");
    session.fails_with("25006", "SELECT pause()");
    session.fails_with("25006", "SELECT resume()");
}

#[test]
fn what_was_rolled_back_is_not_remembered() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    session.exec("SELECT pause()");
    stage(&mut session, "entity_values_ingest", temperature, 1, 10);
    session.exec("BEGIN; SELECT resume(); SELECT stage_flush(); ROLLBACK");
    assert_eq!(session.number("SELECT stage_flush()"), 0);
    session.exec("SELECT resume()");
    session.exec("BEGIN; SELECT pause(); SELECT stage_flush(); ROLLBACK");
    assert_eq!(session.number("SELECT stage_flush()"), 10);
}

/// Without preload a session that flushes writes down what it has seen, in its own transaction.
#[test]
fn nobody_waits_for_a_transaction_that_flushed() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    stage(&mut session, "entity_values_ingest", temperature, 1, 10);
    session.exec("BEGIN");
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    assert!(session.is_true("SELECT seen_at IS NOT NULL FROM flush_state"));
    let mut other = database.connect();
    other.exec("SET statement_timeout = '3s'");
    assert!(other.is_true("SELECT pause('an open transaction is no obstacle')"));
    assert!(other.is_true("SELECT resume()"));
    assert!(other.is_true("SELECT pause()"));
    session.exec("COMMIT");
    stage(&mut session, "entity_values_ingest", temperature, 11, 20);
    assert_eq!(other.number("SELECT stage_flush()"), 0);
    assert!(other.is_true("SELECT resume()"));
    assert_eq!(other.number("SELECT stage_flush()"), 10);
}
