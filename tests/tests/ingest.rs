//! ingest() and ingest_external(): what becomes of a document, and what is said of one that cannot be stored.

use cluster_tests::readings::{DOORS, Ready, attribute, ready};
use cluster_tests::{Cluster, Failure, NULL, Session, eventually, within};
use std::time::Duration;

const AUTO: &str = "SET pg_telemetry.auto_register = on";

/// One attribute of each type.
fn register_all(session: &mut Session) {
    for value_type in ["number", "integer", "boolean", "timestamp", "text", "json"] {
        attribute(session, &format!("a_{value_type}"), value_type);
    }
}

/// The readings in a staging table, by name.
fn staged(session: &mut Session, door: &str) -> Vec<Vec<String>> {
    session.rows(&format!(
        "SELECT s.tenant_id, s.entity_id, a.name, s.value_num, s.value_int, s.value_text,
                extract(epoch from s.observed_at)::bigint, s.ingested_at = now() OR s.ingested_at < now()
         FROM {door} s JOIN attributes a USING (attribute_id) ORDER BY a.name, s.entity_id"
    ))
}

#[test]
fn each_type_goes_to_its_column() {
    let Ready { mut session, .. } = ready();
    register_all(&mut session);
    let document = r#"{"a_number": 21.50, "a_integer": -9223372036854775808, "a_boolean": true,
        "a_timestamp": "1970-01-01T01:00:01.5+01:00", "a_text": "größe", "a_json": {"b": [1, null, "x"], "a": {}}}"#;
    for (door, durable) in DOORS.into_iter().zip(["false", "true"]) {
        let count = session.number(&format!(
            "SELECT ingest(1, -5, '{document}', '2026-01-01 00:00:00+00', {durable})"
        ));
        assert_eq!(count, 6);
        let expected = [
            ["a_boolean", NULL, "1", NULL],
            ["a_integer", NULL, "-9223372036854775808", NULL],
            ["a_json", NULL, NULL, r#"{"a": {}, "b": [1, null, "x"]}"#],
            ["a_number", "21.5", NULL, NULL],
            ["a_text", NULL, NULL, "größe"],
            ["a_timestamp", NULL, "1500000", NULL],
        ];
        let found = staged(&mut session, door);
        assert_eq!(found.len(), expected.len());
        for (row, expected) in found.iter().zip(expected) {
            assert_eq!(row[..2], ["1", "-5"]);
            assert_eq!(row[2..6], expected);
            assert_eq!(row[6..], ["1767225600", "t"]);
        }
    }
    // What the function staged is what the flush takes.
    session.exec("DROP TABLE IF EXISTS x; SELECT stage_flush()");
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ts"), 12);
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 0);
}

#[test]
fn values_that_can_be_written_in_several_ways_are_taken() {
    let Ready { mut session, .. } = ready();
    register_all(&mut session);
    let cases = [
        ("a_number", "9007199254740993", "9.007199254740992e+15"),
        ("a_number", "1e-320", "1e-320"),
        ("a_number", "\"NaN\"", "NaN"),
        ("a_number", "\"-Infinity\"", "-Infinity"),
        ("a_integer", "21.000", "21"),
        ("a_integer", "2.1e1", "21"),
        ("a_boolean", "false", "0"),
        ("a_timestamp", "1700000000000000", "1700000000000000"),
        ("a_timestamp", "\"2026-11-21 10:00:00Z\"", "1795255200000000"),
        ("a_text", "\"\"", ""),
        ("a_text", "\"a\\nb\\u0007\"", "a\nb\u{7}"),
        ("a_json", "\"x\\\"y\"", "\"x\\\"y\""),
        ("a_json", "21.50", "21.50"),
        ("a_json", "true", "true"),
        ("a_json", "[]", "[]"),
    ];
    for (name, value, expected) in cases {
        session.exec("BEGIN");
        let sql =
            format!("SELECT ingest(1, 1, jsonb_build_object('{name}', '{value}'::jsonb), durable => false)");
        assert_eq!(session.number(&sql), 1, "{name} {value}");
        let found = session
            .text("SELECT coalesce(value_num::text, value_int::text, value_text) FROM entity_values_ingest");
        assert_eq!(found, expected, "{name} {value}");
        assert_eq!(session.number("SELECT stage_flush()"), 1, "{name} {value}");
        session.exec("ROLLBACK");
    }
}

#[test]
fn texts_of_every_length_arrive_whole() {
    let Ready { mut session, .. } = ready();
    session.exec(AUTO);
    for length in [0, 1, 125, 126, 127, 128, 2000, 9000, 3 << 20] {
        // Both what packs well and what does not.
        for text in [
            format!("repeat('ä', {length} / 2)"),
            format!(
                "(SELECT left(string_agg(md5(n::text), ''), {length}) FROM generate_series(0, {length} / 32) n)"
            ),
        ] {
            session.exec("BEGIN");
            session.exec(&format!("SELECT ingest(1, 1, jsonb_build_object('t', {text}))"));
            session.exec("SELECT stage_flush()");
            assert!(
                session.is_true(&format!("SELECT value_text = {text} FROM entity_values_ts")),
                "{length}"
            );
            session.exec("ROLLBACK");
        }
    }
}

#[test]
fn null_is_no_reading() {
    let Ready { mut session, .. } = ready();
    session.exec(AUTO);
    let sql = r#"SELECT ingest(1, 1, '{"temperature": null, "unknown": null, "": null}')"#;
    assert_eq!(session.number(sql), 0);
    assert_eq!(
        session.number(r#"SELECT ingest(1, 1, '{"temperature": 1, "unknown": null}')"#),
        1
    );
    assert_eq!(session.number("SELECT ingest(1, 1, '{}')"), 0);
    assert_eq!(session.number("SELECT count(*) FROM attributes"), 1);
    assert_eq!(
        session.number("SELECT count(*) FROM entity_values_ingest_durable"),
        1
    );
}

#[test]
fn a_new_name_is_registered_with_the_type_of_its_value() {
    let Ready { mut session, .. } = ready();
    session.exec(AUTO);
    session.exec(
        r#"SELECT ingest(1, 1, '{"n": 21, "b": true, "t": "NaN", "o": {}, "a": [1], "naïve größe": 1.5}')"#,
    );
    let types = session
        .rows("SELECT name, value_type, tenant_id FROM attributes WHERE name <> 'temperature' ORDER BY name");
    assert_eq!(
        types,
        [
            ["a", "json", "1"],
            ["b", "boolean", "1"],
            ["n", "number", "1"],
            ["naïve größe", "number", "1"],
            ["o", "json", "1"],
            ["t", "text", "1"],
        ]
    );
    // A number, so the next value may have a fraction.
    assert_eq!(session.number(r#"SELECT ingest(1, 1, '{"n": 21.5}')"#), 1);
    assert_eq!(session.number("SELECT stage_flush()"), 7);
}

#[test]
fn an_unknown_name_is_an_error_unless_it_may_be_registered() {
    let Ready { mut session, .. } = ready();
    let failure = session.fails_with(
        "42704",
        r#"SELECT ingest(1, 1, '{"temperature": 1, "temprature": 2, "x": 3}')"#,
    );
    assert!(
        failure
            .message
            .contains("readings: attribute \"temprature\" is not registered for tenant 1"),
        "{failure}"
    );
    assert!(failure.message.contains("1 others"), "{failure}");
    assert!(failure.detail.contains("\"temperature\""), "{failure}");
    assert!(
        failure.hint.contains("register_attribute") && failure.hint.contains("auto_register"),
        "{failure}"
    );
    // Of another tenant; and once there is a shared one.
    session.fails_with("42704", r#"SELECT ingest(2, 1, '{"temperature": 1}')"#);
    session.exec("SELECT register_attribute(0, 'temperature', 'integer')");
    assert_eq!(session.number(r#"SELECT ingest(2, 1, '{"temperature": 1}')"#), 1);
    // The tenant's own hides it, for this session at once.
    session.exec("SELECT register_attribute(2, 'temperature', 'text')");
    assert_eq!(
        session.number(r#"SELECT ingest(2, 1, '{"temperature": "warm"}')"#),
        1
    );
    assert_eq!(
        session.number("SELECT count(*) FROM entity_values_ingest_durable"),
        2
    );
    assert_eq!(session.number("SELECT stage_flush()"), 2);
}

#[test]
fn who_may_turn_registration_on_is_not_the_writer() {
    let Ready { database, .. } = ready();
    let writer = database.create_login(Some("telemetry_writer"));
    let mut session = database.connect_as(&writer);
    // The first call loads the library, and with it the setting.
    session.fails_with("42704", r#"SELECT ingest(1, 1, '{"x": 1}')"#);
    session.fails_with("42501", AUTO);
    database.connect().exec(&format!(
        "ALTER ROLE {writer} SET pg_telemetry.auto_register = on"
    ));
    let mut session = database.connect_as(&writer);
    assert_eq!(session.number(r#"SELECT ingest(1, 1, '{"x": 1}')"#), 1);
    // All by EXECUTE alone: nothing can be read back.
    session.fails_with("42501", "SELECT FROM entity_values_ingest_durable");
}

#[test]
fn what_a_rollback_undid_is_registered_again() {
    let Ready { mut session, .. } = ready();
    session.exec(AUTO);
    let one = r#"SELECT ingest(1, 1, '{"new": 1}')"#;
    session.exec(&format!("BEGIN; {one}; ROLLBACK"));
    session.exec(&format!(
        "BEGIN; {one}; SAVEPOINT s; SELECT ingest(1, 1, '{{\"newer\": 1}}'); ROLLBACK TO s; {one}; COMMIT"
    ));
    session.exec(r#"BEGIN; SELECT ingest(1, 1, '{"new": 1, "newer": true}'); COMMIT"#);
    session.exec(one);
    assert_eq!(session.number("SELECT stage_flush()"), 5);
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 0);
    assert_eq!(
        session.text("SELECT value_type FROM attributes WHERE name = 'newer'"),
        "boolean"
    );
}

#[test]
fn a_rollback_takes_the_readings_along() {
    let Ready { mut session, .. } = ready();
    session.exec(r#"BEGIN; SELECT ingest(1, 1, '{"temperature": 1}'), ingest(1, 2, '{"temperature": 1}', durable => false); ROLLBACK"#);
    for door in DOORS {
        assert_eq!(session.number(&format!("SELECT count(*) FROM {door}")), 0);
    }
}

#[test]
fn a_name_that_two_sessions_register_at_once_is_one_attribute() {
    let Ready {
        database,
        mut session,
        ..
    } = ready();
    session.exec("SET pg_telemetry.auto_register = on");
    for round in 0..5 {
        session.exec("BEGIN");
        session.exec(&format!(r#"SELECT ingest(1, 1, '{{"m{round}": 1}}')"#));
        // In the other order of the document, and one of them taken.
        let others: Vec<_> = ["a", "z"]
            .map(|extra| {
                let sql = format!(
                    r#"SET pg_telemetry.auto_register = on; SELECT ingest(1, 1, '{{"z{round}": 1, "{extra}{round}": 1, "m{round}": 1, "a{round}": 1}}')"#
                );
                database.background_sql(sql)
            })
            .into_iter()
            .collect();
        std::thread::sleep(Duration::from_millis(50));
        assert!(others.iter().all(|other| !other.is_finished()));
        session.exec(if round % 2 == 0 { "COMMIT" } else { "ROLLBACK" });
        for other in others {
            within(Duration::from_secs(20), "both go on", || other.join())
                .expect("no deadlock, no violation");
        }
    }
    let names = session.number("SELECT count(DISTINCT name) FROM attributes WHERE name <> 'temperature'");
    assert_eq!(
        session.number("SELECT count(*) FROM attributes WHERE name <> 'temperature'"),
        names
    );
    assert_eq!(names, 15);
    session.exec("SELECT stage_flush()");
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 0);
}

#[test]
fn many_names_that_two_sessions_register_at_once_do_not_deadlock() {
    let Ready {
        database,
        mut session,
        ..
    } = ready();
    session.exec(AUTO);
    // Both wait in the middle; in an order of its own each would hold what the other wants next.
    session.exec(r#"BEGIN; SELECT ingest(1, 1, '{"name 250": 1}')"#);
    let sessions = [1, 2].map(|entity| {
        let names = "(SELECT jsonb_object_agg('name ' || n, n) FROM generate_series(1, 500) n)";
        database.background_sql(format!("{AUTO}; SELECT ingest(1, {entity}, {names})"))
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(sessions.iter().all(|other| !other.is_finished()));
    session.exec("COMMIT");
    for session in sessions {
        session.join().expect("no deadlock");
    }
    assert_eq!(session.number("SELECT stage_flush()"), 1001);
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 0);
}

#[test]
fn an_entity_is_registered_at_first_sight() {
    let Ready {
        database,
        mut session,
        ..
    } = ready();
    let one = r#"SELECT ingest_external(1, 'robot-7', '{"temperature": 1}')"#;
    assert_eq!(session.number(one), 1);
    assert_eq!(session.number(one), 1);
    let same = "SELECT count(*), count(DISTINCT s.entity_id), min(e.external_id)
                FROM entity_values_ingest_durable s JOIN entities e USING (tenant_id, entity_id)";
    assert_eq!(session.rows(same), [["2", "1", "robot-7"]]);
    // Another session is registering the same one.
    session.exec(r#"BEGIN; SELECT ingest_external(1, 'robot-8', '{"temperature": 1}')"#);
    let other = database.background_sql(r#"SELECT ingest_external(1, 'robot-8', '{"temperature": 1}')"#);
    std::thread::sleep(Duration::from_millis(50));
    assert!(!other.is_finished());
    session.exec("COMMIT");
    within(Duration::from_secs(20), "the other goes on", || other.join()).expect("one id for both");
    assert_eq!(session.number("SELECT count(*) FROM entities"), 2);
    for (id, fault) in [
        ("''", "empty"),
        ("repeat('x', 256)", "256 bytes"),
        ("E'a\\tb'", "control"),
    ] {
        let failure = session.fails_with(
            "22023",
            &format!("SELECT ingest_external(1, {id}, '{{\"temperature\": 1}}')"),
        );
        assert!(failure.message.contains(fault), "{failure}");
        assert!(failure.hint.contains("255"), "{failure}");
    }
    assert_eq!(session.number("SELECT count(*) FROM entities"), 2);
}

#[test]
fn where_staging_has_a_trigger_the_executor_writes() {
    let Ready { mut session, .. } = ready();
    session.exec(
        "CREATE FUNCTION doubled() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.value_num := 2 * NEW.value_num; RETURN NEW; END $$;
         CREATE TRIGGER doubled BEFORE INSERT ON entity_values_ingest_durable FOR EACH ROW EXECUTE FUNCTION doubled()",
    );
    assert_eq!(
        session.number(r#"SELECT ingest(1, 1, '{"temperature": 21}', now())"#),
        1
    );
    assert_eq!(
        session.rows("SELECT value_num, observed_at IS NOT NULL FROM entity_values_ingest_durable"),
        [["42", "t"]]
    );
}

#[test]
fn a_thousand_calls_and_large_documents_arrive() {
    let Ready { mut session, .. } = ready();
    session.exec(AUTO);
    session.exec(
        "SELECT ingest(1, n, '{\"temperature\": 1}', durable => n % 2 = 0) FROM generate_series(1, 1000) n",
    );
    let wide = "(SELECT jsonb_object_agg('name ' || n, n) FROM generate_series(1, 1000) n)";
    assert_eq!(session.number(&format!("SELECT ingest(1, 1001, {wide})")), 1000);
    assert_eq!(session.number("SELECT stage_flush()"), 2000);
    let failure = session.fails_with(
        "54000",
        "SELECT ingest(1, 1, (SELECT jsonb_object_agg('other ' || n, n) FROM generate_series(0, 1000) n))",
    );
    assert!(failure.message.contains("1001, allowed are 1000"), "{failure}");
}

#[test]
fn it_works_in_every_isolation_and_not_where_nothing_can_be_written() {
    let Ready { mut session, .. } = ready();
    let one = r#"SELECT ingest(1, 1, '{"temperature": 1}')"#;
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        session.exec(&format!("BEGIN ISOLATION LEVEL {level}; {one}; COMMIT"));
    }
    session.exec("SET default_transaction_read_only = on");
    let failure = session.fails_with("25006", one);
    assert!(!failure.hint.is_empty());
    session.exec("RESET default_transaction_read_only");
    assert_eq!(session.number("SELECT stage_flush()"), 3);
}

#[test]
fn on_a_standby_it_says_where_to_go() {
    let primary = Cluster::builder().start();
    let database = primary.create_database("ingest");
    let mut session = database.install();
    attribute(&mut session, "temperature", "number");
    let standby = primary.standby();
    let mut replica = standby.connect("ingest");
    for call in [
        r#"ingest(1, 1, '{"temperature": 1}')"#,
        r#"ingest_external(1, 'x', '{"temperature": 1}')"#,
        r#"ingest_many(1, '[{"entity_id": 1, "readings": {"temperature": 1}}]')"#,
    ] {
        let failure: Failure = replica.fails_with("25006", &format!("SELECT {call}"));
        assert!(failure.hint.contains("primary"), "{failure}");
    }
}

#[test]
fn workers_take_what_was_ingested() {
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("workers");
    let mut session = database.install();
    attribute(&mut session, "temperature", "number");
    session.exec(
        "SELECT ingest(1, n, '{\"temperature\": 1}', durable => n % 2 = 0) FROM generate_series(1, 100) n",
    );
    eventually(cluster_tests::SOON, "facts", || {
        match session.number("SELECT count(*) FROM entity_values_ts") {
            100 => Ok(()),
            seen => Err(seen),
        }
    });
}
