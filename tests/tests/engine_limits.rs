//! What the fast way of the flush leaves to the server, waits for, or is bounded by.

use std::fs;
use std::time::Duration;

use cluster_tests::readings::{DOORS, attribute, facts, ready, stage};
use cluster_tests::{Cluster, Session};

/// Flushes, in vain, and says whether that took a transaction id.
fn takes_an_id(session: &mut Session) -> bool {
    session.exec("BEGIN");
    assert_eq!(session.number("SELECT stage_flush()"), 0);
    let taken = session.is_true("SELECT pg_current_xact_id_if_assigned() IS NOT NULL");
    session.exec("COMMIT");
    taken
}

#[test]
fn rows_that_others_hold_cost_no_transaction_id() {
    let mut ready = ready();
    // The first flush of a session writes down that no crash is to be noticed.
    ready.session.exec("SELECT stage_flush()");
    for door in DOORS {
        stage(&mut ready.session, door, ready.temperature, 1, 10);
        for locks in ["FOR UPDATE", "FOR KEY SHARE"] {
            let mut holder = ready.database.connect();
            let mut second = ready.database.connect();
            for session in [&mut holder, &mut second] {
                session.exec("BEGIN");
                session.exec(&format!("SELECT FROM {door} {locks} SKIP LOCKED"));
            }
            // That rows wait is written down once, a second after whatever was written before.
            std::thread::sleep(Duration::from_millis(1100));
            takes_an_id(&mut ready.session);
            for _ in 0..5 {
                assert!(!takes_an_id(&mut ready.session), "{door} {locks}");
            }
            holder.exec("COMMIT");
            second.exec("COMMIT");
        }
        assert_eq!(ready.session.number("SELECT stage_flush()"), 10);
        ready.session.exec("TRUNCATE entity_values_ts");
    }
}

#[test]
fn rows_that_the_flushing_transaction_holds_are_taken() {
    let mut ready = ready();
    for door in DOORS {
        for locks in ["FOR UPDATE", "FOR SHARE"] {
            stage(&mut ready.session, door, ready.temperature, 1, 10);
            let mut other = ready.database.connect();
            other.exec("BEGIN");
            other.exec(&format!("SELECT FROM {door} WHERE entity_id = 1 FOR KEY SHARE"));
            ready.session.exec("BEGIN");
            ready
                .session
                .exec(&format!("SELECT FROM {door} {locks} SKIP LOCKED"));
            ready.session.exec(&format!(
                "SAVEPOINT s; SELECT FROM {door} FOR NO KEY UPDATE SKIP LOCKED"
            ));
            // The row that somebody else has as well is left to the next flush.
            assert_eq!(ready.session.number("SELECT stage_flush()"), 9, "{door} {locks}");
            ready.session.exec("COMMIT");
            other.exec("COMMIT");
            assert_eq!(ready.session.number("SELECT stage_flush()"), 1, "{door} {locks}");
            assert_eq!(facts(&mut ready.session), (10, 10));
            ready.session.exec("TRUNCATE entity_values_ts");
        }
    }
}

#[test]
fn facts_that_are_partitioned_in_another_way_get_their_rows_from_the_server() {
    let mut ready = ready();
    let session = &mut ready.session;
    session.exec(
        "CREATE TABLE other (LIKE entity_values_ts INCLUDING DEFAULTS) PARTITION BY RANGE (ingested_at, tenant_id);
         CREATE TABLE other_all PARTITION OF other FOR VALUES FROM (MINVALUE, MINVALUE) TO ('infinity', 1000);
         ALTER TABLE other OWNER TO telemetry_owner;
         ALTER TABLE other_all OWNER TO telemetry_owner;
         DROP TABLE entity_values_ts;
         ALTER TABLE other RENAME TO entity_values_ts",
    );
    for door in DOORS {
        stage(session, door, ready.temperature, 1, 100);
        assert_eq!(session.number("SELECT stage_flush()"), 100, "{door}");
        assert_eq!(facts(session), (100, 100));
        session.exec("TRUNCATE entity_values_ts");
    }
}

#[test]
fn a_door_that_may_not_delete_does_not_stop_the_other() {
    let cluster = Cluster::builder().set("wal_level", "logical").start();
    let mut session = cluster.create_database("published").install();
    let id = attribute(&mut session, "temperature", "number");
    session.exec(&format!("CREATE PUBLICATION p FOR TABLE {}", DOORS[1]));
    stage(&mut session, DOORS[1], id, 1, 10);
    stage(&mut session, DOORS[0], id, 11, 20);
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    let reason = session.text("SELECT waiting_reason FROM last_flush()");
    assert!(
        reason.contains("replica identity") && reason.contains("55000"),
        "{reason}"
    );
    session.exec(&format!("ALTER TABLE {} REPLICA IDENTITY FULL", DOORS[1]));
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    assert_eq!(facts(&mut session), (20, 20));
}

/// Kilobytes of a process that it does not share.
fn memory(pid: i32, what: &str) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status
        .lines()
        .find(|line| line.starts_with(what))
        .expect("a line of status");
    line.split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

#[test]
fn a_batch_takes_no_more_memory_than_it_may() {
    let cluster = Cluster::builder()
        .set("shared_buffers", "1MB")
        .set("pg_telemetry.flush_batch_rows", 10_000_000)
        .set("pg_telemetry.flush_memory", "16MB")
        .start();
    let mut session = cluster.create_database("memory").install();
    let id = attribute(&mut session, "temperature", "number");
    let text = attribute(&mut session, "remark", "text");
    let mut flusher = cluster.connect("memory");
    stage(&mut session, DOORS[0], id, 1, 1000);
    assert_eq!(flusher.number("SELECT stage_flush()"), 1000);
    let before = memory(flusher.pid(), "VmRSS");
    stage(&mut session, DOORS[0], id, 1001, 500_000);
    session.exec(&format!(
        "INSERT INTO {} (tenant_id, entity_id, attribute_id, value_text)
         SELECT 1, entity, {text}, repeat('x', 1000) FROM generate_series(500001, 550000) AS entity",
        DOORS[0]
    ));
    assert_eq!(flusher.number("SELECT stage_flush()"), 549_000);
    assert_eq!(facts(&mut session), (550_000, 550_000));
    let more = memory(flusher.pid(), "VmHWM") - before;
    println!("{more} kB");
    // What the server itself takes comes on top.
    assert!(more < 19 << 10, "{more} kB");
}
