//! The heartbeat: when it is written, how often, and at what cost.

use std::time::{Duration, Instant};

use cluster_tests::readings::stage;
use cluster_tests::{Cluster, SOON, Session, eventually, shared, workers};

fn beats(session: &mut Session) -> Vec<Vec<String>> {
    session
        .rows("SELECT written_at, wal_position, timeline, writer FROM replication_heartbeat WHERE slot = 0")
}

fn wait_for_beat(session: &mut Session, other_than: &[Vec<String>]) -> Vec<Vec<String>> {
    eventually(SOON, "another heartbeat", || match beats(session) {
        now if now.is_empty() || now == other_than => Err(now),
        now => Ok(now),
    })
}

#[test]
fn the_keeper_writes_it_while_somebody_replicates() {
    let primary = Cluster::builder().preload().start();
    let database = primary.create_database("beat");
    let mut session = database.install();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(beats(&mut session).len(), 0, "written though nobody replicates");
    let position = "SELECT pg_current_wal_insert_lsn()";
    let idle = session.text(position);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(session.text(position), idle, "an idle server writes WAL");

    session.exec("SELECT pg_create_physical_replication_slot('somebody')");
    let first = wait_for_beat(&mut session, &[]);
    wait_for_beat(&mut session, &first);
    assert_eq!(first[0][2], "1");
    let system = session.text("SELECT system_identifier FROM pg_control_system()");
    assert!(first[0][3].starts_with(&format!("{system}/")), "{first:?}");
    session.exec("SELECT pg_drop_replication_slot('somebody')");
    std::thread::sleep(Duration::from_millis(1200));
    let last = beats(&mut session);
    std::thread::sleep(Duration::from_millis(2200));
    assert_eq!(beats(&mut session), last);

    primary.set_and_reload("pg_telemetry.heartbeat", "always");
    let always = wait_for_beat(&mut session, &last);
    primary.set_and_reload("pg_telemetry.heartbeat", "off");
    drop(always);
    std::thread::sleep(Duration::from_millis(1200));
    let last = beats(&mut session);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(beats(&mut session), last);
}

/// Fixed rows, updated in place: after many beats the table is as large as after a few, and no index entry was added.
#[test]
fn it_does_not_bloat() {
    // Of its own: a long transaction in another database would keep dead rows here as well.
    let cluster = Cluster::builder().start();
    let database = cluster.create_database("bloat");
    let mut session = database.install();
    let beat = |session: &mut Session, times: i32| {
        session.exec("BEGIN; SELECT heartbeat(); COMMIT");
        for _ in 0..times {
            session.exec("SELECT heartbeat()");
        }
    };
    // All rows that there will ever be, as after a month.
    session.exec(
        "INSERT INTO replication_heartbeat (slot, written_at, wal_position, timeline, writer)
         SELECT n, now() - n * interval '1 h', '0/1', 1, 'nobody' FROM generate_series(0, 199) n",
    );
    beat(&mut session, 100);
    // Not the maps of free space and of visibility, which appear when autovacuum comes by.
    let size = "SELECT pg_relation_size('replication_heartbeat') + pg_indexes_size('replication_heartbeat')";
    let before = session.number(size);
    beat(&mut session, 2000);
    assert_eq!(session.number(size), before);
    assert_eq!(session.number("SELECT count(*) FROM replication_heartbeat"), 200);
    session.exec("SELECT pg_stat_force_next_flush()");
    let [updates, hot] = ["upd", "hot_upd"].map(|what| {
        session.number(&format!(
            "SELECT n_tup_{what} FROM pg_stat_user_tables WHERE relname = 'replication_heartbeat'"
        ))
    });
    assert!(
        updates > 2000 && hot * 100 >= updates * 99,
        "{hot} of {updates} are HOT"
    );
}

#[test]
fn its_position_lies_behind_all_that_was_committed_before_its_time() {
    let database = shared::database();
    let mut session = database.install();
    session.exec("CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    let before = session.text("SELECT pg_current_wal_insert_lsn()");
    let at = session.text("SELECT heartbeat()");
    assert!(session.is_true(&format!(
        "SELECT wal_position >= '{before}' AND wal_position <= pg_current_wal_insert_lsn() AND written_at = '{at}'
             AND written_at BETWEEN now() - interval '10 s' AND now()
         FROM replication_heartbeat WHERE slot = 0"
    )));
}

#[test]
fn it_is_refused_where_nothing_can_be_written_and_to_readers() {
    let database = shared::database();
    let mut session = database.install();
    session.exec("BEGIN READ ONLY");
    let failure = session.fails_with("25006", "SELECT heartbeat()");
    assert!(!failure.hint.is_empty());
    session.exec("ROLLBACK");
    session.exec("ALTER TABLE replication_heartbeat RENAME TO elsewhere");
    let failure = session.fails_with("55000", "SELECT heartbeat()");
    assert!(failure.message.contains("replication_heartbeat") && !failure.hint.is_empty());
    let mut reader = database.connect_as(&database.create_login(Some("telemetry_reader")));
    reader.fails_with("42501", "SELECT telemetry.heartbeat()");
}

/// The longest time between two beats.
fn longest_gap(session: &mut Session, watched: Duration) -> Duration {
    let position = "SELECT wal_position FROM replication_heartbeat WHERE slot = 0";
    let (start, mut last) = (Instant::now(), session.text(position));
    let (mut since, mut longest) = (start, Duration::ZERO);
    while start.elapsed() < watched {
        std::thread::sleep(Duration::from_millis(10));
        let now = session.text(position);
        longest = longest.max(since.elapsed());
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    longest
}

/// All that others do for the database waits for a lock, one task after the other; a standby must not see that.
#[test]
fn it_goes_on_while_all_other_work_is_held_up() {
    let (database, mut session) = workers::running();
    session.exec("SELECT pg_create_physical_replication_slot('somebody')");
    wait_for_beat(&mut session, &[]);
    let tables = session.column(
        "SELECT oid::regclass FROM pg_class
         WHERE relnamespace = 'telemetry'::regnamespace AND relkind IN ('r', 'p') AND relname <> 'replication_heartbeat'",
    );
    let mut holder = database.connect();
    holder.exec(&format!(
        "BEGIN; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
        tables.join(", ")
    ));
    // Now all of it is due.
    database.cluster().reload();
    let gap = longest_gap(&mut session, Duration::from_secs(15));
    println!("longest gap: {gap:?}");
    assert!(gap < Duration::from_millis(2000), "{gap:?}");
    let failing = session.column(
        "SELECT task FROM worker_status WHERE worker = 'keeper' AND last_error IS NOT NULL ORDER BY 1",
    );
    assert!(
        !failing.is_empty() && !failing.contains(&"heartbeat".to_owned()),
        "{failing:?}"
    );
    holder.exec("ROLLBACK");
}

#[test]
fn it_goes_on_during_a_long_vacuum_by_the_janitor() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.rejected_max_size", "2MB")
        // The vacuum makes a pause at nearly every page.
        .set("vacuum_cost_limit", 1)
        .set("vacuum_cost_delay", "100ms")
        .start();
    let database = cluster.create_database("slow");
    let mut session = database.install();
    session.exec("SELECT pg_create_physical_replication_slot('somebody')");
    wait_for_beat(&mut session, &[]);
    // Nobody knows attribute 0: all are rejected, the keeper removes the oldest, and the janitor is asked for a vacuum.
    stage(&mut session, "entity_values_ingest_durable", 0, 1, 40_000);
    let vacuum = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_telemetry janitor' AND wait_event = 'VacuumDelay'";
    eventually(SOON * 3, "the janitor vacuums", || match session.number(vacuum) {
        0 => Err("not yet"),
        _ => Ok(()),
    });
    let gap = longest_gap(&mut session, Duration::from_secs(6));
    println!("longest gap: {gap:?}");
    eventually(Duration::from_secs(2), "it vacuums still", || {
        match session.number(vacuum) {
            0 => Err("no more"),
            _ => Ok(()),
        }
    });
    assert!(gap < Duration::from_millis(2000), "{gap:?}");
}
