//! Values that are written and read at once, deleted entities, and documents made anew from facts.

use cluster_tests::{Cluster, Database, Session, shared, wait_for_lock};

fn ready() -> (Database, Session) {
    let database = shared::database();
    let mut session = database.install();
    session.exec(
        "SELECT register_attribute(1, 'speed', 'number', is_hot => true), register_attribute(1, 'gear', 'integer', is_hot => true),
                register_attribute(1, 'on', 'boolean', is_hot => true), register_attribute(1, 'seen', 'timestamp', is_hot => true),
                register_attribute(1, 'state', 'text', is_hot => true), register_attribute(1, 'extra', 'json', is_hot => true),
                register_attribute(1, 'cold', 'number')",
    );
    (database, session)
}

const NOTHING: &str = "SELECT count(*) FROM verify_hot(1)";

#[test]
fn what_is_written_is_read_at_once_and_is_in_facts() {
    let (database, mut session) = ready();
    let mut other = database.connect();
    session.exec("BEGIN");
    let all = r#"{"on": true, "gear": -9223372036854775808, "seen": "2026-11-21T10:00:00+01:00", "extra": {"b": [1.50, null]}, "speed": 0.1, "state": "größe"}"#;
    let shown = r#"{"on": true, "gear": -9223372036854775808, "seen": "2026-11-21T09:00:00Z", "extra": {"b": [1.50, null]}, "speed": 0.1, "state": "größe"}"#;
    assert_eq!(
        session.text(&format!("SELECT upsert_hot_attrs(1, 7, '{all}')")),
        shown
    );
    assert_eq!(session.text("SELECT entity_latest(1, 7)"), shown);
    assert_eq!(other.text("SELECT entity_latest(1, 7)"), "{}");
    // Twice in a transaction, twice in a statement: the last one wins.
    assert_eq!(
        session.text(r#"SELECT upsert_hot_attrs(1, 7, '{"speed": 3}') -> 'speed'"#),
        "3"
    );
    assert_eq!(
        session.rows(r#"SELECT upsert_hot_attrs(1, 7, '{"speed": 4}') -> 'speed', upsert_hot_attrs(1, 7, '{"speed": 2}') -> 'speed'"#),
        [["4", "2"]]
    );
    session.exec("COMMIT");
    assert_eq!(
        other.text("SELECT entity_latest(1, 7, '{speed,gear}')"),
        r#"{"gear": -9223372036854775808, "speed": 2}"#
    );
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ts"), 9);
    assert_eq!(
        session.text("SELECT value_num FROM entity_values_ts JOIN attributes USING (attribute_id) WHERE name = 'speed' ORDER BY ingested_at DESC LIMIT 1"),
        "2"
    );
    assert_eq!(session.number(NOTHING), 0);
    // An observation that is older changes nothing and is kept all the same.
    assert_eq!(
        session
            .text(r#"SELECT upsert_hot_attrs(1, 7, '{"speed": 99}', now() - interval '1 hour') -> 'speed'"#),
        "2"
    );
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ts"), 10);
    // One from a clock that is ahead counts as of now, and does not last.
    assert_eq!(
        session
            .text(r#"SELECT upsert_hot_attrs(1, 7, '{"speed": 5}', now() + interval '20 hours') -> 'speed'"#),
        "5"
    );
    assert_eq!(
        session.text(r#"SELECT upsert_hot_attrs(1, 7, '{"speed": 6}') -> 'speed'"#),
        "6"
    );
    assert_eq!(session.number(NOTHING), 0);
    session.exec(r#"BEGIN; SELECT upsert_hot_attrs(1, 8, '{"speed": 5}'); ROLLBACK"#);
    assert_eq!(session.text("SELECT entity_latest(1, 8)"), "{}");
    assert_eq!(session.text("SELECT upsert_hot_attrs(1, 8, '{}')"), "{}");
}

#[test]
fn what_cannot_be_written_is_an_error_that_says_why_and_writes_nothing() {
    let (_database, mut session) = ready();
    for (sqlstate, call) in [
        ("42704", r#"1, 7, '{"speed": 1, "sped": 1}'"#),
        ("42804", r#"1, 7, '{"speed": "fast"}'"#),
        ("42804", r#"1, 7, '{"gear": 1.5}'"#),
        ("22003", r#"1, 7, '{"gear": 9223372036854775808}'"#),
        ("22003", r#"1, 7, '{"speed": 1e400}'"#),
        ("22007", r#"1, 7, '{"seen": "yesterday"}'"#),
        ("22004", r#"1, 7, '{"speed": null}'"#),
        ("55000", r#"1, 7, '{"speed": 1, "cold": 1}'"#),
        ("22023", r#"1, 7, '[1]'"#),
        ("22003", r#"0, 7, '{"speed": 1}'"#),
        ("22004", r#"1, NULL, '{"speed": 1}'"#),
        ("22004", "1, 7, NULL"),
        ("22008", r#"1, 7, '{"speed": 1}', 'infinity'"#),
        ("22008", r#"1, 7, '{"speed": 1}', now() + interval '3 days'"#),
        ("22008", r#"1, 7, '{"speed": 1}', '1970-01-01'"#),
    ] {
        let failure = session.fails_with(sqlstate, &format!("SELECT upsert_hot_attrs({call})"));
        assert!(
            sqlstate == "22004" || sqlstate == "22003" || !failure.hint.is_empty(),
            "{call}: {failure:?}"
        );
    }
    for (sqlstate, call) in [
        ("42704", "entity_latest(1, 7, '{sped}')"),
        ("55000", "entity_latest(1, 7, '{cold}')"),
        ("22004", "entity_latest(1, 7, '{NULL}')"),
        ("22004", "entities_latest(1, '{NULL}')"),
        ("22003", "entities_latest(0, '{1}')"),
    ] {
        session.fails_with(sqlstate, &format!("SELECT {call}"));
    }
    session.exec("BEGIN READ ONLY");
    session.fails_with("25006", r#"SELECT upsert_hot_attrs(1, 7, '{"speed": 1}')"#);
    session.exec("ROLLBACK");
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ts"), 0);
    assert_eq!(session.number("SELECT count(*) FROM entity_jsonb"), 0);
    session.exec("SET pg_telemetry.auto_register = on");
    assert_eq!(
        session.text(r#"SELECT upsert_hot_attrs(1, 7, '{"a.b\"c ü": 1}')"#),
        r#"{"a.b\"c ü": 1}"#
    );
}

#[test]
fn two_sessions_and_the_flush_in_any_order_do_not_stop_the_flush() {
    let (database, mut session) = ready();
    let mut first = database.connect();
    let mut second = database.connect();
    for entity in [1, 2] {
        session.exec(&format!(
            r#"SELECT upsert_hot_attrs(1, {entity}, '{{"speed": 1}}')"#
        ));
    }
    first.exec(
        r#"BEGIN; SELECT upsert_hot_attrs(1, 1, '{"speed": 2}'), upsert_hot_attrs(1, 10, '{"speed": 2}')"#,
    );
    second.exec(
        r#"BEGIN; SELECT upsert_hot_attrs(1, 2, '{"speed": 3}'), upsert_hot_attrs(1, 20, '{"speed": 3}')"#,
    );
    session.exec("SET lock_timeout = '1ms'");
    session.exec(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_int)
         SELECT 1, entity, attribute_id, 7 FROM attributes, unnest('{1,2,3,10,20}'::int[]) AS entity WHERE name = 'gear';
         SELECT stage_flush()",
    );
    assert_eq!(session.number("SELECT count(*) FROM projection_pending"), 4);
    assert_eq!(session.text("SELECT entity_latest(1, 3)"), r#"{"gear": 7}"#);
    // What waits is shown to whoever asks for it.
    assert_eq!(session.text("SELECT entity_latest(1, 1)"), r#"{"speed": 1}"#);
    assert_eq!(
        session.text("SELECT entity_latest(1, 1, NULL, true)"),
        r#"{"gear": 7, "speed": 1}"#
    );
    let waits = database.background_sql(r#"SELECT upsert_hot_attrs(1, 1, '{"speed": 4}')"#);
    wait_for_lock(&mut session, waits.pid());
    first.exec("COMMIT");
    second.exec("COMMIT");
    waits.join().expect("it was its turn");
    session.exec("SELECT stage_flush()");
    assert_eq!(
        session.text("SELECT entity_latest(1, 1)"),
        r#"{"gear": 7, "speed": 4}"#
    );
    assert_eq!(
        session.text("SELECT entity_latest(1, 2)"),
        r#"{"gear": 7, "speed": 3}"#
    );
    assert_eq!(
        session.text("SELECT entity_latest(1, 20)"),
        r#"{"gear": 7, "speed": 3}"#
    );
    assert_eq!(session.number("SELECT count(*) FROM projection_pending"), 0);
    assert_eq!(session.number(NOTHING), 0);
}

#[test]
fn under_repeatable_read_a_row_that_changed_is_a_serialization_failure() {
    let (database, mut session) = ready();
    let mut other = database.connect();
    session.exec(r#"SELECT upsert_hot_attrs(1, 1, '{"speed": 1}')"#);
    session.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT entity_latest(1, 1)");
    other.exec(r#"SELECT upsert_hot_attrs(1, 1, '{"speed": 2}')"#);
    assert_eq!(session.text("SELECT entity_latest(1, 1)"), r#"{"speed": 1}"#);
    session.fails_with("40001", r#"SELECT upsert_hot_attrs(1, 1, '{"speed": 3}')"#);
    session.exec("ROLLBACK; BEGIN ISOLATION LEVEL SERIALIZABLE");
    assert_eq!(session.text("SELECT entity_latest(1, 1)"), r#"{"speed": 2}"#);
    assert_eq!(
        session.text(r#"SELECT upsert_hot_attrs(1, 1, '{"speed": 4}')"#),
        r#"{"speed": 4}"#
    );
    session.exec("COMMIT");
}

#[test]
fn staged_readings_are_merged_as_the_flush_would() {
    let (_database, mut session) = ready();
    session.exec(r#"SELECT upsert_hot_attrs(1, 1, '{"speed": 1, "gear": 1}')"#);
    session.exec(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num, observed_at)
           SELECT 1, 1, attribute_id, v, now() - a * interval '1 hour' FROM attributes, (VALUES (5, 9), (6, 8)) AS x (v, a) WHERE name = 'speed';
           INSERT INTO entity_values_ingest_durable (tenant_id, entity_id, attribute_id, value_int)
           SELECT 1, 1, attribute_id, v FROM attributes, generate_series(2, 4) v WHERE name = 'gear';
           INSERT INTO entity_values_ingest_durable (tenant_id, entity_id, attribute_id, value_int)
           SELECT 1, 1, attribute_id, 4 FROM attributes WHERE name IN ('state', 'on')",
    );
    let staged = session.text("SELECT entity_latest(1, 1, NULL, true)");
    assert_eq!(staged, r#"{"gear": 4, "speed": 1}"#);
    assert_eq!(
        session.text("SELECT entity_latest(1, 1)"),
        r#"{"gear": 1, "speed": 1}"#
    );
    session.exec("SELECT stage_flush()");
    assert_eq!(session.text("SELECT entity_latest(1, 1)"), staged);
    assert_eq!(session.number(NOTHING), 0);
}

#[test]
fn a_deleted_entity_is_out_of_sight_and_comes_back_up_to_date() {
    let (_database, mut session) = ready();
    session.exec(r#"SELECT upsert_hot_attrs(1, 1, '{"speed": 1}')"#);
    assert!(session.is_true("SELECT delete_entity(1, 1)"));
    assert!(!session.is_true("SELECT delete_entity(1, 1)"));
    for entity in [1, 2] {
        session.exec(&format!("SELECT delete_entity(1, {entity})"));
        assert_eq!(
            session.text(&format!("SELECT entity_latest(1, {entity}, NULL, true)")),
            "{}"
        );
        let failure = session.fails_with(
            "55000",
            &format!(r#"SELECT upsert_hot_attrs(1, {entity}, '{{"speed": 2}}')"#),
        );
        assert!(failure.hint.contains("undelete_entity"));
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)
             SELECT 1, {entity}, attribute_id, 3 FROM attributes WHERE name = 'speed'; SELECT stage_flush()"
        ));
        assert_eq!(session.text(&format!("SELECT entity_latest(1, {entity})")), "{}");
        assert_eq!(
            session.number("SELECT count(*) FROM entities_latest(1, '{1,2}')"),
            0
        );
        session.exec(&format!("SELECT rebuild_hot(1, {entity})"));
        assert_eq!(
            session.number(&format!("SELECT count(*) FROM verify_hot(1, {entity})")),
            0
        );
    }
    assert!(session.is_true("SELECT undelete_entity(1, 1)"));
    assert!(session.is_true("SELECT undelete_entity(1, 2)"));
    assert!(!session.is_true("SELECT undelete_entity(1, 2)"));
    assert!(!session.is_true("SELECT undelete_entity(1, 3)"));
    for entity in [1, 2] {
        assert_eq!(
            session.text(&format!("SELECT entity_latest(1, {entity})")),
            r#"{"speed": 3}"#
        );
    }
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ts"), 3);
}

#[test]
fn several_entities_with_the_times_of_their_values() {
    let (_database, mut session) = ready();
    session.exec(
        r#"SELECT upsert_hot_attrs(1, 1, '{"speed": 1, "state": "x"}', now() - interval '1 hour');
           SELECT upsert_hot_attrs(1, 2, '{"speed": 2}')"#,
    );
    assert_eq!(
        session.rows("SELECT entity_id, attribute, value FROM entities_latest(1, '{2,1,5}') ORDER BY 1, 2"),
        [["1", "speed", "1"], ["1", "state", "\"x\""], ["2", "speed", "2"]]
    );
    assert!(session.is_true("SELECT bool_and(observed_at IS NOT NULL) FROM entities_latest(1, '{1,2}')"));
    assert_eq!(
        session.number("SELECT count(*) FROM entities_latest(1, '{1,2}', '{speed}')"),
        2
    );
}

#[test]
fn documents_are_made_anew_from_facts_and_old_values_stay() {
    let (_database, mut session) = ready();
    session.exec(
        r#"SELECT upsert_hot_attrs(1, n, ('{"speed": ' || n || ', "gear": 1}')::jsonb, now() - interval '1 minute') FROM generate_series(1, 5) n;
           SELECT upsert_hot_attrs(1, 5, '{"state": "x"}');
           UPDATE entity_jsonb SET hot_attrs = '{"speed": 77, "rubbish": 1}' WHERE entity_id = 1;
           UPDATE entity_jsonb SET hot_times = '\x07' WHERE entity_id = 2;
           DELETE FROM entity_jsonb WHERE entity_id = 3"#,
    );
    let failure = session.fails_with("XX001", r#"SELECT upsert_hot_attrs(1, 2, '{"speed": 1}')"#);
    assert!(
        failure.message.contains("entity 2") && failure.hint == "SELECT rebuild_hot(1, 2);",
        "{failure:?}"
    );
    assert_eq!(
        session.text(
            "SELECT string_agg(entity_id || attribute, ',' ORDER BY entity_id, attribute) FROM verify_hot(1)"
        ),
        "1gear,1rubbish,1speed,2gear,2speed,3gear,3speed"
    );
    assert_eq!(session.number("SELECT rebuild_hot(1, 1)"), 3);
    assert_eq!(session.number("SELECT rebuild_hot(1, 1)"), 0);
    assert_eq!(session.rows("CALL rebuild_hot_tenant(1)"), [["5", "4"]]);
    assert_eq!(session.number(NOTHING), 0);
    assert_eq!(
        session.text("SELECT entity_latest(1, 3)"),
        r#"{"gear": 1, "speed": 3}"#
    );
    // The partition of the facts is gone: the values stay, whatever is rebuilt, until something newer comes.
    session.exec(
        "DO $$ DECLARE part regclass; BEGIN
             FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'entity_values_ts'::regclass LOOP
                 EXECUTE format('ALTER TABLE entity_values_ts DETACH PARTITION %s', part);
                 EXECUTE format('DROP TABLE %s', part);
             END LOOP; END $$",
    );
    assert_eq!(session.rows("CALL rebuild_hot_tenant(1)"), [["5", "0"]]);
    assert_eq!(
        session.text("SELECT entity_latest(1, 5)"),
        r#"{"gear": 1, "speed": 5, "state": "x"}"#
    );
    // The partition is made anew where it is missing.
    assert_eq!(
        session.text(r#"SELECT upsert_hot_attrs(1, 5, '{"state": "y"}') -> 'state'"#),
        "\"y\""
    );
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ts"), 1);
}

#[test]
fn a_standby_reads_and_refuses_to_write() {
    let primary = Cluster::builder().start();
    let database = primary.create_database("hot");
    let mut session = database.install();
    session.exec(r#"SELECT register_attribute(1, 'speed', 'number', is_hot => true); SELECT upsert_hot_attrs(1, 1, '{"speed": 1}')"#);
    let standby = primary.standby();
    session.exec(
        "INSERT INTO entity_values_ingest_durable (tenant_id, entity_id, attribute_id, value_num)
         SELECT 1, 1, attribute_id, 2 FROM attributes WHERE name = 'speed'",
    );
    standby.catch_up_with(&primary);
    let mut replica = standby.connect("hot");
    assert_eq!(replica.text("SELECT entity_latest(1, 1)"), r#"{"speed": 1}"#);
    assert_eq!(
        replica.text("SELECT entity_latest(1, 1, '{speed}', true)"),
        r#"{"speed": 2}"#
    );
    assert_eq!(
        replica.number("SELECT count(*) FROM entities_latest(1, '{1}')"),
        1
    );
    assert_eq!(replica.number("SELECT count(*) FROM verify_hot(1)"), 0);
    for write in [
        r#"SELECT upsert_hot_attrs(1, 1, '{"speed": 3}')"#,
        "SELECT delete_entity(1, 1)",
        "SELECT undelete_entity(1, 1)",
        "SELECT rebuild_hot(1, 1)",
        "CALL rebuild_hot_tenant(1)",
    ] {
        replica.fails_with("25006", write);
    }
}

#[test]
fn rights_are_those_of_the_roles() {
    let (database, mut session) = ready();
    session.exec(r#"SELECT upsert_hot_attrs(1, 1, '{"speed": 1}')"#);
    let reader = database.create_login(Some("telemetry_reader"));
    let writer = database.create_login(Some("telemetry_writer"));
    let mut reader = database.connect_as(&reader);
    let mut writer = database.connect_as(&writer);
    assert_eq!(
        reader.text("SELECT entity_latest(1, 1, '{speed}', true)"),
        r#"{"speed": 1}"#
    );
    assert_eq!(reader.number("SELECT count(*) FROM entities_latest(1, '{1}')"), 1);
    assert_eq!(
        writer.text(r#"SELECT upsert_hot_attrs(1, 1, '{"speed": 2}')"#),
        r#"{"speed": 2}"#
    );
    assert!(writer.is_true("SELECT delete_entity(1, 1)"));
    assert!(writer.is_true("SELECT undelete_entity(1, 1)"));
    for refused in [
        r#"SELECT upsert_hot_attrs(1, 1, '{"speed": 2}')"#,
        "SELECT rebuild_hot(1, 1)",
        "SELECT delete_entity(1, 1)",
    ] {
        reader.fails_with("42501", refused);
    }
    writer.fails_with("42501", "SELECT entity_latest(1, 1)");
    // A policy hides an entity from the reader, staged readings included.
    session.exec(
        "CREATE POLICY mine ON entity_jsonb FOR SELECT TO telemetry_reader USING (entity_id <> 1);
         ALTER TABLE entity_jsonb ENABLE ROW LEVEL SECURITY",
    );
    assert_eq!(reader.text("SELECT entity_latest(1, 1)"), "{}");
    reader.fails_with("42501", "SELECT entity_latest(1, 1, NULL, true)");
    assert_eq!(
        writer.text(r#"SELECT upsert_hot_attrs(1, 1, '{"speed": 3}')"#),
        r#"{"speed": 3}"#
    );
}
