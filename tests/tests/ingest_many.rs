//! ingest_many(): readings of several entities in one document, all or none.

use cluster_tests::readings::{DOORS, Ready, ready};
use cluster_tests::{NULL, Session};
use std::time::Duration;

const GOOD: &str = r#"{"entity_id": 1, "readings": {"temperature": 21.5}}"#;

fn many(session: &mut Session, elements: &str) -> i64 {
    session.number(&format!("SELECT ingest_many(1, '[{elements}]')"))
}

#[test]
fn each_element_has_its_entity_and_its_time() {
    let Ready { mut session, .. } = ready();
    session.exec("SET pg_telemetry.auto_register = on");
    let elements = r#"{"entity_id": -9223372036854775808, "readings": {"temperature": 1, "mode": "idle"}},
        {"external_id": "robot-b", "observed_at": "2026-01-01T00:00:00+01:00", "readings": {"temperature": 2}},
        {"external_id": "robot-a", "observed_at": null, "request_id": null, "readings": {"mode": "busy", "none": null}},
        {"external_id": "robot-b", "readings": {"temperature": 3}},
        {"entity_id": 7.0, "readings": {}}"#;
    assert_eq!(many(&mut session, elements), 5);
    let rows = session.rows(
        "SELECT coalesce(e.external_id, s.entity_id::text), a.name, value_num, value_text, extract(epoch from observed_at)::bigint
         FROM entity_values_ingest_durable s JOIN attributes a USING (attribute_id)
             LEFT JOIN entities e ON (e.tenant_id, e.entity_id) = (s.tenant_id, s.entity_id)
         ORDER BY s.ctid",
    );
    let least = "-9223372036854775808";
    assert_eq!(
        rows,
        [
            [least, "mode", NULL, "idle", NULL],
            [least, "temperature", "1", NULL, NULL],
            ["robot-b", "temperature", "2", NULL, "1767222000"],
            ["robot-a", "mode", NULL, "busy", NULL],
            ["robot-b", "temperature", "3", NULL, NULL],
        ]
    );
    // Given out in the order of the names.
    assert_eq!(
        session.column("SELECT external_id FROM entities ORDER BY entity_id"),
        ["robot-a", "robot-b"]
    );
    assert_eq!(session.number("SELECT stage_flush()"), 5);
    assert_eq!(session.number("SELECT ingest_many(1, '[]')"), 0);
    assert_eq!(
        session.number(&format!("SELECT ingest_many(1, '[{GOOD}]', durable => false)")),
        1
    );
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ingest"), 1);
}

#[test]
fn a_fault_names_its_place_and_stages_nothing() {
    let Ready { mut session, .. } = ready();
    let cases = [
        ("{}", "22023", "batch: must be a JSON array, not an object"),
        ("1", "22023", "batch: must be a JSON array, not a number"),
        ("null", "22023", "not null"),
        (
            r#"[GOOD, 1]"#,
            "22023",
            "batch[1]: must be a JSON object, not a number",
        ),
        (
            r#"[GOOD, []]"#,
            "22023",
            "batch[1]: must be a JSON object, not an array",
        ),
        (
            r#"[GOOD, null]"#,
            "22023",
            "batch[1]: must be a JSON object, not null",
        ),
        (
            r#"[GOOD, {"readings": {}}]"#,
            "22023",
            "batch[1]: entity_id or external_id is missing",
        ),
        (r#"[{"entity_id": 1}]"#, "22023", "batch[0]: readings is missing"),
        (
            r#"[{"entity_id": 1, "external_id": "x", "readings": {}}]"#,
            "22023",
            "batch[0]: has both",
        ),
        (
            r#"[{"entity_id": 1, "readings": {}, "extra": 1}]"#,
            "22023",
            "batch[0]: unknown key \"extra\"",
        ),
        (
            r#"[{"entity_id": 1, "readings": []}]"#,
            "22023",
            "batch[0].readings: must be a JSON object, not an array",
        ),
        (
            r#"[{"entity_id": 1, "readings": null}]"#,
            "22023",
            "batch[0].readings: must be a JSON object, not null",
        ),
        (
            r#"[{"entity_id": "1", "readings": {}}]"#,
            "22023",
            "batch[0].entity_id: must be a number, not a string",
        ),
        (
            r#"[{"entity_id": null, "readings": {}}]"#,
            "22023",
            "batch[0].entity_id: must be a number, not null",
        ),
        (
            r#"[{"entity_id": 1.5, "readings": {}}]"#,
            "22023",
            "batch[0].entity_id: must be a number without a fraction",
        ),
        (
            r#"[{"entity_id": 9223372036854775808, "readings": {}}]"#,
            "22023",
            "out of range of bigint",
        ),
        (
            r#"[{"external_id": 1, "readings": {}}]"#,
            "22023",
            "batch[0].external_id: must be a string, not a number",
        ),
        (
            r#"[GOOD, {"external_id": "", "readings": {}}]"#,
            "22023",
            "batch[1].external_id: invalid",
        ),
        (
            r#"[{"entity_id": 1, "observed_at": 5, "readings": {}}]"#,
            "22023",
            "batch[0].observed_at: must be a string",
        ),
        (
            r#"[{"entity_id": 1, "observed_at": "2026-01-01", "readings": {}}]"#,
            "22007",
            "batch[0].observed_at",
        ),
        (
            r#"[{"entity_id": 1, "observed_at": "infinity", "readings": {}}]"#,
            "22008",
            "batch[0].observed_at",
        ),
        (
            r#"[{"entity_id": 1, "request_id": "x", "readings": {}}]"#,
            "22023",
            "batch[0].request_id: \"x\" is no uuid",
        ),
        (
            r#"[GOOD, {"entity_id": 1, "readings": {"temperature": "x"}}]"#,
            "42804",
            "batch[1].readings: attribute \"temperature\" is number, the value is a string",
        ),
        (
            r#"[GOOD, {"entity_id": 1, "readings": {"other": 1}}]"#,
            "42704",
            "batch[1].readings: attribute \"other\" is not registered",
        ),
    ];
    for (batch, code, message) in cases {
        let batch = batch.replace("GOOD", GOOD);
        let failure = session.fails_with(code, &format!("SELECT ingest_many(1, '{batch}')"));
        assert!(failure.message.contains(message), "{batch}: {failure}");
        assert!(!failure.hint.is_empty(), "{batch}: {failure}");
    }
    for door in DOORS {
        assert_eq!(session.number(&format!("SELECT count(*) FROM {door}")), 0);
    }
    assert_eq!(session.number("SELECT count(*) FROM entities"), 0);
    assert_eq!(many(&mut session, GOOD), 1);
}

#[test]
fn a_new_name_has_the_type_of_its_first_value() {
    let Ready { mut session, .. } = ready();
    session.exec("SET pg_telemetry.auto_register = on");
    let clash = r#"[{"entity_id": 1, "readings": {"x": null}}, {"entity_id": 1, "readings": {"x": 1}}, {"entity_id": 2, "readings": {"x": "a"}}]"#;
    let failure = session.fails_with("42804", &format!("SELECT ingest_many(1, '{clash}')"));
    assert!(
        failure
            .message
            .contains("batch[2].readings: attribute \"x\" is number, the value is a string"),
        "{failure}"
    );
    assert_eq!(
        session.number("SELECT count(*) FROM attributes WHERE name = 'x'"),
        0
    );
}

#[test]
fn entities_that_several_batches_bring_at_once_do_not_deadlock() {
    let Ready {
        database,
        mut session,
        ..
    } = ready();
    let batch = |order: &str| {
        format!(
            "SELECT ingest_many(1, (SELECT jsonb_agg(jsonb_build_object('external_id', 'r' || n, 'readings', '{{\"temperature\": 1}}'::jsonb) ORDER BY n {order})
             FROM generate_series(1, 500) n))"
        )
    };
    // Both wait in the middle, where each would hold what the other wants next.
    session.exec("BEGIN; SELECT register_entity(1, 'r250')");
    let sessions = ["ASC", "DESC"].map(|order| database.background_sql(batch(order)));
    std::thread::sleep(Duration::from_millis(300));
    assert!(sessions.iter().all(|other| !other.is_finished()));
    session.exec("COMMIT");
    for session in sessions {
        session.join().expect("no deadlock");
    }
    assert_eq!(session.number("SELECT count(*) FROM entities"), 500);
    assert_eq!(session.number("SELECT stage_flush()"), 1000);
}

#[test]
fn numbers_with_more_digits_than_memory_are_refused_and_can_be_cancelled() {
    let Ready { mut session, .. } = ready();
    session.exec(
        r#"SELECT register_attribute(1, 'state', 'json');
        CREATE TEMP TABLE documents AS
        SELECT ('[' || string_agg('{"entity_id": 1, "readings": {"state": 1e131071}}', ',') || ']')::jsonb AS batch
        FROM generate_series(1, 3000)"#,
    );
    let call = "SELECT ingest_many(1, batch) FROM documents";
    let failure = session.fails_with("54000", call);
    assert!(failure.message.starts_with("bytes of text: 26"), "{failure}");
    // The same within one value: some 60 kB that stand for 900 MB.
    session.exec(
        r#"CREATE TEMP TABLE deep AS
        SELECT jsonb_build_object('state', jsonb_agg('{"n": 1e131071}'::jsonb)) AS readings FROM generate_series(1, 7000)"#,
    );
    let nested = "SELECT ingest(1, 1, readings) FROM deep";
    let failure = session.fails_with("54000", nested);
    assert!(
        failure.message.contains(" 672"),
        "stopped beyond 64 MB: {failure}"
    );
    session.exec("SET statement_timeout = '20ms'");
    session.fails_with("57014", call);
    session.fails_with("57014", nested);
    session.exec("RESET statement_timeout");
    assert_eq!(
        session.number("SELECT count(*) FROM entity_values_ingest_durable"),
        0
    );
}
