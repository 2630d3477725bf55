//! When workers start and when they do not: with CREATE and DROP EXTENSION, without slots, in special modes.
//! Standbys and versions have files of their own.

use cluster_tests::readings::{DOORS, attribute, everywhere, facts, stage, wait_for_facts};
use cluster_tests::{Cluster, SOON, Session, Stop, Writer, eventually, workers};

// --- start

#[test]
fn workers_start_by_themselves_in_any_database_with_the_extension() {
    let cluster = Cluster::builder().preload().start();
    for name in ["one", "Another Name", "größe"] {
        let database = cluster.create_database(name);
        let mut session = database.install();
        let id = attribute(&mut session, "temperature", "number");
        for (door, first) in DOORS.into_iter().zip([1, 101]) {
            stage(&mut session, door, id, first, first + 99);
        }
        wait_for_facts(&mut session, 200);
    }
}

#[test]
fn no_worker_runs_where_the_extension_is_not() {
    let (database, _session) = workers::running();
    let cluster = database.cluster();
    let without = cluster.create_database("without");
    let later = cluster.create_database("later");
    let _session = later.install();
    workers::wait_for_start(cluster, later.name());
    for name in [without.name(), "postgres", "template1"] {
        assert_eq!(workers::kinds(cluster, name), Vec::<String>::new());
    }
}

#[test]
fn workers_start_again_with_the_server() {
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("restarted");
    let id = attribute(&mut database.install(), "temperature", "number");
    workers::wait_for_start(&cluster, "restarted");
    for (round, how) in [Stop::Fast, Stop::Smart, Stop::Immediate].into_iter().enumerate() {
        cluster.restart(how);
        let mut session = database.connect();
        stage(
            &mut session,
            "entity_values_ingest",
            id,
            round as i64,
            round as i64,
        );
        wait_for_facts(&mut session, round as i64 + 1);
    }
}

#[test]
fn an_install_that_is_rolled_back_starts_nothing() {
    let (database, _session) = workers::running();
    let cluster = database.cluster();
    let undone = cluster.create_database("undone");
    let mut session = undone.connect();
    session.exec("BEGIN; CREATE EXTENSION pg_telemetry; ROLLBACK");
    // When another install was noticed, so was this one.
    let later = cluster.create_database("later");
    let _session = later.install();
    workers::wait_for_start(cluster, later.name());
    assert_eq!(workers::kinds(cluster, undone.name()), Vec::<String>::new());
    session.exec("CREATE EXTENSION pg_telemetry");
    workers::wait_for_start(cluster, undone.name());
    assert_eq!(workers::complaints(&cluster.log()), Vec::<String>::new());
}

// --- DROP EXTENSION

#[test]
fn workers_stop_on_drop_extension_without_complaint() {
    let (database, mut session) = workers::running();
    session.exec("DROP EXTENSION pg_telemetry");
    workers::wait_for_end(database.cluster(), database.name());
    assert_eq!(workers::complaints(database.log()), Vec::<String>::new());
}

#[test]
fn a_drop_that_is_rolled_back_changes_nothing() {
    let (database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    session.exec("BEGIN; DROP EXTENSION pg_telemetry; ROLLBACK");
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    wait_for_facts(&mut session, 10);
    workers::wait_for_start(database.cluster(), database.name());
}

#[test]
fn a_drop_in_mid_flush_loses_nothing() {
    let (database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    let writer = Writer::start(&database, id, 1);
    let flushed = |session: &mut Session, more_than: i64| {
        eventually(SOON, "the flush goes on", || match facts(session).0 {
            rows if rows > more_than => Ok(rows),
            rows => Err(rows),
        })
    };
    let mut rows = flushed(&mut session, 0);
    for _ in 0..5 {
        session.exec("DROP EXTENSION pg_telemetry");
        session.exec("CREATE EXTENSION pg_telemetry SCHEMA telemetry");
        rows = flushed(&mut session, rows);
    }
    let written = writer.finish();
    wait_for_facts(&mut session, written);
    assert_eq!(workers::complaints(database.log()), Vec::<String>::new());
}

#[test]
fn a_drop_waits_for_the_flush_that_is_under_way() {
    let (database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    let mut blocker = database.connect();
    blocker.exec("BEGIN; LOCK entity_values_ts");
    stage(&mut session, "entity_values_ingest_durable", id, 1, 10);
    let waits = |session: &mut Session, pid: i32, what: &str| {
        let waiting = format!("SELECT locktype FROM pg_locks WHERE pid = {pid} AND NOT granted");
        eventually(SOON, what, || match session.column(&waiting).pop() {
            Some(locktype) => Ok(locktype),
            None => Err("it does not wait"),
        })
    };
    let flusher = workers::flusher(database.cluster(), "ours");
    waits(&mut session, flusher, "the flush waits for the table");
    let drop = database.background_sql("DROP EXTENSION pg_telemetry");
    let waited_for = waits(&mut session, drop.pid(), "DROP EXTENSION waits for the flush");
    assert_eq!(waited_for, "object");
    blocker.exec("COMMIT");
    drop.join().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(everywhere(&mut session), (10, 10));
    workers::wait_for_end(database.cluster(), "ours");
}

#[test]
fn a_hundred_creates_and_drops_leave_nothing_behind() {
    let (database, mut session) = workers::running();
    for _ in 0..100 {
        session.exec("DROP EXTENSION pg_telemetry");
        session.exec("CREATE EXTENSION pg_telemetry SCHEMA telemetry");
    }
    workers::wait_for_start(database.cluster(), database.name());
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    wait_for_facts(&mut session, 10);
    session.exec("DROP EXTENSION pg_telemetry");
    workers::wait_for_end(database.cluster(), database.name());
    assert_eq!(workers::complaints(database.log()), Vec::<String>::new());
}

// --- limits and modes

#[test]
fn missing_worker_slots_are_reported_and_not_fatal() {
    // One for the launcher, one for logical replication's launcher, none for us.
    let cluster = Cluster::builder()
        .preload()
        .set("max_worker_processes", 2)
        .start();
    let database = cluster.create_database("crowded");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    eventually(SOON, "worker_status names the shortage", || {
        let rows = session.rows("SELECT worker, state, detail, hint FROM worker_status");
        let named = rows
            .iter()
            .any(|row| row[1] == "missing" && row[3].contains("max_worker_processes"));
        if named { Ok(()) } else { Err(rows) }
    });
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    let warnings = cluster.log().lines_with("max_worker_processes");
    assert!(warnings.len() <= 2, "the log is flooded: {warnings:#?}");
    drop(session);
    cluster.set("max_worker_processes", 20);
    cluster.restart(Stop::Fast);
    let mut session = database.connect();
    stage(&mut session, "entity_values_ingest", id, 11, 20);
    wait_for_facts(&mut session, 20);
}

#[test]
fn pg_upgrade_mode_is_inert() {
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("upgraded");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    workers::wait_for_start(&cluster, "upgraded");
    drop(session);
    cluster.stop(Stop::Fast);
    let log = cluster.log_mark();
    cluster.start_with(&["-b"]);
    let mut session = database.connect();
    stage(&mut session, "entity_values_ingest_durable", id, 1, 10);
    // Nothing has to happen here, so wait for what would have: the launcher comes up with the server.
    for _ in 0..20 {
        let ours = "SELECT backend_type FROM pg_stat_activity WHERE backend_type LIKE 'pg_telemetry%'";
        assert_eq!(session.column(ours), Vec::<String>::new());
        session.exec("SELECT pg_sleep(0.02)");
    }
    assert_eq!(facts(&mut session).0, 0);
    assert_eq!(workers::complaints(&log), Vec::<String>::new());
    drop(session);
    cluster.restart(Stop::Fast);
    wait_for_facts(&mut database.connect(), 10);
}
