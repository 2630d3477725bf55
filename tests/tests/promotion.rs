//! promote_attribute() and demote_attribute(): online, resumable, and never a wrong answer in between.

use cluster_tests::readings::{Ready, attribute, build_attributes, ready, wait_for_facts};
use cluster_tests::{Cluster, SOON, Session, eventually};

const FIND: &str = "SELECT count(*) FROM find_entities_by_attributes(1, '{\"temperature\": {\"gte\": 0}}', '7 days', 100000)";

/// One reading of each of so many entities, stored.
fn stored(session: &mut Session, attribute_id: i64, entities: i64) {
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)
         SELECT 1, entity, {attribute_id}, entity FROM generate_series(1, {entities}) entity;
         SELECT stage_flush()"
    ));
}

fn state(session: &mut Session) -> Vec<String> {
    session
        .rows("SELECT phase, hot_ready, search_ready FROM attribute_builds")
        .swap_remove(0)
}

#[test]
fn progress_is_seen_and_goes_on_where_it_was() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    stored(&mut session, temperature, 1000);
    session.exec("SELECT promote_attribute(1, 'temperature', true)");
    assert_eq!(state(&mut session), ["waiting", "f", "f"]);
    let mut seen = Vec::new();
    let mut last = 0;
    loop {
        // What is rolled back was not done.
        session.exec("BEGIN; SELECT build_attributes(100); ROLLBACK");
        session.exec("SELECT stage_flush()");
        let left = session.number("SELECT build_attributes(100)");
        let done = session.number("SELECT entities FROM attribute_builds");
        assert!(done >= last && done - last <= 100, "{done} after {last}");
        last = done;
        assert_eq!(session.number(FIND), 1000);
        let phase = state(&mut session).swap_remove(0);
        if seen.last() != Some(&phase) {
            seen.push(phase);
        }
        if left == 0 {
            break;
        }
    }
    assert_eq!(seen, ["waiting", "filling documents", "filling search", "done"]);
    assert_eq!(state(&mut session), ["done", "t", "t"]);
    assert_eq!(session.number("SELECT count(*) FROM entity_search"), 1000);
    let complete = "SELECT count(*) FROM entity_jsonb WHERE (hot_attrs -> 'temperature')::float8 = entity_id";
    assert_eq!(session.number(complete), 1000);
    // Nothing to do is nothing done.
    session.exec("SELECT promote_attribute(1, 'temperature', true)");
    assert_eq!(session.number("SELECT build_attributes()"), 0);
    assert_eq!(state(&mut session), ["done", "t", "t"]);

    session.exec("SELECT demote_attribute(1, 'temperature')");
    assert_eq!(session.number(FIND), 1000);
    build_attributes(&mut session, 130);
    assert_eq!(session.number("SELECT count(*) FROM entity_search"), 0);
    let keys = "SELECT count(*) FROM entity_jsonb WHERE hot_attrs <> '{}'";
    assert_eq!(session.number(keys), 0);
    assert_eq!(session.number(FIND), 1000);
    // And back again.
    session.exec("SELECT promote_attribute(1, 'temperature')");
    build_attributes(&mut session, 1000);
    assert_eq!(session.number(complete), 1000);
    assert_eq!(session.number(FIND), 1000);
}

#[test]
fn what_comes_in_meanwhile_counts() {
    let Ready {
        mut session,
        database,
        temperature,
    } = ready();
    stored(&mut session, temperature, 500);
    // A flush that goes by the old flags, and commits when the rest is under way.
    let mut old = database.connect();
    old.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)
         SELECT 1, entity, {temperature}, -1 FROM generate_series(400, 600) entity;
         BEGIN; SELECT stage_flush()"
    ));
    session.exec("SELECT promote_attribute(1, 'temperature', true)");
    for _ in 0..5 {
        session.number("SELECT build_attributes(50)");
        session.exec("SELECT stage_flush()");
    }
    assert_eq!(state(&mut session), ["waiting", "f", "f"]);
    let waits = session.text("SELECT waits_for FROM attribute_builds");
    assert!(waits.contains("transactions that began before"), "{waits}");
    old.exec("COMMIT");
    // Newer ones, and older ones that came late, between the batches.
    for round in 0..30 {
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num, observed_at) VALUES
                 (1, {round} * 7, {temperature}, -2, NULL), (1, 100 + {round}, {temperature}, -3, now() - interval '3 days')"
        ));
        session.exec("SELECT stage_flush()");
        session.exec("SELECT build_attributes(40)");
    }
    build_attributes(&mut session, 40);
    let expected = "SELECT count(*) FROM (
             SELECT DISTINCT ON (entity_id) entity_id, value_num FROM entity_values_ts
             ORDER BY entity_id, least(coalesce(observed_at, ingested_at), ingested_at) DESC, ingested_at DESC, value_num DESC) l";
    let wrong = format!(
        "{expected} LEFT JOIN entity_jsonb p USING (entity_id) LEFT JOIN entity_search s USING (entity_id)
         WHERE (hot_attrs -> 'temperature')::float8 IS DISTINCT FROM l.value_num OR s.value_num IS DISTINCT FROM l.value_num"
    );
    assert_eq!(session.number(&wrong), 0);
    let entities = session.number(expected);
    assert_eq!(session.number("SELECT count(*) FROM entity_search"), entities);
    let negative = session.number(&format!("{expected} WHERE value_num < 0"));
    assert_eq!(session.number(FIND), entities - negative);
}

#[test]
fn attributes_that_all_share_are_promoted_for_all() {
    let Ready { mut session, .. } = ready();
    let id = session.number("SELECT register_attribute(0, 'shared', 'integer')");
    let own = session.number("SELECT register_attribute(3, 'shared', 'text')");
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_int)
         SELECT tenant, entity, {id}, entity FROM generate_series(1, 4) tenant, generate_series(1, 30) entity;
         INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_text) VALUES (3, 5, {own}, 'x');
         SELECT stage_flush(), stage_flush()"
    ));
    for function in ["promote_attribute", "demote_attribute"] {
        let failure = session.fails_with("22023", &format!("SELECT {function}(2, 'shared')"));
        assert!(failure.hint.contains("tenant 0"), "{failure}");
    }
    session.exec("SELECT promote_attribute(0, 'shared', true)");
    build_attributes(&mut session, 7);
    for tenant in [1, 2, 4] {
        let sql = format!(
            "SELECT entity_id FROM find_entities_by_attributes({tenant}, '{{\"shared\": {{\"lte\": 3}}}}')"
        );
        assert_eq!(session.column(&sql), ["1", "2", "3"]);
    }
    let sql = "SELECT entity_id FROM find_entities_by_attributes(3, '{\"shared\": \"x\"}')";
    assert_eq!(session.column(sql), ["5"]);
    session.exec("SELECT demote_attribute(0, 'shared')");
    build_attributes(&mut session, 7);
    assert_eq!(session.number("SELECT count(*) FROM entity_search"), 0);
}

#[test]
fn what_is_wrong_is_said() {
    let Ready { mut session, .. } = ready();
    attribute(&mut session, "blob", "json");
    for (call, code, message) in [
        (
            "promote_attribute(1, 'temperatur')",
            "42704",
            "attribute \"temperatur\" is not registered",
        ),
        ("demote_attribute(2, 'temperature')", "42704", "for tenant 2"),
        ("promote_attribute(-1, 'temperature')", "22003", "tenant_id"),
        ("promote_attribute(1, NULL)", "22004", "name"),
        ("promote_attribute(1, 'temperature', NULL)", "22004", "searchable"),
        (
            "promote_attribute(1, 'blob', true)",
            "22023",
            "cannot be searched by value",
        ),
        ("build_attributes(0)", "22003", "max_entities"),
    ] {
        let failure = session.fails_with(code, &format!("SELECT {call}"));
        assert!(failure.message.contains(message), "{call}: {failure}");
    }
    session.exec("BEGIN READ ONLY");
    session.fails_with("25006", "SELECT promote_attribute(1, 'temperature')");
    session.exec("ROLLBACK; SELECT promote_attribute(1, 'blob')");
    build_attributes(&mut session, 10);
}

#[test]
fn flags_that_are_changed_by_hand_are_not_trusted_before_the_work_is_done() {
    let Ready {
        mut session,
        temperature,
        database,
    } = ready();
    stored(&mut session, temperature, 20);
    let admin = database.create_login(Some("telemetry_admin"));
    session.exec(&format!("GRANT USAGE ON SCHEMA telemetry TO {admin}"));
    let mut admin = database.connect_as(&admin);
    admin.exec("UPDATE attributes SET is_hot = true, is_searchable = true WHERE name = 'temperature'");
    assert_eq!(state(&mut session), ["waiting", "f", "f"]);
    assert_eq!(session.number(FIND), 20);
    assert_eq!(admin.number("SELECT build_attributes()"), 1);
    let waits = session.text("SELECT waits_for FROM attribute_builds");
    assert!(waits.contains("changed by hand"), "{waits}");
    session.exec("UPDATE attribute_builds SET requested_at = now() - interval '2 minutes'");
    build_attributes(&mut session, 10);
    assert_eq!(state(&mut session), ["done", "t", "t"]);
    assert_eq!(session.number(FIND), 20);
}

#[test]
fn a_boundary_of_another_cluster_does_not_hold_it_up() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    stored(&mut session, temperature, 20);
    session.exec(
        "SELECT promote_attribute(1, 'temperature');
         UPDATE attribute_builds SET boundary = 4000000000000",
    );
    build_attributes(&mut session, 100);
    assert_eq!(session.number(FIND), 20);
}

#[test]
fn writers_do_not_wait() {
    let Ready {
        mut session,
        temperature,
        database,
    } = ready();
    stored(&mut session, temperature, 200);
    session.exec("SELECT promote_attribute(1, 'temperature', true)");
    let mut other = database.connect();
    other.exec("SET lock_timeout = '10ms'");
    for _ in 0..60 {
        session.exec("BEGIN; SELECT build_attributes(20)");
        stored(&mut other, temperature, 200);
        session.exec("COMMIT");
    }
    build_attributes(&mut session, 500);
    assert_eq!(session.number(FIND), 200);
}

#[test]
fn the_janitor_does_it_and_goes_on_after_a_crash() {
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("promoted");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    session.exec(&format!(
        "INSERT INTO entity_values_ingest_durable (tenant_id, entity_id, attribute_id, value_num)
         SELECT 1, entity, {id}, entity FROM generate_series(1, 30000) entity"
    ));
    wait_for_facts(&mut session, 30000);
    session.exec("SELECT promote_attribute(1, 'temperature', true)");
    eventually(SOON, "work under way", || {
        match session.number("SELECT entities FROM attribute_builds") {
            0 => Err(0),
            _ => Ok(()),
        }
    });
    cluster.crash();
    cluster.start();
    let mut session = database.connect();
    eventually(SOON * 3, "a promotion that is done", || {
        match state(&mut session) {
            seen if seen == ["done", "t", "t"] => Ok(()),
            seen => Err(seen),
        }
    });
    assert_eq!(session.number("SELECT count(*) FROM entity_search"), 30000);
    assert_eq!(session.number(FIND), 30000);
    session.exec("SELECT demote_attribute(1, 'temperature')");
    eventually(SOON * 3, "a demotion that is done", || {
        match state(&mut session) {
            seen if seen == ["done", "f", "f"] => Ok(()),
            seen => Err(seen),
        }
    });
    assert_eq!(session.number("SELECT count(*) FROM entity_search"), 0);
}
