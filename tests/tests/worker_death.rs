//! How workers end: killed, crashed, or on the way down of the server; and what comes back.

use std::time::Duration;

use cluster_tests::readings::{DOORS, attribute, everywhere, facts, stage, wait_for_facts};
use cluster_tests::{Cluster, SOON, Stop, Writer, eventually, within, workers};

const FAST_SHUTDOWN: Duration = Duration::from_secs(3);

// --- death of a worker

#[test]
fn a_terminated_worker_comes_back() {
    let (database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    let cluster = database.cluster();
    for kind in ["flusher", "keeper"] {
        let before = workers::pids(cluster, database.name(), kind);
        assert_eq!(before.len(), 1, "{kind}");
        session.exec(&format!("SELECT pg_terminate_backend({})", before[0]));
        eventually(SOON, &format!("another {kind}"), || {
            let now = workers::pids(cluster, database.name(), kind);
            if now.len() == 1 && now != before {
                Ok(())
            } else {
                Err(now)
            }
        });
    }
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    wait_for_facts(&mut session, 10);
}

#[test]
fn a_terminated_launcher_comes_back() {
    let cluster = Cluster::builder().preload().start();
    let launcher = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_telemetry launcher'";
    let mut session = cluster.connect("postgres");
    let before = eventually(SOON, "a launcher", || {
        session.column(launcher).pop().ok_or("none")
    });
    session.exec(&format!("SELECT pg_terminate_backend({before})"));
    eventually(SOON, "another launcher", || match session.column(launcher) {
        now if now.len() == 1 && now[0] != before => Ok(()),
        now => Err(now),
    });
    let database = cluster.create_database("later");
    let _session = database.install();
    workers::wait_for_start(&cluster, "later");
}

#[test]
fn a_cancelled_task_is_tried_again() {
    let (database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    let flusher = workers::flusher(database.cluster(), database.name());
    // The flush waits for this lock; the row stays in staging when it is cancelled.
    let mut blocker = database.connect();
    blocker.exec("BEGIN; LOCK entity_values_ts");
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    eventually(SOON, "the flusher waits for the lock", || {
        let waiting = format!("SELECT count(*) FROM pg_locks WHERE pid = {flusher} AND NOT granted");
        if session.number(&waiting) > 0 {
            Ok(())
        } else {
            Err(())
        }
    });
    session.exec(&format!("SELECT pg_cancel_backend({flusher})"));
    blocker.exec("COMMIT");
    wait_for_facts(&mut session, 10);
}

#[test]
fn a_killed_worker_restarts_the_server_and_everything_resumes() {
    let cluster = Cluster::builder().preload().durable().start();
    let database = cluster.create_database("killed");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest", id, 1, 100);
    wait_for_facts(&mut session, 100);
    let flusher = workers::wait_for_start(&cluster, "killed");
    stage(&mut session, "entity_values_ingest_durable", id, 101, 200);
    cluster.kill_process(flusher);
    let mut session = database.connect();
    wait_for_facts(&mut session, 200);
    stage(&mut session, "entity_values_ingest", id, 201, 300);
    wait_for_facts(&mut session, 300);
}

#[test]
fn a_crashed_server_resumes_with_all_that_is_durable() {
    let cluster = Cluster::builder().preload().durable().start();
    let database = cluster.create_database("crashed");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    for round in 0..3 {
        let writer = Writer::start(&database, id, round * 1_000_000);
        let before = facts(&mut session).0;
        eventually(SOON, "the flush is under way", || {
            if facts(&mut session).0 > before {
                Ok(())
            } else {
                Err(())
            }
        });
        cluster.crash();
        let acknowledged = writer.finish();
        cluster.start();
        session = database.connect();
        let since = format!(
            "SELECT count(*) FROM entity_values_ts WHERE entity_id BETWEEN {first} AND {first} + {acknowledged} - 1",
            first = round * 1_000_000
        );
        eventually(SOON, "every acknowledged row is a fact", || {
            match session.number(&since) {
                rows if rows == acknowledged => Ok(()),
                rows => Err((rows, acknowledged)),
            }
        });
        let (rows, entities) = everywhere(&mut session);
        assert_eq!(rows, entities, "a row came twice");
    }
}

// --- shutdown

#[test]
fn a_fast_shutdown_in_mid_flush_is_quick_and_loses_nothing() {
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("stopped");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    workers::wait_for_start(&cluster, "stopped");
    // Far more than can be flushed within the time.
    for (door, first) in DOORS.into_iter().zip([1, 400_001]) {
        stage(&mut session, door, id, first, first + 399_999);
    }
    eventually(SOON, "the flush has begun", || {
        if facts(&mut session).0 > 0 {
            Ok(())
        } else {
            Err(())
        }
    });
    // The checkpoint of a stop depends on the machine; this leaves only our part of it.
    session.exec("CHECKPOINT");
    within(FAST_SHUTDOWN, "a fast shutdown", || cluster.stop(Stop::Fast));
    cluster.set("pg_telemetry.background_workers", "off");
    cluster.start();
    assert_eq!(everywhere(&mut database.connect()), (800_000, 800_000));
}

#[test]
fn a_fast_shutdown_does_not_wait_for_a_slow_flush() {
    let (database, mut session) = workers::running();
    let cluster = database.cluster();
    workers::slow_down(&mut session, workers::flusher(cluster, "ours"));
    session.exec("CHECKPOINT");
    within(FAST_SHUTDOWN, "a fast shutdown", || cluster.stop(Stop::Fast));
    cluster.set("pg_telemetry.background_workers", "off");
    cluster.start();
    assert_eq!(everywhere(&mut database.connect()), (50, 50));
}

#[test]
fn a_planned_stop_flushes_what_is_waiting() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.flush_interval", "60s")
        .start();
    let database = cluster.create_database("last_flush");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    workers::wait_for_start(&cluster, "last_flush");
    let flushes = "SELECT coalesce(sum(runs_total), 0) FROM worker_status WHERE task = 'flush'";
    eventually(SOON, "the first flush", || {
        if session.number(flushes) > 0 {
            Ok(())
        } else {
            Err(())
        }
    });
    for (door, first) in DOORS.into_iter().zip([1, 1001]) {
        stage(&mut session, door, id, first, first + 999);
    }
    assert_eq!(facts(&mut session).0, 0, "nothing was flushed before the stop");
    drop(session);
    cluster.stop(Stop::Fast);
    cluster.set("pg_telemetry.background_workers", "off");
    cluster.start();
    assert_eq!(facts(&mut database.connect()), (2000, 2000));
}

#[test]
fn a_smart_shutdown_does_not_wait_for_workers() {
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("smart");
    drop(database.install());
    workers::wait_for_start(&cluster, "smart");
    within(FAST_SHUTDOWN, "a smart shutdown without sessions", || {
        cluster.stop(Stop::Smart)
    });
}
