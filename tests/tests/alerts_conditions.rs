//! Real conditions on real servers: each makes its alert fire with the right remedy, and is gone again.

use std::process::Command;
use std::sync::Arc;

use cluster_tests::alerts::{Alert, evaluate_until, health, install, rows, tune, wait_until};
use cluster_tests::readings::{DOORS, attribute, stage};
use cluster_tests::{Cluster, Database, Session, SmallDisk, eventually, shared, workers};

/// A server whose keeper looks each second.
fn watched(name: &str) -> (Arc<Cluster>, Database, Session) {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.alert_interval", "1s")
        .start();
    let database = cluster.create_database(name);
    let session = install(&database);
    workers::wait_for_start(&cluster, name);
    (cluster, database, session)
}

#[track_caller]
fn is_well(session: &mut Session) {
    eventually(
        std::time::Duration::from_secs(60),
        "all is well again",
        || match health(session) {
            (0, _) => Ok(()),
            other => Err(other),
        },
    );
}

#[test]
fn a_backlog_behind_a_lock() {
    let (_cluster, database, mut session) = watched("backlog");
    let id = attribute(&mut session, "temperature", "number");
    tune(
        &mut session,
        "staging_old",
        "warn = 1, clear = 0.5, for_duration = '0', keep_for = '0'",
    );
    tune(&mut session, "blocking", "enabled = false");
    tune(
        &mut session,
        "flush_held_back",
        "for_duration = '0', keep_for = '0'",
    );
    is_well(&mut session);
    let mut blocker = database.connect();
    blocker.exec("BEGIN; LOCK TABLE entity_values_ts IN ACCESS EXCLUSIVE MODE");
    for door in DOORS {
        stage(&mut session, door, id, 1, 1000);
    }
    // The reason is told, and the age of what waits is explained by it.
    eventually(cluster_tests::SOON, "readings are old, and why", || {
        let old = rows(&mut session, "staging_old");
        let explained: Vec<&Alert> = old.iter().filter(|row| !row.suppressed_by.is_empty()).collect();
        if explained.len() == 2 { Ok(()) } else { Err(old) }
    });
    let (status, summary) = health(&mut session);
    assert!(status == 1 || status == 2, "{summary}");
    assert!(!summary.contains("staging_old"), "{summary}");
    for cause in ["flush_held_back", "flush_failing", "task_late", "worker_missing"] {
        tune(&mut session, cause, "enabled = false");
    }
    let old = wait_until(&mut session, "staging_old", "firing");
    assert!(old.detail.contains("1000 readings wait"), "{old:?}");
    blocker.exec("ROLLBACK");
    wait_until(&mut session, "staging_old", "resolved");
    is_well(&mut session);
}

#[test]
fn a_backlog_that_nobody_flushes() {
    let mut session = install(&shared::database());
    let id = attribute(&mut session, "temperature", "number");
    tune(
        &mut session,
        "staging_old",
        "warn = 0.2, for_duration = '0', keep_for = '0'",
    );
    stage(&mut session, DOORS[1], id, 1, 10);
    let old = evaluate_until(&mut session, "staging_old", "firing");
    assert_eq!(old.object, "durable");
    session.exec(&old.run);
    evaluate_until(&mut session, "staging_old", "resolved");
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ts"), 10);
}

#[test]
fn a_storm_of_rejected_readings() {
    let (_cluster, _database, mut session) = watched("storm");
    tune(&mut session, "reject_storm", "keep_for = '0'");
    let id = attribute(&mut session, "temperature", "number");
    // An attribute that nobody has registered.
    stage(&mut session, DOORS[0], id + 1000, 1, 50);
    stage(&mut session, DOORS[0], id, 51, 100);
    let storm = wait_until(&mut session, "reject_storm", "firing");
    assert_eq!(storm.severity, "critical");
    assert!(storm.detail.starts_with("50 readings rejected"), "{storm:?}");
    // What is to be run shows the reason.
    let reasons = session.rows(&storm.run);
    assert!(
        reasons[0][2].contains("attribute") && reasons[0][3] == "50",
        "{reasons:?}"
    );
    let (status, summary) = health(&mut session);
    assert!(status == 2 && summary.contains("reject_storm"), "{summary}");
    // Half of what came was refused; of much more it would be nothing.
    tune(
        &mut session,
        "reject_storm",
        "warn = 0.9, critical = 0.95, clear = 0.9",
    );
    wait_until(&mut session, "reject_storm", "resolved");
    is_well(&mut session);
}

#[test]
fn a_worker_for_which_there_is_no_slot() {
    let (cluster, database, mut session) = watched("slots");
    tune(
        &mut session,
        "worker_missing",
        "for_duration = '0', keep_for = '0'",
    );
    is_well(&mut session);
    // A second flusher, and no room for it: the launcher, a flusher and the keeper have theirs, and parallel workers of the server
    // take none of them.
    drop(session);
    cluster.set("max_worker_processes", 4);
    cluster.set("pg_telemetry.flush_workers", 4);
    cluster.restart(cluster_tests::Stop::Fast);
    let mut session = database.connect();
    let missing = eventually(
        std::time::Duration::from_secs(40),
        "some worker is missing",
        || {
            let rows = rows(&mut session, "worker_missing");
            match rows
                .iter()
                .find(|row| row.state == "firing" && row.detail.contains("max_worker_processes"))
            {
                Some(row) => Ok(row.clone()),
                None => Err(rows),
            }
        },
    );
    assert_eq!(missing.severity, "critical");
    assert!(
        missing.object.starts_with("flusher") || missing.object == "keeper",
        "{missing:?}"
    );
    assert!(matches!(health(&mut session).0, 2 | 3));
    cluster.set_and_reload("pg_telemetry.flush_workers", 1);
    is_well(&mut session);
}

#[test]
fn a_worker_that_is_stopped_is_late() {
    let (cluster, _database, mut session) = watched("stopped");
    is_well(&mut session);
    let flusher = workers::flusher(&cluster, "stopped");
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &flusher.to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    };
    signal("-STOP");
    tune(
        &mut session,
        "task_late",
        "warn = 0.2, critical = 0.3, clear = 0.2, keep_for = '0'",
    );
    // With such thresholds tasks that come once a minute are late as well.
    let of_flusher = |session: &mut Session, state: &str| {
        let rows = rows(session, "task_late");
        rows.into_iter()
            .find(|row| row.object == "flusher 1, flush" && row.state == state)
    };
    let late = eventually(cluster_tests::SOON, "the flusher is late", || {
        of_flusher(&mut session, "firing").ok_or(())
    });
    assert_eq!(late.run, format!("SELECT pg_terminate_backend({flusher});"));
    session.exec(&late.run);
    signal("-CONT");
    eventually(cluster_tests::SOON, "another flusher", || {
        match workers::pids(&cluster, "stopped", "flusher") {
            pids if pids.len() == 1 && pids[0] != flusher.to_string() => Ok(()),
            pids => Err(pids),
        }
    });
    eventually(cluster_tests::SOON, "the new one is not", || {
        of_flusher(&mut session, "resolved").ok_or(())
    });
}

#[test]
fn sessions_behind_a_forgotten_transaction() {
    let (_cluster, database, mut session) = watched("blocking");
    session.exec("CREATE TABLE public.wanted (n integer)");
    tune(
        &mut session,
        "blocking",
        "warn = 0.5, clear = 0.5, for_duration = '0', keep_for = '0'",
    );
    tune(
        &mut session,
        "idle_in_transaction",
        "warn = 0.5, clear = 0.5, keep_for = '0'",
    );
    let mut root = database.connect();
    root.exec("BEGIN; LOCK TABLE public.wanted");
    let waiting = database.background_sql("SELECT count(*) FROM public.wanted");
    let blocking = wait_until(&mut session, "blocking", "firing");
    assert_eq!(blocking.object, format!("process {}", root.pid()));
    assert!(
        blocking.detail.contains("1 sessions wait") && blocking.detail.contains("public.wanted"),
        "{blocking:?}"
    );
    let idle = wait_until(&mut session, "idle_in_transaction", "firing");
    assert_eq!((&idle.object, &idle.run), (&blocking.object, &blocking.run));
    session.exec(&blocking.run);
    waiting.join().expect("the way is free");
    wait_until(&mut session, "blocking", "resolved");
    wait_until(&mut session, "idle_in_transaction", "resolved");
    is_well(&mut session);
}

#[test]
fn a_sequence_near_its_end() {
    let mut session = install(&shared::database());
    tune(&mut session, "sequence_near_end", "keep_for = '0'");
    let sequence = session.text("SELECT pg_get_serial_sequence('attributes', 'attribute_id')");
    session.exec("CREATE SEQUENCE ours AS smallint; ALTER SEQUENCE ours OWNER TO telemetry_owner; SELECT setval('ours', 25000)");
    let near = evaluate_until(&mut session, "sequence_near_end", "firing");
    assert_eq!(
        (near.severity.as_str(), near.object.as_str()),
        ("warning", "telemetry.ours")
    );
    session.exec(&format!("SELECT setval('{sequence}', 2000000000)"));
    session.exec("SELECT evaluate_alerts()");
    let rows = rows(&mut session, "sequence_near_end");
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(
        rows.iter()
            .any(|row| row.severity == "critical" && row.detail.contains("attribute")),
        "{rows:?}"
    );
    assert_eq!(health(&mut session).0, 2);
    // What it says puts it right.
    session.exec(&near.run);
    session.exec(&format!("SELECT setval('{sequence}', 1)"));
    evaluate_until(&mut session, "sequence_near_end", "resolved");
    eventually(cluster_tests::SOON, "it is over", || {
        session.exec("SELECT evaluate_alerts()");
        match health(&mut session) {
            (0, _) => Ok(()),
            other => Err(other),
        }
    });
}

#[test]
fn a_disk_that_is_nearly_full() {
    let (cluster, _database, mut session) = watched("disk");
    let Some(disk) = SmallDisk::mount(&cluster, 16) else {
        return;
    };
    session.exec(&format!(
        "CREATE TABLESPACE small LOCATION '{}'",
        disk.path().display()
    ));
    // The others are on whatever disk the tests run on.
    session.exec("DELETE FROM alert_rules");
    tune(&mut session, "disk_full", "for_duration = '0', keep_for = '0'");
    for object in ["data directory", "WAL"] {
        session.exec(&format!(
            "SELECT silence_alert('disk_full', '1 hour', '{object}')"
        ));
    }
    let small = |session: &mut Session| {
        rows(session, "disk_full")
            .into_iter()
            .find(|row| row.object == "tablespace small")
    };
    assert_eq!(small(&mut session), None);
    session.exec(
        "CREATE TABLE ballast TABLESPACE small AS SELECT repeat('x', 1000) FROM generate_series(1, 12500)",
    );
    let full = eventually(cluster_tests::SOON, "it is nearly full", || {
        match small(&mut session) {
            Some(row) if row.state == "firing" => Ok(row),
            other => Err(other),
        }
    });
    assert!(full.detail.contains(" of 16 MB free"), "{full:?}");
    let (_, summary) = health(&mut session);
    assert!(summary.contains("disk_full (tablespace small)"), "{summary}");
    session.exec("DROP TABLE ballast; CHECKPOINT");
    eventually(cluster_tests::SOON, "there is room again", || {
        match small(&mut session) {
            Some(row) if row.state == "resolved" => Ok(()),
            other => Err(other),
        }
    });
    // The server must not outlive its tablespace.
    drop(session);
    cluster.stop(cluster_tests::Stop::Immediate);
}

#[test]
fn a_clock_that_is_set() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.alert_interval", "1s")
        .start();
    let database = cluster.create_database("clock");
    let mut session = install(&database);
    workers::wait_for_start(&cluster, "clock");
    tune(&mut session, "clock_jumped", "keep_for = '2 s'");
    is_well(&mut session);
    for (ahead, said) in [(100, "set ahead by 100 s"), (0, "set back by 100 s")] {
        cluster.clock().set_ahead(ahead);
        let jumped = eventually(cluster_tests::SOON, said, || {
            let rows = rows(&mut session, "clock_jumped");
            match rows
                .iter()
                .find(|row| row.state == "firing" && row.detail.contains(said))
            {
                Some(row) => Ok(row.clone()),
                None => Err(rows),
            }
        });
        assert_eq!(jumped.severity, "critical");
        wait_until(&mut session, "clock_jumped", "resolved");
    }
    is_well(&mut session);
}

#[test]
fn limits_and_settings_of_the_server() {
    let cluster = Cluster::builder()
        .set("max_connections", 16)
        .set("superuser_reserved_connections", 3)
        .start();
    let database = cluster.create_database("limits");
    let mut session = install(&database);
    tune(
        &mut session,
        "connections_used",
        "for_duration = '0', keep_for = '0'",
    );
    let crowd: Vec<Session> = (0..11).map(|_| database.connect()).collect();
    let used = evaluate_until(&mut session, "connections_used", "firing");
    assert_eq!(
        (used.object.as_str(), used.detail.as_str()),
        ("server", "12 of 13")
    );
    drop(crowd);
    evaluate_until(&mut session, "connections_used", "resolved");

    tune(&mut session, "settings_pending", "warn = 0, for_duration = '0'");
    cluster.set_and_reload("max_locks_per_transaction", 100);
    let pending = evaluate_until(&mut session, "settings_pending", "firing");
    assert_eq!(pending.detail, "max_locks_per_transaction");
    drop(session);
    cluster.restart(cluster_tests::Stop::Fast);
    let mut session = database.connect();
    evaluate_until(&mut session, "settings_pending", "resolved");
}

#[test]
fn partitions_that_are_not_as_they_should_be() {
    let mut session = install(&shared::database());
    for alert in ["partition_gap", "partition_default", "partition_locks"] {
        tune(&mut session, alert, "for_duration = '0', keep_for = '0'");
    }
    let id = attribute(&mut session, "temperature", "number");
    // The day after tomorrow goes missing.
    let victim = session.text(
        "SELECT partition FROM partition_health WHERE parent = 'facts' AND starts_at > now() + interval '1 day' ORDER BY starts_at LIMIT 1",
    );
    session.exec(&format!("DROP TABLE {victim}"));
    let gap = evaluate_until(&mut session, "partition_gap", "firing");
    session.exec(&gap.run);
    evaluate_until(&mut session, "partition_gap", "resolved");

    session.exec("CREATE TABLE rest PARTITION OF entity_values_ts DEFAULT");
    session.exec(&format!(
        "INSERT INTO entity_values_ts (tenant_id, entity_id, attribute_id, value_num, ingested_at)
         VALUES (1, 1, {id}, 1, now() + interval '1 year')"
    ));
    session.exec("ANALYZE rest");
    let default = evaluate_until(&mut session, "partition_default", "firing");
    assert_eq!(default.object, "telemetry.rest");
    session.exec(&default.run);
    evaluate_until(&mut session, "partition_default", "resolved");

    tune(&mut session, "partition_locks", "warn = 0.0001");
    assert!(
        rows(&mut session, "partition_locks")
            .iter()
            .all(|row| row.state == "ok"),
        "far from it"
    );
}
