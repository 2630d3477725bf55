//! retry_rejected(): rejected readings go back to where they came from, each once.

use cluster_tests::readings::{DOORS, Ready, attribute, facts, ready, stage};

/// Everything of a rejected row but when and why.
const VALUES: &str =
    "tenant_id, entity_id, ingested_at, observed_at, value_num, value_int, attribute_id, value_text, durable";

#[test]
fn rows_go_back_through_their_door_as_they_were() {
    let Ready { mut session, .. } = ready();
    for door in DOORS {
        session.exec(&format!(
            "INSERT INTO {door} VALUES (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
                 (-5, 6, '2001-02-03+00', '1999-01-01+00', 'NaN', 7, 8, 'text'),
                 (1, 2, 'infinity', '-infinity', NULL, NULL, NULL, repeat('größe ', 5000))"
        ));
    }
    assert_eq!(session.number("SELECT stage_flush()"), 0);
    session.exec(&format!(
        "CREATE TABLE before AS SELECT {VALUES} FROM entity_values_rejected"
    ));
    assert_eq!(session.number("SELECT retry_rejected()"), 6);
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 0);
    let staged = "SELECT *, false FROM entity_values_ingest UNION ALL SELECT *, true FROM entity_values_ingest_durable";
    let missing = format!("SELECT count(*) FROM (SELECT {VALUES} FROM before EXCEPT ALL ({staged})) x");
    assert_eq!(session.number(&missing), 0);
    // Nothing about them is better now.
    assert_eq!(session.number("SELECT stage_flush()"), 0);
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 6);
    assert_eq!(session.number("SELECT count(*) FROM before"), 6);
}

#[test]
fn what_was_unknown_is_stored_once_it_is_known() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    let unknown = temperature + 1;
    for (door, first) in DOORS.into_iter().zip([1, 101]) {
        stage(&mut session, door, unknown, first, first + 99);
        stage(&mut session, door, temperature, first + 1000, first + 1099);
    }
    assert_eq!(session.number("SELECT stage_flush()"), 200);
    assert_eq!(attribute(&mut session, "humidity", "number"), unknown);
    let filter = format!(r#"{{"sqlstate": "42704", "attribute_id": {unknown}, "tenant_id": 1}}"#);
    assert_eq!(
        session.number(&format!("SELECT retry_rejected('{filter}', 30)")),
        30
    );
    assert_eq!(
        session.number(&format!("SELECT retry_rejected('{filter}', NULL)")),
        170
    );
    assert_eq!(session.number(&format!("SELECT retry_rejected('{filter}')")), 0);
    assert_eq!(session.number("SELECT stage_flush()"), 200);
    assert_eq!(facts(&mut session), (400, 400));
}

#[test]
fn the_filter_chooses() {
    let Ready { mut session, .. } = ready();
    session.exec(
        "INSERT INTO entity_values_ingest_durable VALUES (1, 10, now(), NULL, 1, NULL, 77, NULL),
             (2, 10, now(), NULL, 1, NULL, 78, NULL), (NULL, 11, now(), NULL, 1, NULL, 78, NULL),
             (3, NULL, now(), NULL, 1, NULL, NULL, NULL);
         INSERT INTO entity_values_ingest VALUES (1, 12, now() - interval '1 year', NULL, 1, NULL, 77, NULL)",
    );
    session.exec("SELECT stage_flush()");
    for (filter, expected) in [
        (r#"{}"#, 5),
        (r#"{"tenant_id": 1}"#, 2),
        (r#"{"tenant_id": null}"#, 1),
        (r#"{"entity_id": 10}"#, 2),
        (r#"{"entity_id": null, "attribute_id": null}"#, 1),
        (r#"{"attribute_id": 77, "entity_id": 10}"#, 1),
        (r#"{"sqlstate": "42704"}"#, 2),
        (r#"{"reason": "%accepted window"}"#, 1),
        (r#"{"reason": "accepted window"}"#, 0),
        (r#"{"durable": false}"#, 1),
        (r#"{"rejected_since": "2020-01-01 00:00+00"}"#, 5),
        (r#"{"rejected_until": "2020-01-01 00:00+00"}"#, 0),
        (r#"{"sqlstate": "' OR true --"}"#, 0),
    ] {
        session.exec("BEGIN");
        let found = session.number(&format!(
            "SELECT retry_rejected('{}')",
            filter.replace('\'', "''")
        ));
        session.exec("ROLLBACK");
        assert_eq!(found, expected, "{filter}");
    }
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 5);
}

#[test]
fn a_filter_that_cannot_be_meant_is_refused() {
    let Ready { mut session, .. } = ready();
    for (filter, word) in [
        (r#"{"tenant": 1}"#, "\"tenant\""),
        (r#"{"tenant_id": "1"}"#, "tenant_id"),
        (r#"{"tenant_id": 1e30}"#, "tenant_id"),
        (r#"{"attribute_id": 2147483648}"#, "attribute_id"),
        (r#"{"reason": 5}"#, "reason"),
        (r#"[]"#, "object"),
        (r#""tenant_id""#, "object"),
    ] {
        let refused = session.fails_with("22023", &format!("SELECT retry_rejected('{filter}')"));
        assert!(refused.message.contains(word), "{filter}: {refused}");
        assert!(refused.detail.contains("rejected_since"), "{filter}: {refused}");
        assert!(refused.hint.contains("tenant_id"), "{filter}: {refused}");
    }
    session.exec("INSERT INTO entity_values_ingest (tenant_id) VALUES (0); SELECT stage_flush()");
    session.fails_with("22007", r#"SELECT retry_rejected('{"rejected_since": "soon"}')"#);
    session.fails_with("22004", "SELECT retry_rejected(NULL)");
    session.fails_with("22004", "SELECT retry_rejected('{}', 1, NULL)");
    session.fails_with("22003", "SELECT retry_rejected('{}', -1)");
    session.exec("BEGIN READ ONLY");
    session.fails_with("25006", "SELECT retry_rejected()");
    session.exec("ROLLBACK");
}

#[test]
fn a_time_that_was_refused_can_be_replaced() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    session.exec(&format!(
        "INSERT INTO entity_values_ingest VALUES (1, 1, '2020-01-01+00', NULL, 1, NULL, {temperature}, NULL),
             (1, 2, '2020-01-01+00', '2019-12-31+00', 1, NULL, {temperature}, NULL),
             (1, 3, 'infinity', NULL, 1, NULL, {temperature}, NULL),
             (1, 4, NULL, NULL, 1, NULL, {temperature}, NULL),
             (1, 5, now() - interval '1 day', NULL, 1, NULL, -1, NULL)"
    ));
    assert_eq!(session.number("SELECT stage_flush()"), 0);
    assert_eq!(session.number("SELECT retry_rejected()"), 5);
    assert_eq!(
        session.number("SELECT stage_flush()"),
        0,
        "as they were, they are refused again"
    );
    assert_eq!(session.number("SELECT retry_rejected(restamp => true)"), 5);
    assert_eq!(session.number("SELECT stage_flush()"), 4);
    assert_eq!(
        session.rows(
            "SELECT entity_id, ingested_at > now() - interval '1 hour', (observed_at AT TIME ZONE 'UTC')::date
             FROM entity_values_ts ORDER BY 1"
        ),
        [
            ["1", "t", "2020-01-01"],
            ["2", "t", "2019-12-31"],
            ["3", "t", cluster_tests::NULL],
            ["4", "t", cluster_tests::NULL]
        ]
    );
    let kept = "SELECT now() - ingested_at > interval '23 hours' FROM entity_values_rejected";
    assert_eq!(
        session.column(kept),
        ["t"],
        "the time was not what was wrong with it"
    );
}

#[test]
fn two_sessions_put_each_row_back_once_and_neither_waits() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    let unknown = temperature + 1;
    stage(&mut session, DOORS[0], unknown, 1, 60_000);
    session.exec("SELECT stage_flush()");
    attribute(&mut session, "humidity", "number");
    let mut other = database.connect();
    for each in [&mut session, &mut other] {
        each.exec("SET statement_timeout = '20s'; BEGIN");
    }
    let mut total = session.number("SELECT retry_rejected('{}', 20000)");
    total += other.number("SELECT retry_rejected('{}', 25000)");
    session.exec("ROLLBACK");
    total -= 20_000;
    total += session.number("SELECT retry_rejected('{}', NULL)");
    other.exec("COMMIT");
    assert_eq!(total, 60_000);
    assert_eq!(session.number("SELECT stage_flush()"), 60_000);
    assert_eq!(facts(&mut session), (60_000, 60_000));
}
