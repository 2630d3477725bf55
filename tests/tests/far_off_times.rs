//! Rows for times without a partition: inside the accepted window they make it, so many at a time, and none of them is lost.

use cluster_tests::readings::{DOORS, attribute, everywhere, facts, stage, wait_for_facts};
use cluster_tests::{Cluster, NULL, SOON, Session, Stop, eventually};

#[test]
fn ten_thousand_times_over_a_week_of_hours_make_so_many_partitions_a_flush() {
    let cluster = Cluster::builder()
        .set("pg_telemetry.partition_interval", "hour")
        .start();
    let database = cluster.create_database("hours");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    for (door, first) in DOORS.into_iter().zip([0, 10_000]) {
        // Every 60.47 seconds: each hour of the week has some, and none is outside of it.
        session.exec(&format!(
            "INSERT INTO {door} (tenant_id, entity_id, ingested_at, attribute_id, value_num)
             SELECT 1, {first} + n, now() - (n * 60.47 + 1) * interval '1 second', {id}, 0 FROM generate_series(1, 10000) n"
        ));
        let leaves = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'entity_values_ts'::regclass";
        let mut flushes = 0;
        loop {
            let before = session.number(leaves);
            let stored = session.number("SELECT stage_flush()");
            flushes += 1;
            let made = session.number(leaves) - before;
            let last = session
                .rows(
                    "SELECT rows_waiting, waiting_reason, rows_flushed, partitions_created FROM last_flush()",
                )
                .swap_remove(0);
            assert_eq!(last[2..], [stored.to_string(), made.to_string()]);
            assert!(made <= 100, "{made} partitions in one flush");
            assert_eq!(everywhere(&mut session).0, first + 10_000);
            if last[0] == "0" {
                assert_eq!(last[1], NULL);
                break;
            }
            assert!(last[1].contains("more than 100 partitions"), "{last:?}");
            assert!(flushes < 5, "{last:?}");
        }
        // The second door finds the partitions of the first.
        assert_eq!(flushes, if first == 0 { 2 } else { 1 }, "{door}");
        assert_eq!(facts(&mut session), (first + 10_000, first + 10_000));
    }
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 0);
}

/// Facts end `days` ago, and one row an hour waits since then, the newest first.
fn stand_still(session: &mut Session, id: i64, days: i64) {
    session.exec(&format!(
        "INSERT INTO entity_values_ingest_durable (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         SELECT 1, n, now() - n * interval '1 hour', {id}, 0 FROM generate_series(0, {days} * 24 - 1) n;
         TRUNCATE entity_values_ts;
         CREATE TABLE telemetry.last_one (LIKE entity_values_ts INCLUDING ALL);
         ALTER TABLE telemetry.last_one OWNER TO telemetry_owner"
    ));
    session.exec(&format!(
        "DO $$
         DECLARE day timestamp := date_trunc('day', now() AT TIME ZONE 'UTC') - {days} * interval '1 day';
         BEGIN
             EXECUTE format('ALTER TABLE entity_values_ts ATTACH PARTITION telemetry.last_one FOR VALUES FROM (%L) TO (%L)',
                            day || '+00', day + interval '1 day' || '+00');
             EXECUTE format('INSERT INTO entity_values_ts VALUES (1, 1000000, %L, NULL, 0, NULL, {id}, NULL)', day || '+00');
         END $$"
    ));
}

#[test]
fn what_waited_while_nobody_flushed_is_not_too_old() {
    let cluster = Cluster::builder()
        .set("pg_telemetry.flush_batch_rows", 1000)
        .start();
    let database = cluster.create_database("standstill");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    stand_still(&mut session, id, 60);
    let rows = 60 * 24;
    let mut fresh = database.connect();
    assert_eq!(fresh.number("SELECT stage_flush()"), rows, "in several batches");
    assert_eq!(facts(&mut fresh), (rows + 1, rows + 1));
    // From then on a row of that age is too old, for this session and for others.
    for mut session in [fresh, database.connect()] {
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
             VALUES (1, 1, now() - interval '10 days', {id}, 0)"
        ));
        assert_eq!(session.number("SELECT stage_flush()"), 0);
    }
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 2);
}

#[test]
fn after_a_restart_workers_know_from_facts_how_long_nobody_flushed() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.background_workers", "off")
        .set("pg_telemetry.flush_workers", 2)
        .set("pg_telemetry.flush_batch_rows", 1000)
        .start();
    let database = cluster.create_database("restarted");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    stand_still(&mut session, id, 60);
    drop(session);
    cluster.stop(Stop::Fast);
    cluster.start();
    cluster.set_and_reload("pg_telemetry.background_workers", "on");
    let mut session = database.connect();
    wait_for_facts(&mut session, 60 * 24 + 1);
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 0);
}

#[test]
fn what_waited_for_a_lock_is_not_too_old() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.accept_past", "60s")
        .start();
    let database = cluster.create_database("locked");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, DOORS[1], id, 1, 1);
    wait_for_facts(&mut session, 1);
    session.exec("BEGIN; LOCK TABLE entity_values_ts IN ACCESS EXCLUSIVE MODE");
    let mut writer = database.connect();
    let mut write = |entity: i64, age: i64| {
        writer.exec(&format!(
            "INSERT INTO entity_values_ingest_durable (tenant_id, entity_id, ingested_at, attribute_id, value_num)
             VALUES (1, {entity}, now() - interval '{age} s', {id}, 0)"
        ));
    };
    // Young enough when it comes, and too old by the clock when the lock is gone.
    write(2, 58);
    std::thread::sleep(std::time::Duration::from_secs(4));
    session.exec("COMMIT");
    wait_for_facts(&mut session, 2);
    // One that comes too old is refused as ever. An idle flusher looks every few seconds, and what comes in between may have waited since.
    write(3, 120);
    eventually(SOON, "it is refused", || {
        match session.number("SELECT count(*) FROM entity_values_rejected") {
            1 => Ok(()),
            seen => Err(seen),
        }
    });
}
