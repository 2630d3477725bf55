//! stage_flush(): every committed row reaches facts or rejected exactly once. Without workers, so that each flush is ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster_tests::readings::{DOORS, attribute, everywhere, facts, stage};
use cluster_tests::{Background, Cluster, Database, NULL, SOON, Session, eventually, shared};

struct Ready {
    database: Database,
    session: Session,
    temperature: i64,
}

fn ready() -> Ready {
    let database = shared::database();
    let mut session = database.install();
    let temperature = attribute(&mut session, "temperature", "number");
    Ready {
        database,
        session,
        temperature,
    }
}

// --- good rows

#[test]
fn values_arrive_as_they_were_staged() {
    let Ready { mut session, .. } = ready();
    let columns =
        "tenant_id, entity_id, ingested_at, observed_at, value_num, value_int, attribute_id, value_text";
    let readings = [
        ("number", "value_num", "'21.5'"),
        ("number", "value_num", "'1e-320'"),
        ("number", "value_num", "'NaN'"),
        ("integer", "value_int", "-9223372036854775808"),
        ("boolean", "value_int", "1"),
        ("timestamp", "value_int", "1700000000000000"),
        ("text", "value_text", "''"),
        ("text", "value_text", "repeat('größe ', 20000)"),
        ("json", "value_text", "'{\"a\": [1, null]}'"),
    ];
    session.exec("CREATE TABLE expected AS TABLE entity_values_ingest");
    for (n, (value_type, column, value)) in readings.iter().enumerate() {
        let id = attribute(&mut session, &format!("a_{value_type}"), value_type);
        for target in [DOORS[n % 2], "expected"] {
            session.exec(&format!(
                "INSERT INTO {target} (tenant_id, entity_id, ingested_at, observed_at, attribute_id, {column})
                 VALUES (9223372036854775807, {n}, date_trunc('day', now()), 'epoch', {id}, {value})"
            ));
        }
    }
    // Attributes of tenant 1 are not those of another; 0 is shared by all.
    session.exec("ALTER TABLE attributes DISABLE TRIGGER attribute_keeps_identity; UPDATE attributes SET tenant_id = 0");
    assert_eq!(session.number("SELECT stage_flush()"), readings.len() as i64);
    for (left, right) in [("expected", "entity_values_ts"), ("entity_values_ts", "expected")] {
        let missing = format!(
            "SELECT entity_id FROM (SELECT {columns} FROM {left} EXCEPT SELECT {columns} FROM {right}) x"
        );
        assert_eq!(
            session.column(&missing),
            Vec::<String>::new(),
            "in {left}, not in {right}"
        );
    }
}

#[test]
fn equal_rows_are_all_kept() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    for _ in 0..3 {
        stage(&mut session, "entity_values_ingest", temperature, 7, 7);
    }
    assert_eq!(session.number("SELECT stage_flush()"), 3);
    assert_eq!(facts(&mut session), (3, 1));
}

#[test]
fn both_doors_are_emptied() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    for (door, first) in DOORS.into_iter().zip([1, 101]) {
        stage(&mut session, door, temperature, first, first + 99);
    }
    assert_eq!(session.number("SELECT stage_flush()"), 200);
    assert_eq!(facts(&mut session), (200, 200));
    for door in DOORS {
        assert_eq!(session.number(&format!("SELECT count(*) FROM {door}")), 0);
    }
    assert_eq!(session.number("SELECT stage_flush()"), 0);
}

#[test]
fn partitions_are_made_for_rows_that_have_none() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         SELECT 1, n, now() - n * interval '1 day', {temperature}, n FROM generate_series(0, 6) n"
    ));
    assert_eq!(session.number("SELECT stage_flush()"), 7);
    let leaves = "SELECT count(DISTINCT tableoid) FROM entity_values_ts";
    assert_eq!(session.number(leaves), 7);
    let details = session
        .rows("SELECT rows_flushed, rows_rejected, rows_waiting, partitions_created FROM last_flush()");
    assert_eq!(details, [["7", "0", "0", "6"]]);
}

#[test]
fn rows_without_a_partition_wait_for_it_and_stop_no_other() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    // Another session holds what making a partition needs; a leaf that is there takes rows meanwhile.
    let mut blocker = database.connect();
    blocker.exec("BEGIN; LOCK entity_values_ts IN SHARE UPDATE EXCLUSIVE MODE");
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         VALUES (1, 1, now(), {temperature}, 0), (1, 2, now() - interval '3 days', {temperature}, 0)"
    ));
    session.exec("SET lock_timeout = '100ms'");
    assert_eq!(session.number("SELECT stage_flush()"), 1);
    let details = session
        .rows("SELECT rows_flushed, rows_waiting, waiting_reason FROM last_flush()")
        .swap_remove(0);
    assert_eq!(details[..2], ["1", "1"]);
    assert!(details[2].contains("55P03"), "{details:?}");
    blocker.exec("COMMIT");
    assert_eq!(session.number("SELECT stage_flush()"), 1);
    assert_eq!(facts(&mut session), (2, 2));
}

#[test]
fn max_rows_bounds_one_call() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    for (door, first) in DOORS.into_iter().zip([1, 11]) {
        stage(&mut session, door, temperature, first, first + 9);
    }
    assert_eq!(session.number("SELECT stage_flush(0)"), 0);
    assert_eq!(session.number("SELECT stage_flush(7)"), 7);
    assert_eq!(session.number("SELECT stage_flush(max_rows => 7)"), 7);
    assert_eq!(everywhere(&mut session), (20, 20));
    assert_eq!(session.number("SELECT stage_flush(7)"), 6);
    assert_eq!(facts(&mut session), (20, 20));
    session.fails_with("22003", "SELECT stage_flush(-1)");
}

#[test]
fn last_flush_tells_what_this_session_did() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    assert_eq!(
        session.rows("SELECT * FROM last_flush()"),
        Vec::<Vec<String>>::new()
    );
    stage(&mut session, "entity_values_ingest", temperature, 1, 10);
    stage(&mut session, "entity_values_ingest", 0, 11, 13);
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    let details = session.rows(
        "SELECT rows_flushed, rows_rejected, rows_waiting, waiting_reason, started_at <= now(), duration_ms > 0
         FROM last_flush()",
    );
    assert_eq!(details, [["10", "3", "0", NULL, "t", "t"]]);
    assert_eq!(
        database.connect().rows("SELECT * FROM last_flush()"),
        Vec::<Vec<String>>::new()
    );
}

// --- bad rows

#[test]
fn a_bad_row_is_rejected_with_its_reason_and_costs_no_other() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    let text = attribute(&mut session, "label", "text");
    let flag = attribute(&mut session, "flag", "boolean");
    let foreign = session.number("SELECT register_attribute(2, 'foreign', 'number')");
    // tenant, entity, ingested_at, observed_at, value_num, value_int, attribute, value_text
    let bad = [
        (
            "23502",
            "tenant_id",
            format!("NULL, 1, now(), NULL, 1, NULL, {temperature}, NULL"),
        ),
        (
            "23502",
            "entity_id",
            format!("1, NULL, now(), NULL, 1, NULL, {temperature}, NULL"),
        ),
        (
            "23502",
            "attribute_id",
            "1, 1, now(), NULL, 1, NULL, NULL, NULL".to_owned(),
        ),
        (
            "23502",
            "ingested_at",
            format!("1, 1, NULL, NULL, 1, NULL, {temperature}, NULL"),
        ),
        (
            "22003",
            "tenant_id",
            format!("0, 1, now(), NULL, 1, NULL, {temperature}, NULL"),
        ),
        (
            "22008",
            "ingested_at",
            format!("1, 1, now() - interval '8 days', NULL, 1, NULL, {temperature}, NULL"),
        ),
        (
            "22008",
            "ingested_at",
            format!("1, 1, now() + interval '2 hours', NULL, 1, NULL, {temperature}, NULL"),
        ),
        (
            "22008",
            "ingested_at",
            format!("1, 1, 'infinity', NULL, 1, NULL, {temperature}, NULL"),
        ),
        (
            "22008",
            "ingested_at",
            format!("1, 1, '-infinity', NULL, 1, NULL, {temperature}, NULL"),
        ),
        (
            "22008",
            "ingested_at",
            format!("1, 1, '4000-01-01 BC', NULL, 1, NULL, {temperature}, NULL"),
        ),
        (
            "22008",
            "observed_at",
            format!("1, 1, now(), 'infinity', 1, NULL, {temperature}, NULL"),
        ),
        (
            "22023",
            "value",
            format!("1, 1, now(), NULL, NULL, NULL, {temperature}, NULL"),
        ),
        (
            "22023",
            "value",
            format!("1, 1, now(), NULL, 1, 1, {temperature}, NULL"),
        ),
        (
            "42704",
            "attribute",
            "1, 1, now(), NULL, 1, NULL, -1, NULL".to_owned(),
        ),
        (
            "42704",
            "attribute",
            format!("1, 1, now(), NULL, 1, NULL, {foreign}, NULL"),
        ),
        (
            "42804",
            "number",
            format!("1, 1, now(), NULL, NULL, 1, {temperature}, NULL"),
        ),
        (
            "42804",
            "text",
            format!("1, 1, now(), NULL, NULL, 1, {text}, NULL"),
        ),
        (
            "42804",
            "boolean",
            format!("1, 1, now(), NULL, 1, NULL, {flag}, NULL"),
        ),
        (
            "22003",
            "boolean",
            format!("1, 1, now(), NULL, NULL, 2, {flag}, NULL"),
        ),
    ];
    let mut expected = Vec::new();
    for (door, durable) in DOORS.into_iter().zip(["f", "t"]) {
        stage(&mut session, door, temperature, 1, 10);
        for (n, (code, _, row)) in bad.iter().enumerate() {
            session.exec(&format!("INSERT INTO {door} VALUES ({row})"));
            let (_, word, _) = &bad[n];
            // One at a time first, so that each reason can be matched with its row.
            session.exec("SELECT stage_flush()");
            let rejected = session.rows(
                "SELECT sqlstate, durable, reason FROM entity_values_rejected ORDER BY rejected_at DESC LIMIT 1",
            );
            let rejected = rejected
                .first()
                .unwrap_or_else(|| panic!("({row}) was not rejected"));
            assert_eq!(rejected[..2], [*code, durable], "({row}): {rejected:?}");
            assert!(rejected[2].contains(word), "({row}): {rejected:?}");
            expected.push(row);
        }
        stage(&mut session, door, temperature, 11, 20);
        for (_, _, row) in &bad {
            session.exec(&format!("INSERT INTO {door} VALUES ({row})"));
        }
        assert_eq!(session.number("SELECT stage_flush()"), 10);
    }
    assert_eq!(
        session.number("SELECT count(*) FROM entity_values_rejected"),
        2 * expected.len() as i64
    );
    assert_eq!(facts(&mut session), (40, 20));
}

#[test]
fn a_rejected_row_keeps_all_its_values() {
    let Ready { mut session, .. } = ready();
    session.exec(
        "INSERT INTO entity_values_ingest VALUES (-5, 6, '2001-02-03 04:05:06+00', '1999-01-01+00', 1.5, 7, 8, 'text')",
    );
    session.exec("SELECT stage_flush()");
    let kept = session.rows(
        "SELECT tenant_id, entity_id, extract(epoch from ingested_at)::bigint, extract(epoch from observed_at)::bigint,
                value_num, value_int, attribute_id, value_text, now() - rejected_at < '1 minute'
         FROM entity_values_rejected",
    );
    assert_eq!(
        kept,
        [["-5", "6", "981173106", "915148800", "1.5", "7", "8", "text", "t"]]
    );
}

// --- exactly once

#[test]
fn many_sessions_store_every_committed_row_exactly_once() {
    const ROUNDS: i64 = 200;
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    let done = Arc::new(AtomicBool::new(false));
    let flushers: Vec<Background<i64>> = (0..3)
        .map(|_| {
            let done = done.clone();
            database.background(move |session| {
                let mut flushed = 0;
                while !done.load(Ordering::Relaxed) {
                    flushed += session.number("SELECT stage_flush(100)");
                    // A flush that is rolled back must give everything back.
                    session.exec("BEGIN; SELECT stage_flush(10); ROLLBACK");
                }
                flushed
            })
        })
        .collect();
    let writers: Vec<Background<()>> = (0..3)
        .map(|writer| {
            database.background(move |session| {
                for round in 0..ROUNDS {
                    let first = (writer * ROUNDS + round) * 10;
                    let door = DOORS[round as usize % 2];
                    session.exec("BEGIN");
                    stage(session, door, temperature, first, first + 9);
                    session.exec("SAVEPOINT s");
                    stage(session, door, temperature, -1_000_000, -999_990);
                    session.exec("ROLLBACK TO s");
                    session.exec("COMMIT; BEGIN");
                    stage(session, door, temperature, -1_000_000, -999_990);
                    session.exec("ROLLBACK");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join();
    }
    done.store(true, Ordering::Relaxed);
    let mut flushed: i64 = flushers.into_iter().map(Background::join).sum();
    flushed += session.number("SELECT stage_flush()");
    let rows = 3 * ROUNDS * 10;
    assert_eq!((facts(&mut session), flushed), ((rows, rows), rows));
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 0);
}

#[test]
fn a_row_that_commits_late_is_not_skipped() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    let mut late = database.connect();
    late.exec("BEGIN");
    stage(&mut late, "entity_values_ingest", temperature, 1, 1);
    stage(&mut session, "entity_values_ingest", temperature, 2, 2);
    assert_eq!(session.number("SELECT stage_flush()"), 1);
    late.exec("COMMIT");
    assert_eq!(session.number("SELECT stage_flush()"), 1);
    assert_eq!(facts(&mut session), (2, 2));
}

#[test]
fn no_reader_sees_a_row_twice_or_not_at_all() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    stage(&mut session, "entity_values_ingest", temperature, 1, 100);
    let mut reader = database.connect();
    reader.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
    assert_eq!(everywhere(&mut reader), (100, 100));
    session.exec("BEGIN");
    assert_eq!(session.number("SELECT stage_flush()"), 100);
    assert_eq!(everywhere(&mut session), (100, 100));
    assert_eq!(everywhere(&mut database.connect()), (100, 100));
    session.exec("COMMIT");
    assert_eq!(
        (everywhere(&mut reader), facts(&mut reader)),
        ((100, 100), (0, 0))
    );
}

#[test]
fn a_flush_that_is_rolled_back_leaves_everything_in_staging() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    stage(&mut session, "entity_values_ingest", temperature, 1, 10);
    stage(&mut session, "entity_values_ingest", 0, 11, 12);
    session.exec("BEGIN; SELECT stage_flush(); ROLLBACK");
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ingest"), 12);
    assert_eq!(session.number("SELECT stage_flush()"), 10);
}

#[test]
fn every_isolation_level_will_do() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    for (n, level) in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
        .into_iter()
        .enumerate()
    {
        let first = n as i64 * 10 + 1;
        stage(
            &mut session,
            "entity_values_ingest",
            temperature,
            first,
            first + 9,
        );
        session.exec(&format!("BEGIN ISOLATION LEVEL {level}"));
        assert_eq!(session.number("SELECT stage_flush()"), 10);
        session.exec("COMMIT");
    }
    assert_eq!(facts(&mut session), (30, 30));
}

#[test]
fn a_row_of_the_own_transaction_is_flushed_with_it() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    session.exec("BEGIN");
    stage(&mut session, "entity_values_ingest", temperature, 1, 10);
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    session.exec("COMMIT");
    assert_eq!(everywhere(&mut session), (10, 10));
}

#[test]
fn a_cancelled_flush_leaves_everything_in_staging() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    stage(&mut session, "entity_values_ingest_durable", temperature, 1, 10);
    let mut blocker = database.connect();
    blocker.exec("BEGIN; LOCK entity_values_ts");
    // Who is terminated does not always hear why.
    for (end, heard) in [
        ("pg_cancel_backend", &["57014"][..]),
        ("pg_terminate_backend", &["57P01", ""]),
    ] {
        let flush = database.background_sql("SELECT stage_flush()");
        eventually(SOON, "the flush waits for the lock", || {
            let waiting = format!(
                "SELECT count(*) FROM pg_locks WHERE pid = {} AND NOT granted",
                flush.pid()
            );
            if session.number(&waiting) > 0 {
                Ok(())
            } else {
                Err(())
            }
        });
        session.exec(&format!("SELECT {end}({})", flush.pid()));
        let failure = flush.join().expect_err("the flush was ended");
        assert!(heard.contains(&failure.code.as_str()), "{end}: {failure}");
    }
    blocker.exec("COMMIT");
    assert_eq!(everywhere(&mut session), (10, 10));
    assert_eq!(session.number("SELECT stage_flush()"), 10);
}

#[test]
fn a_transient_fault_rejects_nothing() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    session.exec(
        "CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE 'no space left' USING ERRCODE = 'disk_full'; END $$;
         CREATE TRIGGER disk_is_full BEFORE INSERT ON entity_values_ts FOR EACH ROW EXECUTE FUNCTION disk_is_full()",
    );
    stage(&mut session, "entity_values_ingest_durable", temperature, 1, 10);
    session.fails_with("53100", "SELECT stage_flush()");
    assert_eq!(
        session.number("SELECT count(*) FROM entity_values_ingest_durable"),
        10
    );
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 0);
    session.exec("DROP TRIGGER disk_is_full ON entity_values_ts");
    assert_eq!(session.number("SELECT stage_flush()"), 10);
}

// --- what is refused

#[test]
fn a_read_only_transaction_is_refused() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    for rows in [0, 1] {
        stage(&mut session, "entity_values_ingest", temperature, 1, rows);
        for sql in [
            "SELECT stage_flush()",
            "SELECT setup()",
            "SELECT register_attribute(1, 'new', 'text')",
        ] {
            session.exec("BEGIN READ ONLY");
            session.fails_with("25006", sql);
            session.exec("ROLLBACK");
        }
    }
    session.exec("BEGIN READ ONLY");
    assert_eq!(attribute(&mut session, "temperature", "number"), temperature);
    session.exec("COMMIT");
}

#[test]
fn staged_rows_cannot_be_changed() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    for door in DOORS {
        stage(&mut session, door, temperature, 1, 1);
        session.fails_with("55000", &format!("UPDATE {door} SET value_num = 0"));
        session.fails_with("55000", &format!("DELETE FROM {door}"));
        session.exec("SET session_replication_role = replica");
        session.fails_with("55000", &format!("DELETE FROM {door}"));
        session.exec("RESET session_replication_role");
    }
    assert_eq!(session.number("SELECT stage_flush()"), 2);
}

#[test]
fn without_the_tables_the_error_says_what_to_do() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    stage(&mut session, "entity_values_ingest", temperature, 1, 1);
    session.exec("DROP TABLE entity_values_ts");
    let refused = session.fails_with("55000", "SELECT stage_flush()");
    assert!(
        refused.message.contains("entity_values_ts") && refused.hint.contains("setup()"),
        "{refused}"
    );
}

// --- declared durability

#[test]
fn a_crash_costs_no_more_than_the_fast_door_had() {
    let cluster = Cluster::builder().durable().start();
    let database = cluster.create_database("crash");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest", id, 1, 100);
    stage(&mut session, "entity_values_ingest_durable", id, 101, 200);
    // Rows of the fast door are gone for good once flushed, so their facts must be on disk whatever the session says.
    session.exec("SET synchronous_commit = off");
    assert_eq!(session.number("SELECT stage_flush()"), 200);
    cluster.crash();
    cluster.start();
    let mut session = database.connect();
    assert_eq!(
        session.number("SELECT count(*) FROM entity_values_ts WHERE entity_id <= 100"),
        100
    );
    assert_eq!(everywhere(&mut session), (200, 200));

    stage(&mut session, "entity_values_ingest", id, 201, 300);
    stage(&mut session, "entity_values_ingest_durable", id, 301, 400);
    cluster.crash();
    cluster.start();
    let mut session = database.connect();
    assert_eq!(session.number("SELECT stage_flush()"), 100);
    assert_eq!(facts(&mut session), (300, 300));
}
