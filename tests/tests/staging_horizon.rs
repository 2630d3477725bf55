//! Moved rows leave staging although snapshots are held, and whoever may look for them finds them.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cluster_tests::integrity::check_staging;
use cluster_tests::readings::{DOORS, attribute, facts, stage};
use cluster_tests::{Cluster, Session};

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class";

/// A server without workers and a database in it.
fn with_grace(grace: &str) -> (Arc<Cluster>, Session, i64) {
    let cluster = Cluster::builder()
        .set("pg_telemetry.reclaim_grace", grace)
        .set("max_prepared_transactions", 2)
        .set("autovacuum", "off")
        .start();
    let mut session = cluster.create_database("staged").install();
    session.exec("CREATE EXTENSION pageinspect SCHEMA public");
    let id = attribute(&mut session, "temperature", "number");
    (cluster, session, id)
}

fn pages(session: &mut Session, door: &str) -> i64 {
    session.number(&format!("SELECT pg_relation_size('{door}') / 8192"))
}

/// Rows that lie in the pages of a staging table, moved ones included.
fn tuples(session: &mut Session, door: &str) -> i64 {
    session.number(&format!(
        "SELECT count(*) FROM generate_series(0, pg_relation_size('{door}') / 8192 - 1) AS block,
             public.heap_page_items(public.get_raw_page('{door}', block::int)) WHERE lp_len > 0"
    ))
}

fn flush(session: &mut Session) -> i64 {
    session.number("SELECT stage_flush()")
}

/// Lets time pass as it does for a flusher, which looks again and again.
fn pass(session: &mut Session, time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        sleep(Duration::from_millis(20));
        flush(session);
    }
}

/// Flushes so many batches one after the other; the most pages that staging had.
fn flushes(session: &mut Session, door: &str, id: i64, batches: i64, rows: i64) -> i64 {
    let mut most = 0;
    for batch in 0..batches {
        stage(session, door, id, batch * rows + 1, (batch + 1) * rows);
        most = most.max(pages(session, door));
        assert_eq!(flush(session), rows);
    }
    session.exec("TRUNCATE entity_values_ts");
    most
}

#[test]
fn staging_is_no_larger_under_a_snapshot_of_somebody_who_does_not_look_at_it() {
    let (cluster, mut session, id) = with_grace("200ms");
    session.exec("DROP INDEX entity_values_ts_series_idx");
    for door in DOORS {
        let without = flushes(&mut session, door, id, 20, 10_000);
        let mut holder = cluster.connect("staged");
        holder.exec(SNAPSHOT);
        // What tells that a snapshot is old is a transaction since.
        flushes(&mut session, door, id, 1, 10_000);
        pass(&mut session, Duration::from_millis(400));
        let most = flushes(&mut session, door, id, 200, 10_000);
        assert!(
            most <= without + 2,
            "{door}: {most} pages, {without} without the snapshot"
        );
        holder.exec("COMMIT");
        check_staging(&mut session, door);
    }
}

#[test]
fn a_reader_finds_its_rows_for_as_long_as_it_looks() {
    let (cluster, mut session, id) = with_grace("0");
    for door in DOORS {
        stage(&mut session, door, id, 1, 1000);
        let mut reader = cluster.connect("staged");
        let mut writer = cluster.connect("staged");
        let sum = format!("SELECT count(*) || ' ' || sum(entity_id) FROM {door}");
        reader.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
        assert_eq!(reader.text(&sum), "1000 500500");
        // A writer in a transaction of its own, which never looks, is nobody who could miss something.
        writer.exec("BEGIN");
        stage(&mut writer, door, id, 900_001, 900_001);
        for batch in 1..=30 {
            stage(&mut session, door, id, batch * 1000 + 1, batch * 1000 + 1000);
            flush(&mut session);
            assert_eq!(reader.text(&sum), "1000 500500", "{door}");
        }
        let held = tuples(&mut session, door);
        assert!(held >= 31_000, "{door}: {held} rows");
        reader.exec("COMMIT");
        flush(&mut session);
        // Of a logged table whole pages are cleared.
        let left = tuples(&mut session, door);
        assert!(left < 150, "{door}: {left} rows");
        writer.exec("COMMIT");
        assert_eq!(flush(&mut session), 1);
        assert_eq!(facts(&mut session), (31_001, 31_001));
        session.exec("TRUNCATE entity_values_ts");
        check_staging(&mut session, door);
    }
}

#[test]
fn whoever_looks_within_the_grace_finds_its_rows() {
    let (cluster, mut session, id) = with_grace("3s");
    for door in DOORS {
        stage(&mut session, door, id, 1, 100);
        let mut reader = cluster.connect("staged");
        reader.exec(SNAPSHOT);
        for _ in 0..3 {
            flush(&mut session);
        }
        assert_eq!(tuples(&mut session, door), 100, "{door}");
        // From now on it has a lock, and nothing goes even after the grace.
        let count = format!("SELECT count(*) FROM {door}");
        assert_eq!(reader.number(&count), 100, "{door}");
        pass(&mut session, Duration::from_millis(3500));
        flush(&mut session);
        assert_eq!(reader.number(&count), 100, "{door}");
        reader.exec("COMMIT");

        // Who does not look within the grace is not waited for.
        stage(&mut session, door, id, 101, 200);
        reader.exec(SNAPSHOT);
        flush(&mut session);
        assert!(tuples(&mut session, door) >= 100, "{door}");
        pass(&mut session, Duration::from_millis(3500));
        flush(&mut session);
        assert_eq!(tuples(&mut session, door), 0, "{door}");
        for call in ["stage_flush()", "drain('1 s')"] {
            reader.exec("SAVEPOINT s");
            let failure = reader.fails_with("72000", &format!("SELECT {call}"));
            assert!(failure.hint.contains("READ COMMITTED"), "{failure}");
            reader.exec("ROLLBACK TO s");
        }
        reader.exec("COMMIT");
        flush(&mut reader);
        session.exec("TRUNCATE entity_values_ts");
    }
}

#[test]
fn a_session_that_dumps_counts_as_a_reader_from_the_start() {
    let (cluster, mut session, id) = with_grace("0");
    stage(&mut session, DOORS[0], id, 1, 100);
    let mut dump = cluster.connect("staged");
    dump.exec("SET application_name = 'pg_dump'");
    dump.exec(SNAPSHOT);
    flush(&mut session);
    flush(&mut session);
    assert_eq!(dump.number(&format!("SELECT count(*) FROM {}", DOORS[0])), 100);
}

#[test]
fn in_the_strict_mode_every_snapshot_counts() {
    let (cluster, mut session, id) = with_grace("-1");
    for door in DOORS {
        let mut holder = cluster.connect("staged");
        holder.exec(SNAPSHOT);
        for batch in 0..5 {
            stage(&mut session, door, id, batch * 100 + 1, batch * 100 + 100);
            flush(&mut session);
        }
        assert_eq!(tuples(&mut session, door), 500, "{door}");
        assert_eq!(flush(&mut holder), 0);
        assert_eq!(holder.number(&format!("SELECT count(*) FROM {door}")), 0);
        holder.exec("COMMIT");
        flush(&mut session);
        assert_eq!(tuples(&mut session, door), 0, "{door}");
        session.exec("TRUNCATE entity_values_ts");
    }
}

#[test]
fn open_transactions_that_hold_no_snapshot_hold_no_rows() {
    let (cluster, mut session, id) = with_grace("100ms");
    for door in DOORS {
        let mut other = cluster.connect("staged");
        other.exec("CREATE TABLE IF NOT EXISTS elsewhere (n int)");
        other.exec("BEGIN; INSERT INTO elsewhere VALUES (1)");
        other.exec("PREPARE TRANSACTION 'forgotten'");
        let mut idle = cluster.connect("staged");
        idle.exec("BEGIN; INSERT INTO elsewhere VALUES (2)");
        // One that stages and never ends.
        let mut writer = cluster.connect("staged");
        writer.exec("BEGIN");
        stage(&mut writer, door, id, 900_001, 900_001);
        flush(&mut session);
        pass(&mut session, Duration::from_millis(200));
        for batch in 0..5 {
            stage(&mut session, door, id, batch * 100 + 1, batch * 100 + 100);
            flush(&mut session);
            pass(&mut session, Duration::from_millis(150));
        }
        let left = tuples(&mut session, door);
        assert!(left < 150, "{door}: {left} rows");
        other.exec("ROLLBACK PREPARED 'forgotten'");
        session.exec("TRUNCATE entity_values_ts");
    }
}

#[test]
fn a_prepared_flush_holds_its_rows_until_it_has_ended() {
    let (cluster, mut session, id) = with_grace("0");
    for door in DOORS {
        for (end, left) in [("ROLLBACK", 100), ("COMMIT", 0)] {
            session.exec("TRUNCATE entity_values_ts");
            stage(&mut session, door, id, 1, 100);
            session.exec("BEGIN");
            assert_eq!(flush(&mut session), 100);
            session.exec("PREPARE TRANSACTION 'flush'");
            assert_eq!(flush(&mut session), 0);
            assert_eq!(
                cluster
                    .connect("staged")
                    .number(&format!("SELECT count(*) FROM {door}")),
                100
            );
            session.exec(&format!("{end} PREPARED 'flush'"));
            assert_eq!(flush(&mut session), left, "{door}");
            assert_eq!(facts(&mut session), (100, 100), "{door}");
            flush(&mut session);
            assert_eq!(tuples(&mut session, door), 0, "{door}");
        }
    }
}

#[test]
fn a_snapshot_taken_over_from_another_session_counts_for_who_looks_with_it() {
    let (cluster, mut session, id) = with_grace("1s");
    for door in DOORS {
        flush(&mut session);
        stage(&mut session, door, id, 1, 100);
        let mut exporter = cluster.connect("staged");
        exporter.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
        let snapshot = exporter.text("SELECT pg_export_snapshot()");
        let import = format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{snapshot}'");
        let count = format!("SELECT count(*) FROM {door}");
        let mut importer = cluster.connect("staged");
        importer.exec(&import);
        assert_eq!(importer.number(&count), 100);
        flush(&mut session);
        pass(&mut session, Duration::from_millis(1500));
        // It looks, in a transaction that is younger than the grace, with a snapshot that is not; and it writes there.
        importer.exec("COMMIT");
        importer.exec(&import);
        assert_eq!(importer.number(&count), 100, "{door}");
        stage(&mut importer, door, id, 101, 101);
        flush(&mut session);
        flush(&mut session);
        assert_eq!(importer.number(&count), 101, "{door}");
        importer.exec("ROLLBACK");
        flush(&mut session);
        assert_eq!(tuples(&mut session, door), 0, "{door}");
        // This session knows what it is too old for, whatever the age of its transaction.
        session.exec(&import);
        session.fails_with("72000", "SELECT stage_flush()");
        session.exec("ROLLBACK; TRUNCATE entity_values_ts");
    }
}

#[test]
fn rows_of_a_copy_that_was_rolled_back_are_cleared_at_once() {
    let (cluster, mut session, id) = with_grace("-1");
    let mut holder = cluster.connect("staged");
    holder.exec(SNAPSHOT);
    for door in DOORS {
        session.exec("BEGIN");
        stage(&mut session, door, id, 1, 1000);
        session.exec("ROLLBACK");
        flush(&mut session);
        assert_eq!(tuples(&mut session, door), 0, "{door}");
    }
}

/// Removing rows that a standby may be reading: without feedback its query is cancelled, with it the rows stay.
#[test]
fn readers_on_a_standby_are_never_cheated() {
    let primary = Cluster::builder()
        .set("pg_telemetry.reclaim_grace", "0")
        .set("autovacuum", "off")
        .start();
    let database = primary.create_database("staged");
    let mut session = database.install();
    session.exec("CREATE EXTENSION pageinspect SCHEMA public");
    let id = attribute(&mut session, "temperature", "number");
    let door = DOORS[1];
    let count = format!("SELECT count(*) FROM {door}");
    let standby = primary.standby();
    standby.set_and_reload("max_standby_streaming_delay", "0");

    stage(&mut session, door, id, 1, 1000);
    standby.catch_up_with(&primary);
    let mut reader = standby.connect("staged");
    reader.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
    assert_eq!(reader.number(&count), 1000);
    flush(&mut session);
    standby.catch_up_with(&primary);
    assert_eq!(reader.number(&count), 1000);
    flush(&mut session);
    assert_eq!(tuples(&mut session, door), 0);
    standby.catch_up_with(&primary);
    let failure = reader.try_rows(&count).expect_err("the rows are gone");
    assert!(["40001", ""].contains(&failure.code.as_str()), "{failure}");

    standby.set_and_reload("hot_standby_feedback", "on");
    standby.set_and_reload("wal_receiver_status_interval", "1");
    stage(&mut session, door, id, 1001, 2000);
    standby.catch_up_with(&primary);
    let mut reader = standby.connect("staged");
    reader.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
    assert_eq!(reader.number(&count), 1000);
    sleep(Duration::from_millis(2500));
    for _ in 0..3 {
        stage(&mut session, door, id, 2001, 3000);
        flush(&mut session);
        standby.catch_up_with(&primary);
        assert_eq!(reader.number(&count), 1000);
    }
    assert!(tuples(&mut session, door) >= 2000);
    // Nobody can read the fast door over there.
    stage(&mut session, DOORS[0], id, 1, 1000);
    flush(&mut session);
    flush(&mut session);
    assert_eq!(tuples(&mut session, DOORS[0]), 0);
    reader.exec("COMMIT");
    sleep(Duration::from_millis(2500));
    flush(&mut session);
    assert_eq!(tuples(&mut session, door), 0);
    standby.catch_up_with(&primary);
    assert_eq!(reader.number(&count), 0);
    check_staging(&mut session, door);
    let mut replica = standby.connect("staged");
    let on = |session: &mut Session| {
        session.text(&format!(
            "SELECT md5(string_agg(t::text, ',' ORDER BY entity_id)) FROM {door} t"
        ))
    };
    stage(&mut session, door, id, 1, 500);
    standby.catch_up_with(&primary);
    assert_eq!(on(&mut replica), on(&mut session));
}

/// A process knows of which pages it took every row. What happens to them afterwards must be seen: a row more, a deletion
/// that is undone, rows in the place of others, another file.
#[test]
fn what_happens_to_a_page_after_all_of_it_was_taken_is_seen() {
    let (_cluster, mut session, id) = with_grace("1s");
    for door in DOORS {
        stage(&mut session, door, id, 1, 10);
        assert_eq!(flush(&mut session), 10);
        stage(&mut session, door, id, 11, 11);
        assert_eq!(flush(&mut session), 1, "a row was added to {door}");

        stage(&mut session, door, id, 12, 20);
        session.exec("BEGIN");
        assert_eq!(flush(&mut session), 9);
        session.exec("ROLLBACK");
        assert_eq!(flush(&mut session), 9, "a flush of {door} was undone");

        stage(&mut session, door, id, 21, 30);
        session.exec("BEGIN; SAVEPOINT before");
        assert_eq!(flush(&mut session), 10);
        session.exec("ROLLBACK TO before");
        stage(&mut session, door, id, 31, 31);
        assert_eq!(
            flush(&mut session),
            11,
            "a part of a transaction was undone, {door}"
        );
        session.exec("COMMIT");

        session.exec(&format!("TRUNCATE {door}"));
        stage(&mut session, door, id, 32, 41);
        assert_eq!(flush(&mut session), 10, "{door} has another file");
        session.exec(&format!("VACUUM {door}"));
        stage(&mut session, door, id, 42, 51);
        assert_eq!(
            flush(&mut session),
            10,
            "{door} was vacuumed and filled as before"
        );
    }
    assert_eq!(facts(&mut session).0, 2 * 51);
}

/// One flusher takes every row of some pages, another clears them, a writer puts rows into the very same places, and the first one
/// comes back. What it remembers of these pages is of no use any more.
#[test]
fn pages_that_another_flusher_cleared_and_a_writer_filled_again_are_read() {
    let (cluster, mut writer, id) = with_grace("1s");
    // Whole pages, so that the same number of rows lies in the same places.
    stage(&mut writer, DOORS[0], id, 1, 1_000);
    let of_page = writer.number(&format!("SELECT count(*) FROM {} WHERE ctid < '(1,0)'", DOORS[0]));
    writer.exec(&format!("TRUNCATE {}", DOORS[0]));
    let rows = 10 * of_page;
    let connect = || {
        let mut session = cluster.connect("staged");
        session.exec("SET search_path = telemetry");
        session
    };
    let (mut first, mut second) = (connect(), connect());
    let places = |session: &mut Session, door: &str| {
        session.text(&format!(
            "SELECT md5(string_agg(ctid::text, ' ' ORDER BY ctid)) FROM {door}"
        ))
    };
    for door in DOORS {
        for round in 0..6 {
            let from = round * rows + 1;
            stage(&mut writer, door, id, from, from + rows - 1);
            let before = places(&mut writer, door);
            assert_eq!(flush(&mut first), rows, "{door}, round {round}");
            assert_eq!(
                tuples(&mut writer, door),
                rows,
                "{door}, round {round}: its rows lie there, dead"
            );
            // Of the second as well, so that its deletions are the last that the pages saw, or not.
            assert_eq!(flush(&mut second), 0, "{door}, round {round}");
            assert_eq!(
                tuples(&mut writer, door),
                0,
                "{door}, round {round}: cleared by the other"
            );
            let again = 1_000_000 + from;
            stage(&mut writer, door, id, again, again + rows - 1);
            assert_eq!(
                places(&mut writer, door),
                before,
                "{door}: the rows lie in other places"
            );
            let (one, other) = if round % 2 == 0 {
                (&mut first, &mut second)
            } else {
                (&mut second, &mut first)
            };
            assert_eq!(flush(one), rows, "{door}, round {round}");
            assert_eq!(flush(other), 0, "{door}, round {round}");
            assert_eq!(tuples(&mut writer, door), 0);
        }
        check_staging(&mut writer, door);
        assert_eq!(facts(&mut writer), (12 * rows, 12 * rows), "{door}");
        writer.exec("TRUNCATE entity_values_ts");
    }
}
