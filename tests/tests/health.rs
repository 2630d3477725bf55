//! health(): the number and the sentence, on every kind of node, for a probe that knows nothing else.

use std::time::Duration;

use cluster_tests::alerts::{health, install, tune};
use cluster_tests::readings::{DOORS, attribute, stage};
use cluster_tests::{Cluster, eventually, shared, workers};

#[test]
fn the_status_is_the_worst_of_what_fires() {
    let mut session = install(&shared::database());
    let id = attribute(&mut session, "temperature", "number");
    tune(&mut session, "staging_old", "enabled = false");
    tune(
        &mut session,
        "volatile_exposed",
        "warn = 1, for_duration = '0', keep_for = '0'",
    );
    tune(
        &mut session,
        "flush_paused",
        "warn = 'Infinity', critical = 0, for_duration = '0', keep_for = '0', clear = 0",
    );
    let columns = "SELECT status, firing, unknown, node_role, oldest_problem_since IS NOT NULL FROM health()";
    let mut row = |what: &str| {
        session.exec(what);
        session.exec("SELECT evaluate_alerts()");
        session.rows(columns).swap_remove(0).join(" ")
    };
    assert_eq!(row(""), "0 0 0 primary f");
    let staged = format!(
        "INSERT INTO {} (tenant_id, entity_id, attribute_id, value_num) VALUES (1, 1, {id}, 1)",
        DOORS[0]
    );
    assert_eq!(row(&staged), "1 1 0 primary t");
    // What is paused explains what is exposed.
    assert_eq!(row("SELECT pause()"), "2 1 0 primary t");
    assert_eq!(
        row("SELECT silence_alert('flush_paused', '1 hour')"),
        "0 0 0 primary f"
    );
    assert_eq!(row("SELECT resume()"), "1 1 0 primary t");
    assert_eq!(row("SELECT stage_flush()"), "0 0 0 primary f");
    let (_, summary) = health(&mut session);
    assert_eq!(summary, "ok: no alert fires");
}

#[test]
fn what_cannot_be_told_is_three() {
    let database = shared::database();
    let mut session = install(&database);
    session.exec("SELECT evaluate_alerts()");
    assert_eq!(health(&mut session).0, 0);
    session.exec("ALTER TABLE alert_state RENAME TO elsewhere");
    // Without the table nobody keeps anything: it is looked at when asked.
    session.exec("DELETE FROM alert_evaluations");
    assert_eq!(health(&mut session).0, 0);
    session.exec(
        "ALTER TABLE elsewhere RENAME TO alert_state; ALTER TABLE alert_state ALTER COLUMN value TYPE text",
    );
    session.exec("SELECT setup()");
    session.exec("INSERT INTO alert_evaluations (evaluated_at, evaluated_by) VALUES (now(), 'nobody')");
    session.exec("INSERT INTO alert_state (alert, object, phase, severity, value, since) VALUES ('blocking', 'x', 'firing', 'critical', 'many', now())");
    let row = session
        .rows("SELECT status, firing IS NULL, summary LIKE 'unknown: %' FROM health()")
        .swap_remove(0);
    assert_eq!(row, ["3", "t", "t"]);
    assert_eq!(
        session.column("SELECT DISTINCT state FROM telemetry_alerts"),
        ["unknown"]
    );
}

#[test]
fn it_tells_the_truth_from_the_first_moment_and_without_workers() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.alert_interval", "1s")
        .start();
    let database = cluster.create_database("first");
    // Before anybody has looked.
    let mut session = database.connect();
    session.exec("CREATE SCHEMA telemetry; CREATE EXTENSION pg_telemetry SCHEMA telemetry; SET search_path = telemetry");
    let (status, summary) = health(&mut session);
    assert!(
        status == 3 && summary.contains("not looked at since the server started"),
        "{summary}"
    );
    workers::wait_for_start(&cluster, "first");
    eventually(
        Duration::from_secs(60),
        "the keeper has looked",
        || match health(&mut session) {
            (0, _) => Ok(()),
            other => Err(other),
        },
    );
    // Turned off on purpose: nobody is expected to look, and all is looked at when asked.
    cluster.set_and_reload("pg_telemetry.background_workers", "off");
    workers::wait_for_end(&cluster, "first");
    eventually(
        Duration::from_secs(120),
        "it is looked at when asked",
        || match session
            .rows("SELECT status, checked_at >= statement_timestamp() FROM health()")
            .swap_remove(0)
        {
            row if row == ["0", "t"] => Ok(()),
            row => Err(row),
        },
    );
    let id = attribute(&mut session, "temperature", "number");
    tune(
        &mut session,
        "volatile_exposed",
        "critical = 1, for_duration = '1 minute'",
    );
    stage(&mut session, DOORS[0], id, 1, 5);
    assert_eq!(health(&mut session).0, 2);
}

#[test]
fn a_probe_gets_an_exit_code() {
    let mut session = install(&shared::database());
    // Under settings that sessions have, in a transaction that is about to fail, and in a serializable one.
    for before in [
        "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
        "BEGIN; SET LOCAL search_path = pg_temp",
        "BEGIN; SET LOCAL row_security = off; SET LOCAL statement_timeout = '10s'; SET LOCAL jit = off",
        "BEGIN; SET LOCAL standard_conforming_strings = off; SET LOCAL DateStyle = 'SQL, DMY'; SET LOCAL TimeZone = 'Asia/Kolkata'",
        "BEGIN; SET LOCAL force_parallel_mode = on",
    ] {
        if session.try_exec(before).is_err() {
            session.exec("ROLLBACK");
            continue;
        }
        assert_eq!(
            session.number("SELECT status FROM telemetry.health()"),
            0,
            "{before}"
        );
        assert!(
            session.number("SELECT count(*) FROM telemetry.telemetry_alerts") > 30,
            "{before}"
        );
        session.exec("ROLLBACK");
    }
}
