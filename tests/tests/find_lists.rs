//! find_entities_by_attributes() of several attributes: lists of entities that are read from the pages of an index, while rows die, pages
//! are split, and older snapshots still look.

use std::sync::atomic::{AtomicBool, Ordering};

use cluster_tests::{Database, Session, shared};

const ENTITIES: i64 = 60_000;

/// A database where these attributes of tenant 1 are searchable.
fn searchable(attributes: &[(&str, &str)]) -> (Database, Session) {
    let database = shared::database();
    let mut session = database.install();
    for (name, value_type) in attributes {
        session.exec(&format!(
            "SELECT register_attribute(1, '{name}', '{value_type}', is_hot => true)"
        ));
    }
    session.exec(
        "UPDATE attributes SET is_searchable = true;
         UPDATE attribute_builds SET search_ready = true, finished_at = now()",
    );
    (database, session)
}

/// The integer attributes of these entities get the values that `value` says, by entity `e` and attribute `a.name`.
fn store(session: &mut Session, entities: &str, value: &str) {
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_int)
         SELECT 1, e, a.attribute_id, {value} FROM {entities} e, attributes a; SELECT stage_flush(10000000)"
    ));
}

fn find(session: &mut Session, filters: &str) -> Vec<String> {
    session.column(&format!(
        "SELECT entity_id FROM find_entities_by_attributes(1, '{filters}', NULL, 1000000)"
    ))
}

fn expected(session: &mut Session, condition: &str) -> Vec<String> {
    let all = format!("SELECT e FROM generate_series(1, {ENTITIES}) e WHERE {condition} ORDER BY e");
    session.column(&all)
}

#[test]
fn pages_in_which_nothing_is_wanted_are_passed_over_and_no_others() {
    let (_, mut session) = searchable(&[("all", "integer"), ("even", "integer"), ("seldom", "integer")]);
    // Close together, then far from each other: from some of them to the next there are several pages of the others.
    let seldom = "e < 6000 AND e % 40 = 5 OR e % 1500 IN (0, 1)";
    store(
        &mut session,
        &format!("generate_series(1, {ENTITIES})"),
        &format!(
            "CASE a.name WHEN 'all' THEN 1 WHEN 'even' THEN e % 2 ELSE CASE WHEN {seldom} THEN 7 ELSE e END END"
        ),
    );
    let seldom = format!("(({seldom}) OR e = 7)");
    for (filters, condition) in [
        (r#"{"all": 1, "seldom": 7}"#, seldom.clone()),
        (r#"{"even": 0, "seldom": 7}"#, format!("{seldom} AND e % 2 = 0")),
        (
            r#"{"all": 1, "even": 1, "seldom": 7}"#,
            format!("{seldom} AND e % 2 = 1"),
        ),
        // The list that others are held against is a range, which is not in order.
        (
            r#"{"all": 1, "even": 1, "seldom": {"gt": 20000, "lt": 31000}}"#,
            "e > 20000 AND e < 31000 AND e % 2 = 1 AND e % 1500 NOT IN (0, 1)".to_owned(),
        ),
        // One that is far too long to be read for it.
        (
            r#"{"seldom": 7, "all": {"gte": 0}, "even": {"gte": 0, "lte": 1}}"#,
            seldom.clone(),
        ),
        (r#"{"all": 2, "seldom": 7}"#, "false".to_owned()),
    ] {
        assert_eq!(
            find(&mut session, filters),
            expected(&mut session, &condition),
            "{filters}"
        );
    }
}

/// Values that change leave entries behind: of rows that nobody sees, of rows that only older snapshots see, several of the same value
/// and entity.
#[test]
fn each_snapshot_finds_what_it_sees() {
    let (database, mut session) = searchable(&[("mode", "integer"), ("zone", "integer")]);
    let entities = format!("generate_series(1, {ENTITIES}, 3)");
    let store_round = |session: &mut Session, round: i64| {
        let value =
            format!("CASE a.name WHEN 'mode' THEN (e / 3 + {round}) % 2 ELSE (e / 3 + {round}) % 5 END");
        store(session, &entities, &value);
    };
    let filters = r#"{"mode": 1, "zone": {"gte": 1, "lte": 2}}"#;
    let of_round = |session: &mut Session, round: i64| {
        let value = |modulus: i64| format!("(e / 3 + {round}) % {modulus}");
        let (mode, zone) = (value(2), value(5));
        expected(
            session,
            &format!("e % 3 = 1 AND {mode} = 1 AND {zone} BETWEEN 1 AND 2"),
        )
    };
    store_round(&mut session, 0);
    let mut old = database.connect();
    old.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
    let first = of_round(&mut session, 0);
    assert_eq!(find(&mut old, filters), first);
    for round in 1..8 {
        store_round(&mut session, round);
        // The server marks what it finds dead.
        session.exec("SELECT count(*) FROM find_entities_by_attributes(1, '{\"mode\": 1}', NULL, 100000)");
        if round % 3 == 0 {
            session.exec("VACUUM entity_search");
        }
        let now = of_round(&mut session, round);
        assert_eq!(find(&mut session, filters), now, "round {round}");
        assert_eq!(find(&mut old, filters), first, "round {round}");
    }
    old.exec("COMMIT");
    session.exec("VACUUM entity_search");
    assert_eq!(find(&mut session, filters), of_round(&mut session, 7));
    // Pages without entries leave the index.
    session.exec("DELETE FROM entity_search");
    session.exec("VACUUM entity_search");
    assert_eq!(find(&mut session, filters), Vec::<String>::new());
}

#[test]
fn nothing_is_missed_while_pages_are_split_and_leave() {
    let (database, mut session) = searchable(&[("mode", "integer"), ("zone", "integer")]);
    store(
        &mut session,
        &format!("generate_series(1, {ENTITIES}, 4)"),
        "CASE a.name WHEN 'mode' THEN 1 ELSE e % 100 END",
    );
    let steady = |add: i64| format!("e % 4 = 1 AND e % 100 BETWEEN 20 AND {}", 60 + add);
    let expected = expected(&mut session, &steady(0));
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Entities between those that stay as they are come, change and go.
            let mut writer = database.connect();
            for round in 0..6 {
                for first in 2..4 {
                    store(
                        &mut writer,
                        &format!("generate_series({first}, {ENTITIES}, 4)"),
                        &format!("CASE a.name WHEN 'mode' THEN {round} % 2 ELSE (e + {round}) % 100 END"),
                    );
                }
                writer.exec("DELETE FROM entity_search WHERE entity_id % 4 = 3");
                writer.exec("VACUUM entity_search");
            }
            ends.store(true, Ordering::Relaxed);
        });
        let mut reader = database.connect();
        while !ends.load(Ordering::Relaxed) {
            let found = reader.column(
                r#"SELECT entity_id FROM find_entities_by_attributes(1,
                       '{"mode": 1, "zone": {"gte": 20, "lte": 60}}', NULL, 1000000)
                   WHERE entity_id % 4 = 1"#,
            );
            assert_eq!(found, expected);
        }
    });
}

/// Of a text only the beginning is in the index, cut between letters of up to four bytes.
#[test]
fn texts_longer_than_what_is_kept_of_them_are_found_once_and_in_their_order() {
    let (_, mut session) = searchable(&[("t", "text")]);
    session.exec(
        "CREATE TABLE texts AS SELECT row_number() OVER () AS e, repeat('a', n) || ending AS v
         FROM generate_series(196, 202) n, unnest('{\"\",b,é,€,😀,éz,€z,😀z}'::text[]) ending;
         INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_text)
         SELECT 1, e, attribute_id, v FROM texts, attributes; SELECT stage_flush()",
    );
    // Through the pages of the index, and through the executor.
    for isolation in ["READ COMMITTED", "SERIALIZABLE"] {
        session.exec(&format!("BEGIN ISOLATION LEVEL {isolation}"));
        for (name, sign) in [("gte", ">="), ("gt", ">"), ("lt", "<"), ("lte", "<=")] {
            let wrong = format!(
                "SELECT b.e FROM texts b,
                     LATERAL (SELECT array_agg(entity_id ORDER BY entity_id) AS found FROM find_entities_by_attributes(
                         1, jsonb_build_object('t', jsonb_build_object('{name}', b.v)), NULL, 1000)) f,
                     LATERAL (SELECT array_agg(o.e ORDER BY o.e) AS expected FROM texts o WHERE o.v COLLATE \"C\" {sign} b.v) x
                 WHERE found IS DISTINCT FROM expected"
            );
            assert_eq!(session.column(&wrong), [""; 0], "{isolation} {name}");
        }
        session.exec("COMMIT");
    }
    // Two that begin alike are one in the index; the first of the next few hundred may be the last of these again.
    session.exec(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_text)
         SELECT 1, e, attribute_id, repeat('x', 200) || '1' FROM generate_series(1001, 3000) e, attributes;
         SELECT stage_flush()",
    );
    let found = session.rows(
        "SELECT count(*), count(DISTINCT entity_id) FROM find_entities_by_attributes(
             1, jsonb_build_object('t', jsonb_build_object('in', ARRAY[repeat('x', 200) || '1', repeat('x', 200) || '2'])), NULL, 10000)",
    );
    assert_eq!(found, [["2000", "2000"]]);
}
