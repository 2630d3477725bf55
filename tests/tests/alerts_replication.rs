//! Alerts about standbys, slots and the archive, each by what it is about: it fires with the right remedy, and is over after that.

use std::sync::Arc;
use std::time::Duration;

use cluster_tests::alerts::{Alert, do_as_told, health, install, rows, tune, wait_until};
use cluster_tests::replicas::pair_with;
use cluster_tests::{Builder, Cluster, Database, SOON, Session, eventually, workers};

const AT_ONCE: &str = "for_duration = '0', keep_for = '0'";

fn often() -> Builder {
    Cluster::builder().set("pg_telemetry.alert_interval", "1s")
}

fn watched(builder: Builder) -> (Arc<Cluster>, Database, Session) {
    let cluster = builder.preload().start();
    let database = cluster.create_database("fleet");
    let session = install(&database);
    workers::wait_for_start(&cluster, "fleet");
    (cluster, database, session)
}

/// A row of the alert in this state, of this object.
#[track_caller]
fn wait_for(session: &mut Session, alert: &str, object: &str, state: &str) -> Alert {
    eventually(
        Duration::from_secs(40),
        &format!("{alert} of {object} is {state}"),
        || {
            let rows = rows(session, alert);
            match rows.iter().find(|row| row.object == object && row.state == state) {
                Some(row) => Ok(row.clone()),
                None => Err(rows),
            }
        },
    )
}

#[test]
fn a_logical_slot_that_was_left_behind() {
    let (_cluster, database, mut session) = watched(often().set("wal_level", "logical"));
    tune(
        &mut session,
        "slot_behind",
        &format!("warn = 3, critical = 1000, clear = 2, {AT_ONCE}"),
    );
    session.exec("SELECT pg_create_logical_replication_slot('feed', 'pgoutput')");
    session.exec("CREATE TABLE load AS SELECT n FROM generate_series(1, 10000) n");
    let behind = wait_for(&mut session, "slot_behind", "feed", "firing");
    assert_eq!(behind.severity, "warning");
    assert!(behind.detail.contains("not being read"), "{behind:?}");
    assert_eq!(behind.run, "SELECT pg_drop_replication_slot('feed');");
    // Its consumer comes back.
    eventually(SOON, "it is over", || {
        session.exec("SELECT pg_replication_slot_advance('feed', pg_current_wal_lsn())");
        match rows(&mut session, "slot_behind") {
            rows if rows.iter().any(|row| row.state == "resolved") => Ok(()),
            rows => Err(rows),
        }
    });
    // It does not.
    let behind = wait_for(&mut session, "slot_behind", "feed", "firing");
    do_as_told(&database, &behind);
    wait_for(&mut session, "slot_behind", "feed", "resolved");
}

#[test]
fn a_slot_that_runs_out_of_room_and_is_lost() {
    let (_cluster, database, mut session) = watched(
        often()
            .set("max_slot_wal_keep_size", "160MB")
            .set("max_wal_size", "64MB")
            .set("min_wal_size", "32MB"),
    );
    tune(&mut session, "slot_room", "keep_for = '0'");
    session.exec("SELECT pg_create_physical_replication_slot('left_behind', true)");
    let load =
        "SELECT pg_logical_emit_message(false, 'load', repeat('x', 500000)) FROM generate_series(1, 20)";
    // More than one load between two heartbeats, and the slot would be lost before anybody saw it fill.
    eventually(SOON, "a heartbeat", || {
        match session.number("SELECT count(*) FROM replication_heartbeat") {
            0 => Err("none yet"),
            _ => Ok(()),
        }
    });
    session.exec(load);
    eventually(SOON, "a rate is known", || {
        // A rate needs a minute; this is one that was seen.
        session.exec(
            "UPDATE replication_heartbeat SET written_at = written_at - interval '2 min' WHERE slot > 60",
        );
        match session.text("SELECT coalesce(seconds_left::text, '') FROM replication_slots_health") {
            left if left.is_empty() => Err(left),
            _ => Ok(()),
        }
    });
    tune(&mut session, "slot_room", "warn = 80000, clear = 85000");
    let room = wait_for(&mut session, "slot_room", "left_behind", "firing");
    assert!(!room.detail.is_empty(), "{room:?}");
    eventually(Duration::from_secs(60), "the slot is lost", || {
        session.exec(load);
        session.exec("SELECT pg_switch_wal()");
        session.exec("CHECKPOINT");
        match session.text("SELECT wal_status FROM pg_replication_slots") {
            status if status == "lost" => Ok(()),
            status => Err(status),
        }
    });
    let lost = wait_for(&mut session, "slot_lost", "left_behind", "firing");
    assert_eq!(lost.severity, "critical");
    assert_eq!(health(&mut session).0, 2);
    wait_for(&mut session, "slot_room", "left_behind", "resolved");
    do_as_told(&database, &lost);
    wait_for(&mut session, "slot_lost", "left_behind", "resolved");
}

#[test]
fn a_replica_that_is_cut_off() {
    let mut pair = pair_with(
        often()
            .set("wal_sender_timeout", "2s")
            .set("wal_receiver_timeout", "2s"),
    );
    let session = &mut pair.session;
    tune(session, "disk_full", "enabled = false");
    tune(session, "replica_cut", &format!("warn = 1, clear = 1, {AT_ONCE}"));
    session.exec("SELECT pg_create_physical_replication_slot('north_to_south', true)");
    pair.standby.set_and_reload("primary_slot_name", "north_to_south");
    eventually(SOON, "the standby takes its slot", || {
        match session.text("SELECT active FROM pg_replication_slots") {
            active if active == "t" => Ok(()),
            active => Err(active),
        }
    });
    wait_until(&mut pair.replica, "replica_disconnected", "ok");
    pair.wire.cut();
    let cut = wait_for(session, "replica_cut", "north_to_south", "firing");
    assert!(cut.detail.contains("are kept for it"), "{cut:?}");
    assert_eq!(cut.run, "SELECT pg_drop_replication_slot('north_to_south');");
    // Both ends say so, each for itself.
    let unheard = wait_until(&mut pair.replica, "replica_disconnected", "firing");
    assert_eq!(unheard.severity, "critical");
    eventually(SOON, "health() says so", || match health(&mut pair.replica) {
        (2, _) => Ok(()),
        other => Err(other),
    });
    let explained = rows(&mut pair.replica, "replica_stale");
    assert!(explained.iter().all(|row| row.state != "firing"), "{explained:?}");
    pair.wire.mend();
    wait_for(&mut pair.session, "replica_cut", "north_to_south", "resolved");
    // A standby has no memory of what was.
    wait_until(&mut pair.replica, "replica_disconnected", "ok");
}

#[test]
fn a_replica_whose_replay_is_paused() {
    let mut pair = pair_with(often());
    let session = &mut pair.session;
    tune(session, "disk_full", "enabled = false");
    tune(
        session,
        "replica_behind",
        &format!("warn = 2, critical = 1000, clear = 1.5, {AT_ONCE}"),
    );
    tune(session, "replica_stale", "warn = 2, critical = 1000, clear = 1.5");
    // The rules come to the standby as other rows do.
    session.exec("SELECT pg_switch_wal()");
    pair.standby.catch_up_with(&pair.primary);
    pair.replica.exec("SELECT pg_wal_replay_pause()");
    let behind = wait_until(session, "replica_behind", "firing");
    assert!(behind.detail.contains("not replayed"), "{behind:?}");
    let paused = wait_until(&mut pair.replica, "replay_paused", "firing");
    assert_eq!(paused.run, "SELECT pg_catalog.pg_wal_replay_resume();");
    // That the data are old follows from it.
    let stale = wait_until(&mut pair.replica, "replica_stale", "silenced");
    assert_eq!(stale.suppressed_by, "replay_paused");
    pair.replica.exec(&paused.run);
    wait_until(&mut pair.replica, "replay_paused", "ok");
    wait_until(&mut pair.replica, "replica_stale", "ok");
    wait_until(&mut pair.session, "replica_behind", "resolved");
}

#[test]
fn a_replica_that_was_told_to_lag() {
    let mut pair = pair_with(often());
    tune(&mut pair.session, "disk_full", "enabled = false");
    tune(
        &mut pair.session,
        "replica_stale",
        "warn = 2, critical = 1000, clear = 1.5",
    );
    pair.standby.catch_up_with(&pair.primary);
    wait_until(&mut pair.replica, "replica_stale", "ok");
    pair.standby.set_and_reload("recovery_min_apply_delay", "4s");
    let stale = wait_until(&mut pair.replica, "replica_stale", "firing");
    assert_eq!(stale.severity, "warning");
    assert!(!stale.detail.is_empty(), "{stale:?}");
    // The statement shows how old they are.
    assert!(!pair.replica.rows(&stale.run).is_empty());
    pair.standby.set_and_reload("recovery_min_apply_delay", "0");
    wait_until(&mut pair.replica, "replica_stale", "ok");
}

#[test]
fn commits_that_wait_for_a_standby_that_is_not_there() {
    let (cluster, database, mut session) = watched(often());
    tune(&mut session, "sync_standby_missing", AT_ONCE);
    session.exec("SET synchronous_commit = local");
    cluster.set_and_reload("synchronous_standby_names", "nobody");
    let missing = wait_until(&mut session, "sync_standby_missing", "firing");
    assert_eq!(missing.severity, "critical");
    assert!(missing.detail.contains("nobody"), "{missing:?}");
    do_as_told(&database, &missing);
    wait_until(&mut session, "sync_standby_missing", "resolved");
    // Commits go on.
    database.connect().exec("CREATE TABLE committed (n integer)");
}

#[test]
fn an_archive_that_takes_nothing_and_one_that_is_slow() {
    let (cluster, _database, mut session) =
        watched(often().set("archive_mode", "on").set("archive_command", "false"));
    tune(&mut session, "archiver_failing", "for_duration = '0'");
    tune(
        &mut session,
        "archiver_behind",
        &format!("warn = 3, clear = 2, {AT_ONCE}"),
    );
    wait_until(&mut session, "archiver_failing", "ok");
    let fill = |session: &mut Session| {
        session.exec("SELECT pg_logical_emit_message(true, 'load', 'x')");
        session.exec("SELECT pg_switch_wal()");
    };
    fill(&mut session);
    let failing = wait_until(&mut session, "archiver_failing", "firing");
    assert!(failing.detail.contains("failed last"), "{failing:?}");
    assert!(health(&mut session).1.contains("archiver_failing"));
    let shown = session.rows(&failing.run).swap_remove(0);
    assert!(shown[4].contains("archive_command"), "{shown:?}");
    // So long as nothing gets there, that it is behind is no news.
    for _ in 0..4 {
        fill(&mut session);
    }
    let behind = wait_until(&mut session, "archiver_behind", "silenced");
    assert_eq!(behind.suppressed_by, "archiver_failing");
    // It works again, and slowly.
    cluster.set_and_reload("archive_command", "sleep 3");
    fill(&mut session);
    wait_until(&mut session, "archiver_failing", "resolved");
    let behind = wait_until(&mut session, "archiver_behind", "firing");
    assert!(behind.detail.contains("wait"), "{behind:?}");
    cluster.set_and_reload("archive_command", "true");
    wait_until(&mut session, "archiver_behind", "resolved");
}
