//! Rows that can never be stored go to entity_values_rejected with the reason, and cost no other row.

use cluster_tests::readings::{DOORS, Ready, attribute, facts, ready, stage};

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
