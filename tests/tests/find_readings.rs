//! readings(): what it returns, in which order, with whose rights, and how much of the facts it looks at.

use cluster_tests::readings::{Ready, attribute, ready};
use cluster_tests::{Cluster, NULL, Session};

/// Partitions of a day each, from the first of January 2024 on.
fn days(session: &mut Session, count: usize) {
    session.exec(&format!(
        "SET TimeZone = 'UTC';
         DO $$ BEGIN FOR day IN 0 .. {count} - 1 LOOP
             EXECUTE format('CREATE TABLE day_%s PARTITION OF entity_values_ts FOR VALUES FROM (%L) TO (%L)', day,
                            timestamptz '2024-01-01 00:00:00+00' + day * interval '1 day',
                            timestamptz '2024-01-01 00:00:00+00' + (day + 1) * interval '1 day');
         END LOOP; END $$"
    ));
}

/// One reading every six hours for two months, its number the hours since the beginning, each measured an hour before it came in.
fn two_months() -> Ready {
    let mut ready = ready();
    let id = ready.temperature;
    days(&mut ready.session, 60);
    ready.session.exec(&format!(
        "INSERT INTO entity_values_ts (tenant_id, entity_id, attribute_id, ingested_at, observed_at, value_num)
         SELECT 1, entity, {id}, t, t - interval '1 hour', extract(epoch FROM t - '2024-01-01 00:00:00+00') / 3600
         FROM generate_series(timestamptz '2024-01-01 00:00:00+00', '2024-02-29 18:00:00+00', '6 hours') t,
              unnest(ARRAY[7, 8]) entity"
    ));
    ready
}

/// The numbers that a call returns.
fn numbers(session: &mut Session, arguments: &str) -> Vec<i64> {
    let sql = format!("SELECT value_num::bigint FROM readings(1, 7, 'temperature', {arguments})");
    let numbers = session.column(&sql);
    numbers.iter().map(|text| text.parse().unwrap()).collect()
}

/// How many partitions a statement has looked into.
fn visited(session: &mut Session, sql: &str) -> i64 {
    session.exec("SELECT pg_stat_force_next_flush()");
    let looks = "SELECT count(*) FROM pg_stat_user_tables s
                 WHERE relname LIKE 'day_%' AND coalesce(seq_scan, 0) + coalesce(idx_scan, 0) > 0";
    session.exec("SELECT pg_stat_reset()");
    session.rows(sql);
    session.exec("SELECT pg_stat_force_next_flush()");
    session.exec("SELECT pg_stat_clear_snapshot()");
    session.number(looks)
}

#[test]
fn readings_come_by_the_time_they_were_measured() {
    let Ready { mut session, .. } = two_months();
    let all = numbers(&mut session, "'-infinity'");
    assert_eq!(all, (0..240).map(|step| step * 6).collect::<Vec<i64>>());
    let newest = numbers(&mut session, "'-infinity', newest_first => true");
    assert_eq!(newest, all.iter().rev().copied().collect::<Vec<i64>>());
    // Measured an hour before it came in; the end does not count, the beginning does.
    assert_eq!(
        numbers(&mut session, "'2024-01-31 23:00+00', '2024-02-01 11:00+00'"),
        [744, 750]
    );
    for (arguments, expected) in [
        ("'-infinity', NULL, true, 3", vec![1434, 1428, 1422]),
        ("'-infinity', NULL, false, 3", vec![0, 6, 12]),
        ("'2024-01-31 23:00+00', 'infinity', false, 2", vec![744, 750]),
        ("'-infinity', '2024-01-31 23:00+00', true, 2", vec![738, 732]),
        ("'infinity'", vec![]),
        ("'2024-01-31 23:00+00', '2024-01-31 23:00+00'", vec![]),
        ("'1999-01-01', '2000-01-01', true, 7", vec![]),
    ] {
        assert_eq!(numbers(&mut session, arguments), expected, "{arguments}");
    }
    for count in [1, 5, 100, 239, 240, 1000] {
        for newest_first in [false, true] {
            let found = numbers(
                &mut session,
                &format!("'-infinity', NULL, {newest_first}, {count}"),
            );
            let mut expected = if newest_first { newest.clone() } else { all.clone() };
            expected.truncate(count);
            assert_eq!(found, expected, "{count} {newest_first}");
        }
    }
}

#[test]
fn late_and_early_readings_are_in_their_place() {
    let Ready {
        mut session,
        temperature,
        ..
    } = two_months();
    // A buffer that came in at the end of February, and a clock that is twelve hours ahead.
    session.exec(&format!(
        "INSERT INTO entity_values_ts (tenant_id, entity_id, attribute_id, ingested_at, observed_at, value_num) VALUES
         (1, 7, {temperature}, '2024-02-29 12:00+00', '2024-01-10 12:30+00', -1),
         (1, 7, {temperature}, '2024-01-20 12:00+00', '2024-01-21 00:30+00', -2)"
    ));
    for newest_first in [false, true] {
        let window = format!("'2024-01-10 12:00+00', '2024-01-10 13:00+00', {newest_first}");
        assert_eq!(numbers(&mut session, &format!("{window}, 5")), [-1]);
        assert_eq!(numbers(&mut session, &window), [-1]);
        let ahead = format!("'2024-01-21 00:00+00', '2024-01-21 01:00+00', {newest_first}");
        assert_eq!(numbers(&mut session, &format!("{ahead}, 1")), [-2]);
        let all = format!("'-infinity', NULL, {newest_first}");
        let complete = numbers(&mut session, &all);
        assert_eq!(complete.len(), 242);
        for count in [1, 7, 60, 130, 242] {
            let found = numbers(&mut session, &format!("{all}, {count}"));
            assert_eq!(found, complete[..count], "{count} {newest_first}");
        }
    }
}

#[test]
fn only_partitions_that_can_hold_an_answer_are_looked_at() {
    let Ready { mut session, .. } = two_months();
    let call = |arguments: &str| format!("SELECT * FROM readings(1, 7, 'temperature', {arguments})");
    // What came in a day before it was measured has a clock that is ahead, as far as that is allowed.
    assert!(visited(&mut session, &call("'2024-02-28 12:00+00'")) <= 3);
    // Behind the partitions that are ready ahead, and empty.
    assert!(visited(&mut session, &call("'-infinity', NULL, true, 1")) <= 10);
    assert!(visited(&mut session, &call("'-infinity', '2024-03-01', true, 1")) <= 6);
    assert!(visited(&mut session, &call("'-infinity', '2024-03-01', true, 10")) <= 12);
    assert_eq!(visited(&mut session, &call("'-infinity'")), 60);
}

#[test]
fn of_sealed_partitions_the_times_are_known() {
    let Ready {
        mut session,
        temperature,
        ..
    } = two_months();
    session.exec(&format!(
        "CREATE TABLE IF NOT EXISTS telemetry.partition_state (
             partition text, relation_oid oid, starts_at timestamptz, ends_at timestamptz, seal text, rows bigint,
             observed_from timestamptz, observed_until timestamptz, left_at timestamptz);
         ALTER TABLE telemetry.partition_state OWNER TO telemetry_owner;
         INSERT INTO entity_values_ts (tenant_id, entity_id, attribute_id, ingested_at, observed_at, value_num)
             VALUES (1, 7, {temperature}, '2024-02-20 12:00+00', '2024-01-10 12:30+00', -1);
         DELETE FROM partition_state WHERE partition LIKE 'day_%'"
    ));
    for day in 0..60 {
        session.exec(&format!(
            "INSERT INTO partition_state (partition, relation_oid, starts_at, ends_at, seal, rows, observed_from, observed_until)
             SELECT 'day_{day}', 'day_{day}'::regclass, '2024-01-01 00:00+00'::timestamptz + {day} * interval '1 day',
                    '2024-01-02 00:00+00'::timestamptz + {day} * interval '1 day', 'sealed', count(*), min(observed_at), max(observed_at)
             FROM day_{day}"
        ));
    }
    let window = "'2024-01-10 12:00+00', '2024-01-10 18:00+00'";
    assert_eq!(numbers(&mut session, window), [-1, 234]);
    let call = format!("SELECT * FROM readings(1, 7, 'temperature', {window}, max_rows => 1)");
    let found = visited(&mut session, &call);
    assert!(found <= 3, "{found}");
    session.exec("DELETE FROM day_50 WHERE value_num = -1; UPDATE partition_state SET observed_from = '2024-02-19 23:00+00' WHERE partition = 'day_50'");
    let found = visited(&mut session, &call);
    // The day, and those that are not sealed.
    assert!(found <= 2, "{found}");
    assert_eq!(numbers(&mut session, window), [234]);
}

#[test]
fn each_type_is_shown_as_what_it_is() {
    let Ready { mut session, .. } = ready();
    for value_type in ["number", "integer", "boolean", "timestamp", "text", "json"] {
        attribute(&mut session, &format!("a_{value_type}"), value_type);
    }
    session.exec(
        r#"SELECT ingest(1, 7, '{"a_number": 0.1, "a_integer": 9223372036854775807, "a_boolean": true,
                "a_timestamp": "2026-11-21T10:00:00.5+01:00", "a_text": "grö\"ße", "a_json": {"b": [1, null]}}');
           SELECT ingest(1, 8, '{"a_number": "NaN", "a_timestamp": 9223372036854775807}');
           SELECT stage_flush()"#,
    );
    for (entity, name, expected) in [
        (7, "number", ["0.1", "0.1", NULL, NULL]),
        (
            7,
            "integer",
            ["9223372036854775807", NULL, "9223372036854775807", NULL],
        ),
        (7, "boolean", ["true", NULL, "1", NULL]),
        (
            7,
            "timestamp",
            ["\"2026-11-21T09:00:00.5Z\"", NULL, "1795251600500000", NULL],
        ),
        (7, "text", ["\"grö\\\"ße\"", NULL, NULL, "grö\"ße"]),
        (
            7,
            "json",
            ["{\"b\": [1, null]}", NULL, NULL, "{\"b\": [1, null]}"],
        ),
        (8, "number", ["\"NaN\"", "NaN", NULL, NULL]),
    ] {
        let row = session.rows(&format!(
            "SELECT value, value_num, value_int, value_text FROM readings(1, {entity}, 'a_{name}', now() - interval '1 hour')"
        ));
        assert_eq!(row, [expected], "{name}");
    }
    // Whatever a bigint can hold.
    let sql = "SELECT value_int FROM readings(1, 8, 'a_timestamp', '-infinity')";
    assert_eq!(session.text(sql), "9223372036854775807");
}

#[test]
fn what_is_wrong_is_said() {
    let Ready { mut session, .. } = ready();
    for (arguments, code, message) in [
        (
            "1, 7, 'temperture', now()",
            "42704",
            "attribute \"temperture\" is not registered",
        ),
        ("2, 7, 'temperature', now()", "42704", "for tenant 2"),
        ("0, 7, 'temperature', now()", "22003", "tenant_id is out of range"),
        (
            "NULL, 7, 'temperature', now()",
            "22004",
            "tenant_id must not be NULL",
        ),
        (
            "1, NULL, 'temperature', now()",
            "22004",
            "entity_id must not be NULL",
        ),
        ("1, 7, NULL, now()", "22004", "attribute must not be NULL"),
        ("1, 7, 'temperature', NULL", "22004", "since must not be NULL"),
        (
            "1, 7, 'temperature', now(), now() - interval '1 s'",
            "22023",
            "since must be before until",
        ),
        (
            "1, 7, 'temperature', now(), newest_first => NULL",
            "22004",
            "newest_first",
        ),
        (
            "1, 7, 'temperature', now(), max_rows => 0",
            "22003",
            "max_rows is out of range: 0",
        ),
        (
            "1, 7, 'temperature', now(), max_rows => -5",
            "22003",
            "max_rows is out of range: -5",
        ),
    ] {
        let failure = session.fails_with(code, &format!("SELECT * FROM readings({arguments})"));
        assert!(failure.message.contains(message), "{arguments}: {failure}");
    }
    let failure = session.fails("SELECT * FROM readings(1, 7, 'Temperture', now())");
    assert!(failure.detail.contains("\"temperature\""), "{failure}");
    assert!(!failure.hint.is_empty());
    // The session is none the worse for it.
    assert_eq!(numbers(&mut session, "now()"), []);
    // Where the server takes rows one by one.
    session.exec("SELECT stage_flush()");
    assert_eq!(
        session.rows("SELECT (readings(1, 7, 'temperature', now())).value"),
        [[""; 0]; 0]
    );
}

#[test]
fn the_rights_and_policies_of_the_caller_count() {
    let Ready {
        mut session,
        database,
        ..
    } = two_months();
    let reader = database.create_login(Some("telemetry_reader"));
    let nobody = database.create_login(None);
    session.exec(&format!(
        "GRANT USAGE ON SCHEMA telemetry TO {reader}, {nobody};
         GRANT EXECUTE ON FUNCTION readings(bigint, bigint, text, timestamptz, timestamptz, boolean, bigint) TO {nobody}"
    ));
    let call = "SELECT count(*) FROM readings(1, 7, 'temperature', '-infinity', NULL, true, 1000)";
    assert_eq!(database.connect_as(&reader).number(call), 240);
    database.connect_as(&nobody).fails_with("42501", call);
    session.exec(
        "ALTER TABLE entity_values_ts ENABLE ROW LEVEL SECURITY;
         CREATE POLICY january ON entity_values_ts FOR SELECT TO telemetry_reader USING (ingested_at < '2024-02-01')",
    );
    let mut reader = database.connect_as(&reader);
    assert_eq!(reader.number(call), 124);
    session.exec("DROP POLICY january ON entity_values_ts");
    assert_eq!(reader.number(call), 0);
}

#[test]
fn it_reads_what_the_statement_sees() {
    let Ready {
        mut session,
        database,
        temperature,
    } = two_months();
    let insert = format!(
        "INSERT INTO entity_values_ts (tenant_id, entity_id, attribute_id, ingested_at, value_num)
         VALUES (1, 7, {temperature}, '2024-02-29 23:00+00', 4711)"
    );
    let newest = |session: &mut Session| numbers(session, "'-infinity', NULL, true, 1");
    session.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
    assert_eq!(newest(&mut session), [1434]);
    database.connect().exec(&insert);
    assert_eq!(newest(&mut session), [1434]);
    session.exec("COMMIT");
    assert_eq!(newest(&mut session), [4711]);
    // What the transaction itself has written counts.
    session.exec(&format!(
        "BEGIN; {}",
        insert.replace("4711", "4712").replace("23:00", "23:30")
    ));
    assert_eq!(newest(&mut session), [4712]);
    session.exec("ROLLBACK; BEGIN READ ONLY");
    assert_eq!(newest(&mut session), [4711]);
    session.exec("COMMIT");
    // Partitions that come and go.
    session.exec("ALTER TABLE entity_values_ts DETACH PARTITION day_59");
    assert_eq!(newest(&mut session), [1410]);
}

#[test]
fn a_standby_answers_the_same() {
    let primary = Cluster::builder().start();
    let database = primary.create_database("read");
    let mut session = database.install();
    attribute(&mut session, "temperature", "number");
    session.exec("SELECT ingest(1, 7, '{\"temperature\": 21.5}'); SELECT stage_flush()");
    let standby = primary.standby();
    standby.catch_up_with(&primary);
    let mut replica = standby.connect("read");
    let sql = "SELECT value FROM readings(1, 7, 'temperature', now() - interval '1 day', NULL, true, 1)";
    assert_eq!(replica.column(sql), ["21.5"]);
}

#[test]
fn what_lies_in_a_partition_that_was_made_ahead_is_found() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    session.exec("SELECT rotate_partitions()");
    let look = "SELECT count(*) FROM readings(1, 7, 'temperature', now() - interval '1 hour')";
    assert_eq!(session.number(look), 0);
    // Nobody stages readings of tomorrow, but whoever writes facts may.
    let add = format!(
        "INSERT INTO entity_values_ts (tenant_id, entity_id, attribute_id, ingested_at, value_num)
         VALUES (1, 7, {temperature}, now() + interval '1 day', 1)"
    );
    session.exec(&format!("BEGIN; {add}"));
    assert_eq!(session.number(look), 1);
    // Others do not see it yet.
    let mut other = database.connect();
    assert_eq!(other.number(look), 0);
    session.exec("COMMIT");
    assert_eq!(other.number(look), 1);
}
