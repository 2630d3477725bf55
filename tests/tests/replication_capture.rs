//! Change data capture: who reads the publications gets all of it while partitions come and go.

use std::sync::Arc;
use std::time::Duration;

use cluster_tests::campaign::announce;
use cluster_tests::readings::attribute;
use cluster_tests::replicas::{FACTS_ELSEWHERE, subscribe};
use cluster_tests::{Cluster, Database, SOON, Session, eventually, shared};

fn source() -> (Arc<Cluster>, Database, Session) {
    let cluster = Cluster::builder()
        .preload()
        .set("wal_level", "logical")
        .set("cluster_name", "source")
        .start();
    let database = cluster.create_database("fleet");
    let session = database.install();
    (cluster, database, session)
}

fn stage(session: &mut Session, id: i64, days: i32, rows: i32) {
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num, ingested_at)
         SELECT 1, n, {id}, n, now() - {days} * interval '1 day' FROM generate_series(1, {rows}) n"
    ));
}

#[track_caller]
fn wait_for(session: &mut Session, query: &str, expected: &str) {
    eventually(SOON, query, || {
        let seen = session.text(query);
        if seen == expected { Ok(()) } else { Err(seen) }
    });
}

fn drop_old_partition(session: &mut Session) {
    let old = session.text(
        "SELECT tableoid::regclass FROM entity_values_ts WHERE ingested_at < now() - interval '2 days' LIMIT 1",
    );
    session.exec(&format!(
        "ALTER TABLE entity_values_ts DETACH PARTITION {old} CONCURRENTLY"
    ));
    session.exec(&format!("DROP TABLE {old}"));
}

fn change_state(session: &mut Session) {
    session.exec("INSERT INTO entity_jsonb (tenant_id, entity_id, as_of, hot_attrs) SELECT 1, n, now(), '{\"t\": 1}' FROM generate_series(1, 3) n");
    session.exec("UPDATE entity_jsonb SET hot_attrs = '{\"t\": 2}' WHERE entity_id = 2; DELETE FROM entity_jsonb WHERE entity_id = 3");
}

#[test]
fn a_copy_elsewhere_gets_facts_and_state_while_partitions_come_and_go() {
    let (source, _database, mut session) = source();
    assert_eq!(
        session.rows("SELECT * FROM create_cdc_publications('fleet')"),
        [
            ["fleet_facts", "insert", "created"],
            ["fleet_state", "insert, update, delete", "created"]
        ]
    );
    assert_eq!(
        session.column("SELECT outcome FROM create_cdc_publications('fleet')"),
        ["left as it is"; 2]
    );
    let id = attribute(&mut session, "temperature", "number");

    // The other side has plain tables, as a warehouse has.
    let target = Cluster::builder().set("wal_level", "logical").start();
    let mut copy = target.connect("postgres");
    copy.exec("CREATE SCHEMA telemetry; SET search_path = telemetry");
    copy.exec(FACTS_ELSEWHERE);
    copy.exec(
        "CREATE TABLE entity_jsonb (tenant_id bigint, entity_id bigint, as_of timestamptz, deleted_at timestamptz,
             hot_attrs jsonb, hot_times bytea, PRIMARY KEY (tenant_id, entity_id))",
    );
    copy.exec(
        "CREATE TABLE replication_heartbeat (slot smallint PRIMARY KEY, written_at timestamptz, wal_position pg_lsn,
             timeline int, writer text)",
    );
    subscribe(&mut copy, &source, "fleet_facts, fleet_state");
    stage(&mut session, id, 0, 100);
    wait_for(&mut copy, "SELECT count(*) FROM entity_values_ts", "100");
    // Partitions that are made after the publication, and one that goes.
    stage(&mut session, id, 3, 50);
    wait_for(&mut copy, "SELECT count(*) FROM entity_values_ts", "150");
    drop_old_partition(&mut session);
    stage(&mut session, id, 0, 10);
    // A correction by hand needs no replica identity, as deletes of facts are not published.
    session.exec("DELETE FROM entity_values_ts WHERE entity_id = 1");
    wait_for(&mut copy, "SELECT count(*) FROM entity_values_ts", "160");

    change_state(&mut session);
    wait_for(
        &mut copy,
        "SELECT string_agg(entity_id || '=' || (hot_attrs ->> 't'), ',' ORDER BY entity_id) FROM entity_jsonb",
        "1=1,2=2",
    );
    // Quiet now but for the heartbeat, and the slot moves.
    eventually(SOON, "heartbeats arrive", || {
        let row = copy.rows("SELECT writer LIKE '%/source', written_at > now() - interval '3 s' FROM replication_heartbeat WHERE slot = 0");
        if row == [["t", "t"]] { Ok(()) } else { Err(row) }
    });
    eventually(SOON, "the slot of the subscription is well", || {
        let row = session.rows("SELECT verdict, active, consumer LIKE 'warehouse%', lag_seconds < 5 FROM replication_slots_health");
        if row == [["ok", "t", "t", "t"]] {
            Ok(())
        } else {
            Err(row)
        }
    });
    copy.exec("DROP SUBSCRIPTION warehouse");
}

#[test]
fn a_copy_that_has_the_extension_itself() {
    let (source, _database, mut session) = source();
    session.exec("SELECT create_cdc_publications('fleet')");
    let id = attribute(&mut session, "temperature", "number");
    let target = Cluster::builder()
        .preload()
        .set("pg_telemetry.heartbeat", "off")
        .start();
    let database = target.create_database("fleet");
    let mut copy = database.install();
    subscribe(&mut copy, &source, "fleet_facts, fleet_state");
    stage(&mut session, id, 0, 100);
    wait_for(&mut copy, "SELECT count(*) FROM entity_values_ts", "100");
    change_state(&mut session);
    wait_for(
        &mut copy,
        "SELECT string_agg(entity_id || '=' || (hot_attrs ->> 't'), ',' ORDER BY entity_id) FROM entity_jsonb",
        "1=1,2=2",
    );
    wait_for(
        &mut copy,
        "SELECT coalesce(bool_and(writer LIKE '%/source' AND written_at > now() - interval '3 s'), false)
         FROM replication_heartbeat WHERE slot = 0",
        "t",
    );
    // It is a primary of its own, and its janitor and keeper go on.
    assert_eq!(
        copy.rows("SELECT role, verdict FROM freshness()"),
        [["primary", "fresh"]]
    );
    assert_eq!(
        copy.number("SELECT count(*) FROM pg_stat_subscription_stats WHERE apply_error_count > 0"),
        0
    );
    copy.exec("DROP SUBSCRIPTION warehouse");
}

/// pgoutput as any consumer outside of PostgreSQL reads it, by the replication protocol, again and again from where it stopped.
#[test]
fn a_consumer_that_reconnects_gets_the_rest() {
    let (source, _database, mut session) = source();
    session.exec("SELECT create_cdc_publications('fleet')");
    let id = attribute(&mut session, "temperature", "number");
    session.exec("SELECT pg_create_logical_replication_slot('consumer', 'pgoutput')");
    let consume = |session: &mut Session| {
        let end = session.text("SELECT pg_current_wal_insert_lsn()");
        let arguments = [
            "-d",
            "fleet",
            "-S",
            "consumer",
            "--start",
            "-f",
            "-",
            "--endpos",
            &end,
            "--no-loop",
            "-o",
            "proto_version=1",
            "-o",
            "publication_names=fleet_facts,fleet_state",
        ];
        // An idle server writes a heartbeat each second, so the end comes.
        source.tool("pg_recvlogical", arguments, "").success()
    };
    // Rows of eight columns, as only facts are.
    let facts = |messages: &str| messages.matches("N\0\u{8}t").count();
    stage(&mut session, id, 0, 20);
    stage(&mut session, id, 3, 20);
    wait_for(&mut session, "SELECT count(*) FROM entity_values_ts", "40");
    let first = consume(&mut session);
    assert!(first.contains("telemetry\0entity_values_ts\0"), "{first:?}");
    assert_eq!(facts(&first), 40, "{first:?}");
    let health = "SELECT coalesce(NOT active AND lag_seconds < 5, false) FROM replication_slots_health WHERE slot_name = 'consumer'";
    // Known from the first heartbeat on.
    wait_for(&mut session, health, "t");

    drop_old_partition(&mut session);
    change_state(&mut session);
    session.exec("INSERT INTO entity_jsonb (tenant_id, entity_id, as_of, hot_attrs) VALUES (1, 77, now(), '{\"mark\": 7777}')");
    eventually(
        Duration::from_secs(15),
        "it falls behind",
        || {
            match session
            .is_true("SELECT coalesce(lag_seconds > 2, false) FROM replication_slots_health WHERE slot_name = 'consumer'")
        {
            true => Ok(()),
            false => Err(()),
        }
        },
    );
    let second = consume(&mut session);
    assert!(
        [
            "telemetry\0entity_jsonb\0",
            "telemetry\0replication_heartbeat\0",
            "7777"
        ]
        .iter()
        .all(|part| second.contains(part)),
        "{second:?}"
    );
    assert_eq!(facts(&second), 0, "facts came twice: {second:?}");
    wait_for(&mut session, health, "t");
    session.exec("SELECT pg_drop_replication_slot('consumer')");
}

#[test]
fn wal2json_reads_it_too() {
    let (source, database, mut session) = source();
    let there = session.is_true(
        "SELECT (pg_stat_file(setting || '/wal2json.so', true)).size IS NOT NULL FROM pg_config WHERE name = 'PKGLIBDIR'",
    );
    if !there {
        announce("SKIPPED: wal2json: not installed (postgresql-MAJOR-wal2json)");
        return;
    }
    let id = attribute(&mut session, "temperature", "number");
    // Servers that know this setting load no other plugins.
    for allowed in session.column("SELECT setting FROM pg_settings WHERE name = 'output_plugin_libraries'") {
        source.set_and_reload("output_plugin_libraries", format!("{allowed}, wal2json"));
        session = database.connect();
    }
    session.exec("SELECT pg_create_logical_replication_slot('json', 'wal2json')");
    stage(&mut session, id, 0, 20);
    stage(&mut session, id, 3, 30);
    wait_for(&mut session, "SELECT count(*) FROM entity_values_ts", "50");
    drop_old_partition(&mut session);
    change_state(&mut session);
    wait_for(
        &mut session,
        "SELECT count(*) > 0 FROM replication_heartbeat",
        "t",
    );
    // It names partitions: publications, and what they say about roots, are not for it.
    session.exec(
        "CREATE TEMP TABLE changes AS SELECT data::jsonb AS c
         FROM pg_logical_slot_get_changes('json', NULL, NULL, 'format-version', '2', 'actions', 'insert,update,delete')
         WHERE data::jsonb ? 'table'",
    );
    assert_eq!(
        session.number("SELECT count(*) FROM changes WHERE c ->> 'table' LIKE 'entity\\_values\\_ts\\_p%' AND c ->> 'action' = 'I'"),
        50
    );
    assert_eq!(
        session.text(
            "SELECT string_agg(c ->> 'action', '' ORDER BY ordinal)
             FROM (SELECT c, row_number() OVER () AS ordinal FROM changes) AS o WHERE c ->> 'table' LIKE 'entity\\_jsonb\\_%'"
        ),
        "IIIUD"
    );
    assert!(session.number("SELECT count(*) FROM changes WHERE c ->> 'table' = 'replication_heartbeat'") > 0);
    session.exec("SELECT pg_drop_replication_slot('json')");
}

#[test]
fn a_publication_of_that_name_with_other_content_is_refused() {
    let database = shared::database();
    let mut session = database.install();
    session.exec("CREATE TABLE mine (n int PRIMARY KEY)");
    for (publication, fault) in [
        (
            "fleet_facts FOR TABLE mine WITH (publish = 'insert', publish_via_partition_root)",
            "entity_values_ts",
        ),
        (
            "fleet_facts FOR TABLE entity_values_ts WITH (publish_via_partition_root)",
            "\"insert, update, delete, truncate\" and not \"insert\"",
        ),
        (
            "fleet_facts FOR TABLE entity_values_ts WITH (publish = 'insert')",
            "publish_via_partition_root is off",
        ),
        (
            "fleet_facts FOR TABLE entity_values_ts WHERE (tenant_id = 1) WITH (publish = 'insert', publish_via_partition_root)",
            "the whole of",
        ),
        (
            "fleet_state FOR TABLE entity_jsonb WITH (publish = 'insert, update, delete', publish_via_partition_root)",
            "replication_heartbeat",
        ),
    ] {
        session.exec(&format!("CREATE PUBLICATION {publication}"));
        let failure = session.fails_with("42710", "SELECT create_cdc_publications('fleet')");
        assert!(
            failure.detail.contains(fault) && !failure.hint.is_empty(),
            "{failure}"
        );
        session.exec(&format!("DROP PUBLICATION {}", &publication[..11]));
    }
    assert_eq!(session.number("SELECT count(*) FROM pg_publication"), 0);
    // Tables of one's own may be in it as well, one by one or with all of the schema.
    session.exec("SELECT create_cdc_publications('fleet'); ALTER PUBLICATION fleet_state ADD TABLE mine");
    assert_eq!(
        session.column("SELECT outcome FROM create_cdc_publications('fleet')"),
        ["left as it is"; 2]
    );
}

#[test]
fn publications_are_for_the_owner_of_the_tables() {
    let database = shared::database();
    let mut session = database.install();
    session.fails_with("22004", "SELECT create_cdc_publications(NULL)");
    session.fails_with("22023", "SELECT create_cdc_publications('')");
    session.fails_with("22023", "SELECT create_cdc_publications(repeat('x', 60))");
    let mut admin = database.connect_as(&database.create_login(Some("telemetry_admin")));
    admin.fails_with("42501", "SELECT telemetry.create_cdc_publications()");
    session.exec("BEGIN READ ONLY");
    session.fails_with("25006", "SELECT create_cdc_publications()");
    session.exec("ROLLBACK");
    // A name that has to be quoted.
    session.exec("SELECT create_cdc_publications('Flëet \"1\"')");
    assert_eq!(
        session.number("SELECT count(*) FROM pg_publication_tables WHERE pubname = 'Flëet \"1\"_facts'"),
        1
    );
}
