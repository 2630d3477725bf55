//! The projection: the latest value of each hot attribute, by flush.

use cluster_tests::campaign::Bell;
use cluster_tests::readings::{DOORS, build_attributes};
use cluster_tests::{Cluster, Database, Session, shared};

fn ready() -> (Database, Session) {
    let database = shared::database();
    let session = database.install();
    (database, session)
}

/// Registers a hot attribute of tenant 1.
fn hot(session: &mut Session, name: &str, value_type: &str) -> i64 {
    let name = name.replace('\'', "''");
    session.number(&format!(
        "SELECT register_attribute(1, '{name}', '{value_type}', is_hot => true)"
    ))
}

fn document(session: &mut Session, entity: i64) -> String {
    session.text(&format!(
        "SELECT coalesce((SELECT hot_attrs::text FROM entity_jsonb WHERE tenant_id = 1 AND entity_id = {entity}), 'none')"
    ))
}

#[test]
fn the_newest_observation_wins_in_any_order_by_both_doors() {
    let (_database, mut session) = ready();
    let id = hot(&mut session, "temperature", "number");
    for (entity, door) in (1i64..).zip(DOORS) {
        let mut stage = |minutes: i64, value: &str| {
            session.exec(&format!(
                "INSERT INTO {door} (tenant_id, entity_id, attribute_id, observed_at, value_num)
                 VALUES (1, {entity}, {id}, now() - interval '{minutes} minutes', {value});
                 SELECT stage_flush()"
            ));
            document(&mut session, entity)
        };
        assert_eq!(stage(10, "1"), "{\"temperature\": 1}");
        assert_eq!(stage(20, "2"), "{\"temperature\": 1}");
        assert_eq!(
            stage(5, "0.1 + 0.2::float8"),
            "{\"temperature\": 0.30000000000000004}"
        );
        // A device whose clock is a day ahead does not freeze its value.
        assert_eq!(stage(-1400, "4"), "{\"temperature\": 4}");
        assert_eq!(stage(0, "5"), "{\"temperature\": 5}");
    }
}

#[test]
fn values_are_typed_and_come_back_as_they_went_in() {
    let (_database, mut session) = ready();
    for (name, value_type, column, value, expected) in [
        ("n1", "number", "value_num", "1e300", "1e300::numeric::text"),
        (
            "n2",
            "number",
            "value_num",
            "5e-324",
            "5e-324::float8::text::numeric::text",
        ),
        ("n3", "number", "value_num", "'NaN'", "'\"NaN\"'"),
        ("n4", "number", "value_num", "'-Infinity'", "'\"-Infinity\"'"),
        (
            "n5",
            "number",
            "value_num",
            "-1.7976931348623157e308",
            "(-1.7976931348623157e308)::numeric::text",
        ),
        (
            "i1",
            "integer",
            "value_int",
            "9223372036854775807",
            "'9223372036854775807'",
        ),
        (
            "i2",
            "integer",
            "value_int",
            "(-9223372036854775808)",
            "'-9223372036854775808'",
        ),
        ("b", "boolean", "value_int", "1", "'true'"),
        (
            "t1",
            "timestamp",
            "value_int",
            "1795255200500000",
            "'\"2026-11-21T10:00:00.5Z\"'",
        ),
        (
            "t2",
            "timestamp",
            "value_int",
            "9223372036854775807",
            "'\"+294247-01-10T04:00:54.775807Z\"'",
        ),
        ("a.b\"c' ü", "text", "value_text", "'grö\"ße'", "'\"grö\\\"ße\"'"),
        (
            "j",
            "json",
            "value_text",
            "'{\"b\": [1.50, null], \"a\": {}}'",
            "'{\"a\": {}, \"b\": [1.50, null]}'",
        ),
        ("j2", "json", "value_text", "'null'", "'null'"),
        ("j3", "json", "value_text", "'\"x\"'", "'\"x\"'"),
        (
            "long",
            "text",
            "value_text",
            "repeat('x', 100000)",
            "to_jsonb(repeat('x', 100000))::text",
        ),
    ] {
        let id = hot(&mut session, name, value_type);
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, {column}) VALUES (1, 7, {id}, {value});
             SELECT stage_flush()"
        ));
        let name = name.replace('\'', "''");
        let found = format!(
            "SELECT (hot_attrs -> '{name}')::text = {expected} FROM entity_jsonb WHERE entity_id = 7"
        );
        let shown =
            format!("SELECT left((hot_attrs -> '{name}')::text, 400) FROM entity_jsonb WHERE entity_id = 7");
        assert_eq!(session.text(&found), "t", "{name}: {}", session.text(&shown));
    }
    // The server agrees that it is a document of its own.
    assert_eq!(
        session.text("SELECT hot_attrs = hot_attrs::text::jsonb FROM entity_jsonb WHERE entity_id = 7"),
        "t"
    );
    assert_eq!(
        session.text("SELECT hot_attrs::text = (SELECT jsonb_object_agg(key, value) FROM jsonb_each(hot_attrs))::text FROM entity_jsonb WHERE entity_id = 7"),
        "t"
    );
}

/// Pages of the index are split, cleared and used again while the flush and searches go by what they said a moment ago.
#[test]
fn rows_are_found_by_the_pages_of_their_index_while_these_change() {
    let (database, mut session) = ready();
    let (number, text) = (hot(&mut session, "n", "integer"), hot(&mut session, "t", "text"));
    const ENTITIES: i64 = 30_000;
    let done = Bell::default();
    let others: Vec<_> = (0..2)
        .map(|which| {
            let done = done.clone();
            database.background(move |session: &mut Session| {
                let mut turn = 0i64;
                while done.silent() {
                    turn += 1;
                    if which == 0 {
                        let entity = turn * 7919 % ENTITIES + 1;
                        session.exec(&format!(
                            "SELECT upsert_hot_attrs(1, {entity}, '{{\"n\": {turn}}}')"
                        ));
                    } else {
                        session.exec("VACUUM entity_jsonb");
                        std::thread::sleep(std::time::Duration::from_millis(100));
                    }
                }
            })
        })
        .collect();
    for round in 1..=6 {
        // New entities between those that are there, and documents that outgrow their pages.
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_int, value_text)
             SELECT 1, e, a, CASE a WHEN {number} THEN e * {round} END, CASE a WHEN {text} THEN repeat('x', (e * {round} % 600)::int) END
             FROM generate_series(1, {ENTITIES}) e, unnest(ARRAY[{number}, {text}]) a WHERE e % 6 < {round};
             SELECT stage_flush()"
        ));
    }
    done.ring();
    others.into_iter().for_each(|other| other.join());
    session.exec("SELECT stage_flush(); SELECT stage_flush()");
    assert_eq!(session.number("SELECT count(*) FROM projection_pending"), 0);
    assert_eq!(session.number("SELECT count(*) FROM entity_jsonb"), ENTITIES);
    assert_eq!(session.number("SELECT count(*) FROM verify_hot(1)"), 0);
    session.exec("SELECT promote_attribute(1, 'n', true)");
    build_attributes(&mut session, ENTITIES);
    let found = "SELECT count(*) FROM find_entities_by_attributes(1, '{\"n\": {\"gte\": 0}}', NULL, 1000000)
                 JOIN entity_jsonb e USING (entity_id, hot_attrs)";
    assert_eq!(session.number(found), ENTITIES);
}

#[test]
fn of_one_key_twice_in_a_batch_the_newest_wins_and_then_the_greatest() {
    let (_database, mut session) = ready();
    let (number, text) = (hot(&mut session, "n", "number"), hot(&mut session, "t", "text"));
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, ingested_at, observed_at, value_num)
         SELECT 1, 1, {number}, at, observed, value FROM date_trunc('minute', now()) at, (VALUES
             (date_trunc('minute', now()) - interval '1 s', 1.0), (date_trunc('minute', now()) - interval '1 s', 30),
             (date_trunc('minute', now()) - interval '1 s', 4), (date_trunc('minute', now()) - interval '2 s', 99)) v (observed, value);
         INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, ingested_at, value_text)
         SELECT 1, 1, {text}, date_trunc('minute', now()), value FROM unnest('{{ab,b,aa}}'::text[]) value;
         SELECT stage_flush()"
    ));
    assert_eq!(document(&mut session, 1), "{\"n\": 30, \"t\": \"b\"}");
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ts"), 7);
}

#[test]
fn sessions_with_keys_in_opposite_order_never_stop_the_flush() {
    let (database, mut session) = ready();
    let id = hot(&mut session, "t", "integer");
    let writer = |order: &'static str| {
        database.background(move |session: &mut Session| {
            let mut deadlocks = 0;
            for turn in 0..150 {
                let upserts = format!(
                    "BEGIN; SELECT upsert_hot_attrs(1, e, '{{\"t\": {turn}}}') FROM generate_series(1, 6) e ORDER BY e {order}; COMMIT"
                );
                if let Err(failure) = session.try_exec(&upserts) {
                    // Of one another they may; each of them wanted what the other had.
                    assert_eq!(failure.code, "40P01", "{failure:?}");
                    session.exec("ROLLBACK");
                    deadlocks += 1;
                }
            }
            deadlocks
        })
    };
    session.exec("SET lock_timeout = '1ms'");
    let writers = [writer("ASC"), writer("DESC")];
    for turn in 0..60 {
        // In an order of its own, and an error if it ever waited.
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_int)
             SELECT 1, e, {id}, 1000 + {turn} FROM unnest('{{4,2,6,1,3,5}}'::int[]) e; SELECT stage_flush()"
        ));
    }
    let deadlocks: Vec<i32> = writers.into_iter().map(|writer| writer.join()).collect();
    assert!(deadlocks.iter().all(|count| *count < 150), "{deadlocks:?}");
    session.exec("SELECT stage_flush(); SELECT stage_flush()");
    assert_eq!(session.number("SELECT count(*) FROM projection_pending"), 0);
    assert_eq!(session.number("SELECT count(*) FROM verify_hot(1)"), 0);
}

/// Documents are written seldomer, so that few dead versions pile up; what comes meanwhile is not lost, and is there at the end.
#[test]
fn while_a_snapshot_is_held_documents_are_written_seldomer() {
    let cluster = Cluster::builder()
        .set("pg_telemetry.projection_min_interval", "2s")
        .start();
    let database = cluster.create_database("spaced");
    let mut session = database.install();
    let id = hot(&mut session, "t", "integer");
    let mut turn = 0;
    let mut flush = |session: &mut Session| {
        turn += 1;
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_int)
             SELECT 1, e, {id}, {turn} FROM generate_series(1, 20) e; SELECT stage_flush()"
        ));
        turn
    };
    let shown =
        |session: &mut Session| session.number("SELECT min((hot_attrs ->> 't')::int) FROM entity_jsonb");
    let first = flush(&mut session);
    assert_eq!(shown(&mut session), first);
    let mut holder = database.connect();
    holder.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM attributes");
    // A snapshot is not old at once, and then nothing is spaced.
    let (mut written, mut waited) = (Vec::new(), 0);
    let start = std::time::Instant::now();
    let mut last = 0;
    while start.elapsed() < std::time::Duration::from_secs(18) {
        let flushed = flush(&mut session);
        let found = shown(&mut session);
        if found != last {
            written.push(start.elapsed());
            last = found;
        }
        if found < flushed {
            waited += 1;
            assert!(session.number("SELECT count(*) FROM projection_pending") > 0);
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let spaced = |from: u64| written.iter().filter(|at| at.as_secs() >= from).count();
    assert!(
        spaced(0) - spaced(9) > 10,
        "at first with every flush: {written:?}"
    );
    assert!(
        (1..=4).contains(&spaced(13)),
        "then every two seconds: {written:?}"
    );
    assert!(waited > 10, "{waited} flushes kept it for later");
    assert_eq!(
        holder.number("SELECT count(*) FROM entity_jsonb WHERE hot_attrs = '{\"t\": 1}'"),
        20
    );
    holder.exec("COMMIT");
    let flushed = flush(&mut session);
    assert_eq!(shown(&mut session), flushed);
    assert_eq!(session.number("SELECT count(*) FROM projection_pending"), 0);
    assert_eq!(session.number("SELECT count(*) FROM verify_hot(1)"), 0);
}

#[test]
fn rows_are_in_the_leaf_that_the_server_would_choose() {
    let (_database, mut session) = ready();
    let id = hot(&mut session, "t", "number");
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)
         SELECT 1, entity, {id}, 1 FROM generate_series(-500, 500) AS entity;
         INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)
         VALUES (1, 9223372036854775807, {id}, 1), (1, -9223372036854775808, {id}, 1), (1, 4294967296, {id}, 1);
         SELECT stage_flush()"
    ));
    let misplaced = "SELECT count(*) FROM entity_jsonb
         WHERE NOT satisfies_hash_partition('entity_jsonb'::regclass, 16,
             substring(tableoid::regclass::text FROM '[0-9]+$')::int, tenant_id, entity_id)";
    assert_eq!(session.number(misplaced), 0);
    assert_eq!(session.number("SELECT count(*) FROM entity_jsonb"), 1004);
    for entity in ["9223372036854775807", "-9223372036854775808", "0"] {
        let found = format!("SELECT count(*) FROM entity_jsonb WHERE tenant_id = 1 AND entity_id = {entity}");
        assert_eq!(session.number(&found), 1);
    }
}

#[test]
fn many_attributes_and_many_updates_of_one_entity() {
    let (_database, mut session) = ready();
    session.exec("SELECT register_attribute(1, 'attribute.' || n, 'integer', is_hot => true) FROM generate_series(1, 5000) n");
    for round in 1..=3 {
        session.exec(&format!(
            "INSERT INTO entity_values_ingest_durable (tenant_id, entity_id, attribute_id, value_int)
             SELECT 1, 1, attribute_id, attribute_id * {round} FROM attributes WHERE attribute_id % {round} = 0;
             SELECT stage_flush()"
        ));
    }
    let wrong = "SELECT count(*) FROM attributes a, entity_jsonb e
         WHERE (e.hot_attrs ->> a.name)::bigint IS DISTINCT FROM a.attribute_id *
               CASE WHEN a.attribute_id % 3 = 0 THEN 3 WHEN a.attribute_id % 2 = 0 THEN 2 ELSE 1 END";
    assert_eq!(session.number(wrong), 0);
}

#[test]
fn what_is_not_newer_writes_nothing_and_the_rest_is_hot() {
    // On a server of its own: pages are cleared of old versions only when no transaction is older, whatever its database.
    let cluster = Cluster::builder().start();
    let database = cluster.create_database("hot");
    let mut session = database.install();
    let id = hot(&mut session, "t", "number");
    let round = |session: &mut Session, observed: &str| {
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, observed_at, value_num)
             SELECT 1, entity, {id}, {observed}, 1 FROM generate_series(1, 1000) AS entity; SELECT stage_flush()"
        ));
        session.text("SELECT string_agg(ctid::text || xmin, ',' ORDER BY entity_id) FROM entity_jsonb")
    };
    let first = round(&mut session, "now()");
    assert_eq!(round(&mut session, "now() - interval '1 hour'"), first);
    assert_ne!(round(&mut session, "now()"), first);
    // The pages fill evenly first.
    for _ in 0..5 {
        round(&mut session, "NULL");
    }
    session.exec("SELECT pg_stat_force_next_flush()");
    session.exec("SELECT pg_stat_reset()");
    for _ in 0..20 {
        round(&mut session, "NULL");
    }
    session.exec("SELECT pg_stat_force_next_flush()");
    let share = session.number(
        "SELECT (100 * sum(n_tup_hot_upd) / sum(n_tup_upd))::int FROM pg_stat_user_tables WHERE relname LIKE 'entity_jsonb\\_%'",
    );
    assert!(share >= 95, "{share} % of the updates were HOT");
}

#[test]
fn a_row_that_somebody_holds_keeps_the_flush_waiting_for_nothing() {
    let (database, mut session) = ready();
    let id = hot(&mut session, "t", "number");
    let stage = |session: &mut Session, value: i64| {
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)
             SELECT 1, entity, {id}, {value} FROM generate_series(1, 4) AS entity; SELECT stage_flush()"
        ));
    };
    stage(&mut session, 1);
    session.exec("SET lock_timeout = '1ms'");
    let mut other = database.connect();
    other.exec("BEGIN; UPDATE entity_jsonb SET as_of = as_of WHERE entity_id = 1; SELECT FROM entity_jsonb WHERE entity_id = 2 FOR UPDATE;
                SELECT FROM entity_jsonb WHERE entity_id = 3 FOR KEY SHARE;
                INSERT INTO entity_jsonb (tenant_id, entity_id, as_of) VALUES (1, 5, now())");
    stage(&mut session, 2);
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num) VALUES (1, 5, {id}, 2); SELECT stage_flush()"
    ));
    let all = "SELECT string_agg(entity_id || '=' || (hot_attrs ->> 't'), ',' ORDER BY entity_id) FROM entity_jsonb";
    assert_eq!(session.text(all), "1=1,2=1,3=2,4=2");
    let pending = "SELECT string_agg(DISTINCT entity_id::text, ',') FROM projection_pending";
    assert_eq!(session.text(pending), "1,2,5");
    for _ in 0..3 {
        stage(&mut session, 3);
    }
    assert_eq!(session.text(all), "1=1,2=1,3=3,4=3");
    other.exec("ROLLBACK");
    session.exec("SELECT stage_flush()");
    assert_eq!(session.text(all), "1=3,2=3,3=3,4=3,5=2");
    assert_eq!(session.number("SELECT count(*) FROM projection_pending"), 0);
}

#[test]
fn where_users_added_something_the_executor_gives_the_same_result() {
    let (database, mut session) = ready();
    let id = hot(&mut session, "t", "number");
    session.exec(
        "CREATE TABLE seen (entity_id bigint);
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN EXECUTE format(''INSERT INTO %I.seen VALUES ($1)'', TG_TABLE_SCHEMA) USING NEW.entity_id; RETURN NEW; END';
         GRANT INSERT ON seen TO telemetry_owner",
    );
    for change in [
        "CREATE INDEX extra ON entity_jsonb USING gin (hot_attrs)",
        "CREATE TRIGGER see BEFORE INSERT OR UPDATE ON entity_jsonb FOR EACH ROW EXECUTE FUNCTION see()",
        "ALTER TABLE entity_jsonb ADD COLUMN note text DEFAULT 'x'",
    ] {
        session.exec(change);
        let entity = session.number("SELECT coalesce(max(entity_id), 0) + 1 FROM entity_values_ts");
        for value in [1, 2] {
            session.exec(&format!(
                "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)
                 VALUES (1, {entity}, {id}, {value}), (1, 1, {id}, {value}); SELECT stage_flush()"
            ));
            let reason = session.text("SELECT coalesce(waiting_reason, '') FROM last_flush()");
            assert_eq!(
                document(&mut session, entity),
                format!("{{\"t\": {value}}}"),
                "{change}: {reason}"
            );
        }
        let mut other = database.connect();
        other.exec(&format!(
            "BEGIN; SELECT FROM entity_jsonb WHERE entity_id = {entity} FOR UPDATE;
             INSERT INTO entity_jsonb (tenant_id, entity_id, as_of) VALUES (1, {entity} + 1000, now())"
        ));
        session.exec(&format!(
            "SET lock_timeout = '5s';
             INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)
             VALUES (1, {entity}, {id}, 3), (1, {entity} + 1000, {id}, 3); SELECT stage_flush()"
        ));
        assert_eq!(
            session.number("SELECT count(*) FROM projection_pending"),
            2,
            "{change}"
        );
        other.exec("ROLLBACK");
        session.exec("SELECT stage_flush()");
        assert_eq!(document(&mut session, entity), "{\"t\": 3}", "{change}");
        assert_eq!(document(&mut session, entity + 1000), "{\"t\": 3}", "{change}");
    }
    assert!(session.number("SELECT count(*) FROM seen") > 0);
}

#[test]
fn a_document_that_cannot_be_read_stops_nobody_and_is_named() {
    let (_database, mut session) = ready();
    let id = hot(&mut session, "t", "number");
    let stage = |session: &mut Session, value: i64| {
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)
             VALUES (1, 1, {id}, {value}), (1, 2, {id}, {value})"
        ));
        session.number("SELECT stage_flush()")
    };
    stage(&mut session, 1);
    session.exec("UPDATE entity_jsonb SET hot_times = '\\x0207' WHERE entity_id = 1");
    assert_eq!(stage(&mut session, 2), 2);
    assert_eq!(document(&mut session, 1), "{\"t\": 1}");
    assert_eq!(document(&mut session, 2), "{\"t\": 2}");
    assert_eq!(session.number("SELECT count(*) FROM projection_pending"), 1);
    session.exec("UPDATE entity_jsonb SET hot_times = NULL WHERE entity_id = 1; SELECT stage_flush()");
    assert_eq!(document(&mut session, 1), "{\"t\": 2}");
}

#[test]
fn a_projection_that_cannot_be_written_stops_no_facts() {
    let (database, mut session) = ready();
    let id = hot(&mut session, "t", "number");
    session.exec("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE disk_full; END'");
    let stage = |session: &mut Session| {
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num) VALUES (1, 1, {id}, 1)"
        ));
        session.number("SELECT stage_flush()")
    };
    session.exec("CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON entity_jsonb FOR EACH ROW EXECUTE FUNCTION refuse()");
    assert_eq!(stage(&mut session), 1);
    assert_eq!(document(&mut session, 1), "none");
    let reason = session.text("SELECT waiting_reason FROM last_flush()");
    assert!(
        reason.contains("entity_jsonb") && reason.contains("53100"),
        "{reason}"
    );
    session.exec("DROP TRIGGER refuse ON entity_jsonb");
    // A leaf that somebody has locked.
    let mut other = database.connect();
    other.exec("BEGIN; LOCK TABLE entity_jsonb IN SHARE MODE");
    session.exec("SET lock_timeout = '1ms'");
    assert_eq!(stage(&mut session), 1);
    assert_eq!(session.number("SELECT count(*) FROM projection_pending"), 2);
    other.exec("COMMIT");
    session.exec("SELECT stage_flush()");
    assert_eq!(document(&mut session, 1), "{\"t\": 1}");
    assert_eq!(session.number("SELECT count(*) FROM projection_pending"), 0);
}

#[test]
fn a_tenants_own_attribute_hides_the_shared_one_of_its_name() {
    let (_database, mut session) = ready();
    let shared = session.number("SELECT register_attribute(0, 't', 'number', is_hot => true)");
    let stage = |session: &mut Session, tenant: i64, id: i64, value: i64| {
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num) VALUES ({tenant}, 1, {id}, {value});
             SELECT stage_flush()"
        ));
        session.text(
            "SELECT string_agg(tenant_id || (hot_attrs ->> 't'), ',' ORDER BY tenant_id) FROM entity_jsonb",
        )
    };
    assert_eq!(stage(&mut session, 1, shared, 1), "11");
    assert_eq!(stage(&mut session, 2, shared, 1), "11,21");
    let own = session.number("SELECT register_attribute(1, 't', 'number', is_hot => true)");
    assert_eq!(stage(&mut session, 1, shared, 2), "11,21");
    assert_eq!(stage(&mut session, 1, own, 3), "13,21");
    assert_eq!(stage(&mut session, 2, shared, 4), "13,24");
}
