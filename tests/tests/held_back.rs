//! Rows that are held back by others: they stay in staging, count as waiting, and hold back nobody else.

use std::time::Duration;

use cluster_tests::integrity::{check_facts, check_staging};
use cluster_tests::readings::{DOORS, Ready, attribute, everywhere, facts, ready, stage, wait_for_facts};
use cluster_tests::{SOON, Session, eventually, workers};

/// An attribute that nobody registered.
const UNKNOWN: i64 = 999_999;

fn last_flush(session: &mut Session) -> Vec<String> {
    session
        .rows("SELECT rows_flushed, rows_rejected, rows_waiting, waiting_reason FROM last_flush()")
        .swap_remove(0)
}

fn rejected(session: &mut Session) -> i64 {
    session.number("SELECT count(*) FROM entity_values_rejected")
}

#[test]
fn rows_that_others_have_locked_count_as_waiting() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    for door in DOORS {
        stage(&mut session, door, temperature, 1, 10);
        let mut holder = database.connect();
        holder.exec(&format!(
            "BEGIN; SELECT FROM {door} WHERE entity_id <= 3 FOR UPDATE; SELECT FROM {door} WHERE entity_id = 4 FOR SHARE"
        ));
        assert_eq!(session.number("SELECT stage_flush()"), 6, "{door}");
        for _ in 0..2 {
            let last = last_flush(&mut session);
            assert_eq!(last[2], "4", "{door}: {last:?}");
            assert!(last[3].contains("locked"), "{door}: {last:?}");
            assert_eq!(session.number("SELECT stage_flush()"), 0, "{door}");
        }
        holder.exec("COMMIT");
        assert_eq!(session.number("SELECT stage_flush()"), 4, "{door}");
        assert_eq!(last_flush(&mut session)[2], "0", "{door}");
        assert_eq!(facts(&mut session), (10, 10));
        session.exec("TRUNCATE entity_values_ts");
    }
}

#[test]
fn workers_say_that_rows_are_locked_and_take_the_others() {
    let (database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    database
        .cluster()
        .set_and_reload("pg_telemetry.background_workers", "off");
    workers::wait_for_end(database.cluster(), database.name());
    stage(&mut session, DOORS[1], id, 1, 10);
    let mut holder = database.connect();
    holder.exec(&format!(
        "BEGIN; SELECT FROM {} WHERE entity_id = 1 FOR UPDATE",
        DOORS[1]
    ));
    database
        .cluster()
        .set_and_reload("pg_telemetry.background_workers", "on");
    wait_for_facts(&mut session, 9);
    eventually(SOON, "worker_status says so", || {
        let detail = session.text(
            "SELECT coalesce(detail, '') FROM worker_status WHERE worker = 'flusher 1' AND task = 'flush'",
        );
        if detail.contains("1 rows wait") && detail.contains("locked") {
            Ok(())
        } else {
            Err(detail)
        }
    });
    // Nobody waits for the sake of that row.
    for first in [11, 21, 31, 41, 51] {
        stage(&mut session, DOORS[1], id, first, first + 9);
        wait_for_facts(&mut session, first + 8);
    }
    holder.exec("COMMIT");
    wait_for_facts(&mut session, 60);
}

/// One good row in three, and one that the judge refuses, one that facts refuse, one that takes more room than a page.
fn stage_mixed(session: &mut Session, door: &str, id: i64, text: i64, first: i64, last: i64) {
    session.exec(&format!(
        "INSERT INTO {door} (tenant_id, entity_id, attribute_id, value_num, value_text)
         SELECT 1, n, CASE n % 7 WHEN 0 THEN {UNKNOWN} WHEN 3 THEN {text} ELSE {id} END,
                CASE n % 7 WHEN 3 THEN NULL WHEN 1 THEN -1 ELSE 1 END,
                CASE n % 7 WHEN 3 THEN repeat(md5(n::text), CASE n % 70 WHEN 3 THEN 1000 ELSE 1 END) END
         FROM generate_series({first}, {last}) n"
    ));
}

#[test]
fn good_rows_go_on_while_rejected_is_locked() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    let text = attribute(&mut session, "label", "text");
    session.exec(
        "ALTER TABLE entity_values_ts ADD CHECK (value_num >= 0);
         ALTER TABLE entity_values_ingest ALTER value_text SET STORAGE EXTERNAL;
         SET lock_timeout = '200ms'",
    );
    let mut holder = database.connect();
    for (round, door) in DOORS.into_iter().enumerate() {
        holder.exec("BEGIN; LOCK entity_values_rejected IN ACCESS EXCLUSIVE MODE");
        let first = round as i64 * 7_000 + 1;
        stage_mixed(&mut session, door, temperature, text, first, first + 6_999);
        let flushed = session.number("SELECT stage_flush()");
        assert_eq!(flushed, 5_000, "{door}");
        let last = last_flush(&mut session);
        assert_eq!(last[1..3], ["0", "2000"], "{door}: {last:?}");
        assert!(
            last[3].contains("entity_values_rejected") && last[3].contains("55P03"),
            "{door}: {last:?}"
        );
        // Nothing but what waits: the call says what is in the way.
        let failure = session.fails_with("55P03", "SELECT stage_flush()");
        assert!(failure.detail.contains("wait in staging"), "{failure}");
        holder.exec("COMMIT");
        assert_eq!(session.number("SELECT stage_flush()"), 0, "{door}");
        assert_eq!(rejected(&mut session), (round as i64 + 1) * 2_000, "{door}");
        assert_eq!(last_flush(&mut session)[2], "0", "{door}");
        check_staging(&mut session, door);
    }
    assert_eq!(everywhere(&mut session), (14_000, 14_000));
    check_facts(&mut session);
}

#[test]
fn where_the_flush_goes_by_sql_all_wait_for_rejected_and_none_is_lost() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    session.exec("CREATE INDEX ON entity_values_ingest (entity_id); SET lock_timeout = '100ms'");
    let mut holder = database.connect();
    holder.exec("BEGIN; LOCK entity_values_rejected IN ACCESS EXCLUSIVE MODE");
    stage(&mut session, DOORS[0], temperature, 1, 10);
    stage(&mut session, DOORS[0], UNKNOWN, 11, 12);
    session.fails_with("55P03", "SELECT stage_flush()");
    stage(&mut session, DOORS[1], temperature, 21, 30);
    assert_eq!(session.number("SELECT stage_flush()"), 10, "the other door");
    holder.exec("COMMIT");
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    assert_eq!((everywhere(&mut session), rejected(&mut session)), ((22, 22), 2));
}

#[test]
fn workers_go_on_while_rejected_is_locked() {
    let (database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    database
        .cluster()
        .set_and_reload("pg_telemetry.lock_timeout", "200ms");
    let mut holder = database.connect();
    holder.exec("BEGIN; LOCK entity_values_rejected IN ACCESS EXCLUSIVE MODE");
    for round in 0..6 {
        let first = round * 100 + 1;
        stage(&mut session, DOORS[round as usize % 2], id, first, first + 98);
        stage(
            &mut session,
            DOORS[round as usize % 2],
            UNKNOWN,
            first + 99,
            first + 99,
        );
        eventually(Duration::from_secs(8), "the good rows", || {
            match facts(&mut session).0 {
                found if found == (round + 1) * 99 => Ok(()),
                found => Err(found),
            }
        });
    }
    let said = "SELECT coalesce(detail, '') FROM worker_status WHERE worker = 'flusher 1' AND task = 'flush'";
    eventually(SOON, "worker_status names the table", || {
        match session.text(said) {
            detail if detail.contains("entity_values_rejected") && detail.contains("6 rows wait") => Ok(()),
            detail => Err(detail),
        }
    });
    holder.exec("COMMIT");
    eventually(SOON, "the bad rows are rejected", || {
        match rejected(&mut session) {
            6 => Ok(()),
            found => Err(found),
        }
    });
    assert_eq!(everywhere(&mut session), (600, 600));
}
