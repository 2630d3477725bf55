//! Alerts about partitions, vacuum and the server, each by what it is about: it fires with the right remedy, and is over after that.

use std::sync::Arc;
use std::time::Duration;

use cluster_tests::alerts::{Alert, do_as_told, evaluate_until, health, install, rows, tune, wait_until};
use cluster_tests::readings::{DOORS, attribute, stage, wait_for_facts};
use cluster_tests::{Builder, Cluster, Database, SOON, Session, eventually, shared, workers};

const AT_ONCE: &str = "for_duration = '0', keep_for = '0'";

/// A server of its own, whose autovacuum stands still. Nobody looks but the test.
struct Quiet {
    cluster: Arc<Cluster>,
    database: Database,
    session: Session,
}

fn quiet(builder: Builder) -> Quiet {
    let cluster = builder.set("autovacuum", "off").start();
    let database = cluster.create_database("fleet");
    let session = install(&database);
    Quiet {
        cluster,
        database,
        session,
    }
}

fn partitions_ahead(session: &mut Session) -> Vec<String> {
    session.column("SELECT partition FROM partition_state WHERE starts_at > now() ORDER BY starts_at")
}

#[test]
fn partitions_that_are_missing_ahead_and_a_gap_between_them() {
    let database = shared::database();
    let mut session = install(&database);
    for alert in ["partition_coverage", "partition_gap"] {
        tune(&mut session, alert, AT_ONCE);
    }
    session.exec("SELECT evaluate_alerts()");
    let ahead = partitions_ahead(&mut session);
    session.exec(&format!("DROP TABLE {}", ahead[1]));
    let gap = evaluate_until(&mut session, "partition_gap", "firing");
    assert!(gap.detail.contains("the first begins in"), "{gap:?}");
    do_as_told(&database, &gap);
    evaluate_until(&mut session, "partition_gap", "resolved");
    assert_eq!(partitions_ahead(&mut session).len(), ahead.len());

    for partition in &ahead {
        session.exec(&format!("DROP TABLE {partition}"));
    }
    let missing = evaluate_until(&mut session, "partition_coverage", "firing");
    assert_eq!(missing.severity, "critical");
    assert!(missing.detail.contains("are wanted"), "{missing:?}");
    assert!(health(&mut session).1.contains("partition_coverage"));
    do_as_told(&database, &missing);
    evaluate_until(&mut session, "partition_coverage", "resolved");
    assert_eq!(health(&mut session).0, 0);
}

#[test]
fn readings_in_a_default_partition() {
    let database = shared::database();
    let mut session = install(&database);
    tune(&mut session, "partition_default", AT_ONCE);
    session.exec(
        "CREATE TABLE other PARTITION OF entity_values_ts DEFAULT;
         INSERT INTO entity_values_ts (tenant_id, entity_id, ingested_at, attribute_id, value_num) VALUES (1, 1, '2040-01-01', 1, 1);
         ANALYZE other",
    );
    let default = evaluate_until(&mut session, "partition_default", "firing");
    assert_eq!(default.object, "telemetry.other");
    do_as_told(&database, &default);
    evaluate_until(&mut session, "partition_default", "resolved");
}

#[test]
fn autovacuum_that_is_held_back_by_an_open_transaction() {
    let Quiet {
        cluster,
        database,
        mut session,
    } = quiet(Cluster::builder());
    tune(&mut session, "autovacuum_behind", AT_ONCE);
    session.exec("INSERT INTO entities (tenant_id, entity_id) SELECT 1, n FROM generate_series(1, 30000) n");
    session.exec("VACUUM ANALYZE entities");
    let mut holder = database.connect();
    holder.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM entities");
    session.exec("DELETE FROM entities");
    cluster.clock().set_ahead(7 * 3600);
    // Dead rows cannot be removed, and that is explained by who keeps them.
    session.exec("VACUUM entities");
    let behind = evaluate_until(&mut session, "autovacuum_behind", "silenced");
    assert_eq!(behind.object, "telemetry.entities");
    assert_eq!(behind.suppressed_by, "horizon_held", "{behind:?}");
    let held = evaluate_until(&mut session, "horizon_held", "firing");
    assert!(held.object.contains(&holder.pid().to_string()), "{held:?}");
    assert!(
        held.run
            .contains(&format!("pg_terminate_backend({})", holder.pid())),
        "{held:?}"
    );
    let idle = evaluate_until(&mut session, "idle_in_transaction", "firing");
    assert_eq!(idle.severity, "critical");
    assert_eq!(idle.object, format!("process {}", holder.pid()));
    do_as_told(&database, &held);
    evaluate_until(&mut session, "horizon_held", "resolved");
    evaluate_until(&mut session, "idle_in_transaction", "resolved");
    // Now it is for autovacuum alone.
    let behind = evaluate_until(&mut session, "autovacuum_behind", "firing");
    assert!(behind.detail.contains("autovacuum is off for it"), "{behind:?}");
    do_as_told(&database, &behind);
    evaluate_until(&mut session, "autovacuum_behind", "resolved");
}

#[test]
fn an_index_that_nobody_builds_and_a_partition_that_cannot_be_sealed() {
    let Quiet {
        cluster,
        database,
        mut session,
    } = quiet(Cluster::builder().set("pg_telemetry.accept_past", "1000d"));
    for alert in ["fact_index_incomplete", "partition_stuck"] {
        tune(&mut session, alert, &format!("warn = 1, {AT_ONCE}"));
    }
    let id = attribute(&mut session, "temperature", "number");
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num, ingested_at)
         VALUES (1, 1, {id}, 1, now() - interval '60 days')"
    ));
    session.exec("SELECT stage_flush()");
    session.exec("UPDATE partition_state SET made_late = false");
    cluster.set_and_reload("pg_telemetry.accept_past", "1h");
    // Sealed first, which ends well and would make an end of failures.
    session.exec("CALL run_worker('janitor', '3 s')");
    session.exec("SELECT set_retention('45 days')");
    session.exec("SELECT add_fact_index('{tenant_id, value_num}', index_name => 'by_value')");
    let incomplete = evaluate_until(&mut session, "fact_index_incomplete", "firing");
    assert_eq!(incomplete.object, "by_value");
    assert!(incomplete.run.contains("fact_indexes"), "{incomplete:?}");
    // Somebody keeps the old partition from going.
    let mut holder = database.connect();
    holder
        .exec("BEGIN; SELECT count(*) FROM entity_values_ts WHERE ingested_at < now() - interval '50 days'");
    session.fails_with("55P03", "CALL run_worker('janitor', '0')");
    let stuck = evaluate_until(&mut session, "partition_stuck", "firing");
    assert!(stuck.detail.contains("has held a lock"), "{stuck:?}");
    let shown = session.rows(&stuck.run).swap_remove(0);
    assert!(shown[4].contains(&holder.pid().to_string()), "{shown:?}");
    holder.exec("COMMIT");
    session.exec("UPDATE partition_state SET next_try_at = NULL");
    session.exec("CALL run_worker('janitor', '8 s')");
    evaluate_until(&mut session, "partition_stuck", "resolved");
    evaluate_until(&mut session, "fact_index_incomplete", "resolved");
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ts"), 0);
}

#[test]
fn locks_and_connections_that_run_out() {
    let Quiet {
        cluster,
        database,
        mut session,
    } = quiet(
        Cluster::builder()
            .set("max_locks_per_transaction", 10)
            .set("max_connections", 12)
            .set("superuser_reserved_connections", 2)
            .set("max_wal_senders", 2)
            .set("pg_telemetry.premake", 20),
    );
    tune(&mut session, "connections_used", AT_ONCE);
    session.exec("SELECT rotate_partitions()");
    let locks = evaluate_until(&mut session, "partition_locks", "firing");
    assert_eq!(locks.object, "facts");
    assert!(locks.detail.contains("locks"), "{locks:?}");
    let mut others: Vec<Session> = (0..8).map(|_| database.connect()).collect();
    let used = evaluate_until(&mut session, "connections_used", "firing");
    assert!(
        used.object.starts_with("server") || used.object.starts_with("cluster"),
        "{used:?}"
    );
    others.clear();
    evaluate_until(&mut session, "connections_used", "resolved");
    // The remedy counts after a restart; once is not enough where so little was there.
    do_as_told(&database, &locks);
    drop(session);
    cluster.set("max_connections", 40);
    cluster.restart(cluster_tests::Stop::Fast);
    evaluate_until(&mut database.connect(), "partition_locks", "resolved");
}

#[test]
fn what_time_alone_makes_bad() {
    let Quiet {
        cluster,
        database,
        mut session,
    } = quiet(Cluster::builder());
    let id = attribute(&mut session, "temperature", "number");
    session.exec("SELECT evaluate_alerts()");
    cluster.set_and_reload("max_connections", 90);
    session.exec("SELECT pause('new disk'), evaluate_alerts(), (SELECT count(*) FROM settings_pending)");
    stage(&mut session, DOORS[1], id, 1, 10);
    cluster.clock().set_ahead(5 * 3600);
    let clock = evaluate_until(&mut session, "clock_jumped", "firing");
    assert_eq!(clock.severity, "critical");
    assert!(clock.detail.contains("it was set ahead by 1800"), "{clock:?}");
    let paused = evaluate_until(&mut session, "flush_paused", "firing");
    assert_eq!(paused.severity, "critical");
    assert!(paused.detail.contains("new disk"), "{paused:?}");
    // That readings are old follows from it.
    let old = evaluate_until(&mut session, "staging_old", "silenced");
    assert_eq!(old.suppressed_by, "flush_paused");
    do_as_told(&database, &paused);
    evaluate_until(&mut session, "flush_paused", "resolved");
    session.exec("SELECT stage_flush()");
    let pending = evaluate_until(&mut session, "settings_pending", "firing");
    assert!(pending.detail.contains("max_connections"), "{pending:?}");
    let shown = session.rows(&pending.run).swap_remove(0);
    assert_eq!(shown[0], "max_connections", "{shown:?}");
    cluster.set_and_reload("max_connections", 100);
    evaluate_until(&mut session, "settings_pending", "resolved");
    tune(&mut session, "clock_jumped", "keep_for = '0'");
    evaluate_until(&mut session, "clock_jumped", "resolved");
}

#[test]
fn a_projection_that_waits_for_whoever_holds_its_row() {
    let database = shared::database();
    let mut session = install(&database);
    session.exec("SELECT register_attribute(1, 'temperature', 'number', is_hot => true)");
    tune(
        &mut session,
        "projection_late",
        &format!("warn = 1, critical = 1000, clear = 0.5, {AT_ONCE}"),
    );
    session.exec("SELECT ingest(1, 1, '{\"temperature\": 1}'), stage_flush()");
    session.exec("SELECT stage_flush()");
    let mut holder = database.connect();
    holder.exec("BEGIN; SELECT FROM entity_jsonb WHERE tenant_id = 1 AND entity_id = 1 FOR UPDATE");
    session.exec("SELECT ingest(1, 1, '{\"temperature\": 2}')");
    session.exec("SELECT stage_flush()");
    let late = evaluate_until(&mut session, "projection_late", "firing");
    assert!(late.detail.contains("readings or more"), "{late:?}");
    holder.exec("COMMIT");
    session.exec("SELECT stage_flush()");
    evaluate_until(&mut session, "projection_late", "resolved");
    assert_eq!(session.text("SELECT entity_latest(1, 1)"), "{\"temperature\": 2}");
}

#[test]
fn workers_whose_tasks_fail() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.alert_interval", "1s")
        .start();
    let database = cluster.create_database("fleet");
    let mut session = install(&database);
    workers::wait_for_start(&cluster, "fleet");
    for alert in ["task_failing", "flush_failing"] {
        tune(&mut session, alert, &format!("warn = 1, {AT_ONCE}"));
    }
    let id = attribute(&mut session, "temperature", "number");
    session.exec(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no disk' USING ERRCODE = '53100'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON entity_values_ts FOR EACH ROW EXECUTE FUNCTION refuse();
         CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON replication_heartbeat FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    cluster.set_and_reload("pg_telemetry.heartbeat", "always");
    stage(&mut session, DOORS[1], id, 1, 10);
    let flush = wait_until(&mut session, "flush_failing", "firing");
    assert_eq!(flush.object, "flusher 1");
    assert!(
        flush.detail.contains("53100: ") && flush.detail.contains("no disk"),
        "{flush:?}"
    );
    let task = wait_until(&mut session, "task_failing", "firing");
    assert_eq!(task.object, "keeper, heartbeat");
    assert!(task.detail.contains("no disk"), "{task:?}");
    session.exec("DROP TRIGGER refuse ON entity_values_ts; DROP TRIGGER refuse ON replication_heartbeat");
    cluster.reload();
    wait_until(&mut session, "flush_failing", "resolved");
    wait_until(&mut session, "task_failing", "resolved");
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ts"), 10);
}

#[test]
fn a_crash_that_took_readings() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.alert_interval", "1s")
        .start();
    let database = cluster.create_database("fleet");
    let mut session = install(&database);
    workers::wait_for_start(&cluster, "fleet");
    let id = attribute(&mut session, "temperature", "number");
    workers::pause(&mut session);
    stage(&mut session, DOORS[0], id, 1, 10);
    eventually(SOON, "the backlog is noted", || {
        match session.text("SELECT coalesce((SELECT rows_waiting FROM flush_state), 0)") {
            rows if rows == "10" => Ok(()),
            rows => Err((
                rows,
                session.rows("SELECT task, state, last_success_at, last_error, detail FROM worker_status WHERE task IN ('flush', 'keep_accounts', 'watch_alerts')"),
                session.rows("SELECT * FROM staging_backlog"),
            )),
        }
    });
    cluster.crash();
    cluster.start();
    let mut session = database.connect();
    let lost = wait_until(&mut session, "crash_lost_readings", "firing");
    assert!(lost.object.starts_with("crash "), "{lost:?}");
    assert!(lost.detail.contains("written from"), "{lost:?}");
    // Once somebody has had them sent again, it is said so.
    do_as_told(&database, &lost);
    let acknowledged = "SELECT acknowledged_by FROM telemetry_alerts WHERE alert = 'crash_lost_readings' AND object LIKE 'crash%'";
    assert_eq!(session.text(acknowledged), "postgres");
    session.exec("DELETE FROM crash_history");
    wait_until(&mut session, "crash_lost_readings", "resolved");
}

#[test]
fn staging_that_fills_faster_than_it_empties() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.alert_interval", "1s")
        .start();
    let database = cluster.create_database("fleet");
    let mut session = install(&database);
    workers::wait_for_start(&cluster, "fleet");
    for alert in ["disk_full", "blocking"] {
        tune(&mut session, alert, "enabled = false");
    }
    tune(&mut session, "staging_behind", AT_ONCE);
    let id = attribute(&mut session, "temperature", "number");
    // Nothing gets into facts.
    let mut holder = database.connect();
    holder.exec("BEGIN; LOCK TABLE entity_values_ts IN ACCESS EXCLUSIVE MODE");
    stage(&mut session, DOORS[0], id, 1, 120_000);
    let fires = |row: &Alert| row.object == "fast" && row.state == "firing";
    // Rates are known once the keeper has counted for a while.
    let behind = eventually(Duration::from_secs(60), "staging is behind", || {
        let rows = rows(&mut session, "staging_behind");
        rows.iter().find(|row| fires(row)).cloned().ok_or(rows)
    });
    assert_eq!(behind.severity, "critical");
    assert!(behind.detail.contains("0 go in a second"), "{behind:?}");
    assert!(
        behind
            .run
            .starts_with("ALTER SYSTEM SET pg_telemetry.flush_workers = 2;"),
        "{behind:?}"
    );
    do_as_told(&database, &behind);
    holder.exec("COMMIT");
    wait_until(&mut session, "staging_behind", "resolved");
    wait_for_facts(&mut session, 120_000);
}

#[test]
fn readings_that_somebody_has_locked() {
    let (database, mut session) = workers::running();
    database
        .cluster()
        .set_and_reload("pg_telemetry.alert_interval", "1s");
    tune(&mut session, "flush_held_back", AT_ONCE);
    let id = attribute(&mut session, "temperature", "number");
    workers::pause(&mut session);
    stage(&mut session, DOORS[1], id, 1, 10);
    let mut holder = database.connect();
    holder.exec(&format!(
        "BEGIN; SELECT FROM {} WHERE entity_id = 1 FOR UPDATE",
        DOORS[1]
    ));
    session.exec("SELECT resume()");
    wait_for_facts(&mut session, 9);
    let held = wait_until(&mut session, "flush_held_back", "firing");
    assert_eq!(held.object, "flusher 1");
    assert!(
        held.detail.contains("1 rows wait") && held.detail.contains("locked"),
        "{held:?}"
    );
    // The statement says the same of every flusher.
    let shown = session.rows(&held.run).swap_remove(0);
    assert!(shown[1].contains("locked"), "{shown:?}");
    holder.exec("COMMIT");
    wait_until(&mut session, "flush_held_back", "resolved");
    wait_for_facts(&mut session, 10);
}
