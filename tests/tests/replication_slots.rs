//! Who replicates, how far behind they are, and what their slots hold back.

use std::time::Duration;

use cluster_tests::replicas::{STARTED, becomes_within, pair};
use cluster_tests::{Cluster, SOON, Session, eventually, shared};

#[test]
fn the_lag_of_each_standby_is_told_by_stage_in_true_seconds() {
    let mut pair = pair();
    let row = |session: &mut Session| {
        session.rows(
            "SELECT standby, state, replay_lag_seconds, flush_lag_seconds, replay_lag_bytes FROM telemetry.replication_lag",
        )
    };
    // It was fresh before it came over the wire.
    eventually(STARTED, "one standby that streams", || {
        match row(&mut pair.session) {
            rows if rows.len() == 1 && rows[0][1] == "streaming" => Ok(()),
            rows => Err(rows),
        }
    });
    pair.replica.exec("SELECT pg_wal_replay_pause()");
    std::thread::sleep(Duration::from_millis(4500));
    let seen = row(&mut pair.session);
    let number = |column: usize| seen[0][column].parse::<f64>().expect("a number");
    assert!((3.0..15.0).contains(&number(2)), "{seen:?}");
    assert!(number(3) < 2.5, "what is flushed there is not late: {seen:?}");
    assert!(number(4) > 0.0);
    pair.replica.exec("SELECT pg_wal_replay_resume()");

    // On a standby it shows those below it.
    let cascade = pair.standby.standby();
    becomes_within(STARTED, &mut cascade.connect("fleet"), "fresh");
    assert_eq!(row(&mut pair.replica).len(), 1);
    assert_eq!(
        pair.replica
            .number("SELECT count(*) FROM telemetry.replication_slots_health"),
        0
    );
    // Whoever may look needs no other right.
    let mut monitor = pair
        .database
        .connect_as(&pair.database.create_login(Some("telemetry_admin")));
    assert_eq!(row(&mut monitor)[0][1], "streaming");
}

#[test]
fn a_slot_that_nobody_reads_is_warned_of_before_it_is_lost() {
    let cluster = Cluster::builder()
        .preload()
        .set("max_slot_wal_keep_size", "160MB")
        .set("max_wal_size", "64MB")
        .set("min_wal_size", "32MB")
        .start();
    let database = cluster.create_database("fleet");
    let mut session = database.install();
    session.exec("SELECT pg_create_physical_replication_slot('left_behind', true)");
    session.exec("SELECT pg_create_physical_replication_slot('unused')");
    session.exec("CREATE TABLE load (t text)");
    let look = "SELECT verdict, wal_status, lag_seconds, seconds_left, retained_bytes, remedy
                FROM replication_slots_health WHERE slot_name = 'left_behind'";
    assert_eq!(session.rows(look)[0][0], "ok");
    let mut verdicts: Vec<String> = vec!["ok".into()];
    eventually(Duration::from_secs(60), "the slot is lost", || {
        session.exec(
            "TRUNCATE load; INSERT INTO load SELECT repeat(md5(n::text), 30) FROM generate_series(1, 6000) n",
        );
        let row = session.rows(look).swap_remove(0);
        assert_eq!(row[5] == "<null>", row[0] == "ok", "{row:?}");
        if verdicts.last() != Some(&row[0]) {
            verdicts.push(row[0].clone());
        }
        session.exec("CHECKPOINT");
        if row[0] == "lost" { Ok(()) } else { Err(row) }
    });
    assert!(verdicts.contains(&"critical".to_owned()), "{verdicts:?}");
    assert_eq!(
        session.rows("SELECT kind, active, retained_bytes, verdict FROM replication_slots_health WHERE slot_name = 'unused'"),
        [["physical", "f", "<null>", "ok"]]
    );
}

#[test]
fn the_lag_of_a_slot_is_known_in_seconds() {
    let cluster = Cluster::builder().preload().set("wal_level", "logical").start();
    let database = cluster.create_database("fleet");
    let mut session = database.install();
    session.exec("SELECT pg_create_logical_replication_slot('reader', 'test_decoding')");
    let look = "SELECT lag_seconds > 3, kind, plugin, database, active, inactive_since IS NOT NULL, catalog_xmin_age >= 0
                FROM replication_slots_health";
    eventually(SOON, "a lag of seconds", || {
        let row = session.rows(look).swap_remove(0);
        if row == ["t", "logical", "test_decoding", "fleet", "f", "t", "t"] {
            Ok(())
        } else {
            Err(row)
        }
    });
    // It reads, and is behind no more; on a database where nothing but the heartbeat is written.
    session.exec("SELECT count(*) FROM pg_logical_slot_get_changes('reader', NULL, NULL)");
    assert!(session.is_true("SELECT lag_seconds < 2.5 FROM replication_slots_health"));
    session.exec("SELECT pg_drop_replication_slot('reader')");
}

#[test]
fn a_copy_elsewhere_gets_facts_and_state_while_partitions_come_and_go() {
    let source = Cluster::builder()
        .preload()
        .set("wal_level", "logical")
        .set("cluster_name", "source")
        .start();
    let database = source.create_database("fleet");
    let mut session = database.install();
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
    let id = cluster_tests::readings::attribute(&mut session, "temperature", "number");

    // The other side has plain tables, as a warehouse has.
    let target = Cluster::builder().set("wal_level", "logical").start();
    let mut copy = target.connect("postgres");
    copy.exec("CREATE SCHEMA telemetry; SET search_path = telemetry");
    copy.exec(
        "CREATE TABLE entity_values_ts (tenant_id bigint, entity_id bigint, ingested_at timestamptz, observed_at timestamptz,
             value_num double precision, value_int bigint, attribute_id int, value_text text)",
    );
    copy.exec(
        "CREATE TABLE entity_jsonb (tenant_id bigint, entity_id bigint, as_of timestamptz, deleted_at timestamptz,
             hot_attrs jsonb, hot_times bytea, PRIMARY KEY (tenant_id, entity_id))",
    );
    copy.exec(
        "CREATE TABLE replication_heartbeat (slot smallint PRIMARY KEY, written_at timestamptz, wal_position pg_lsn,
             timeline int, writer text)",
    );
    copy.exec(&format!(
        "CREATE SUBSCRIPTION warehouse CONNECTION 'host={} port=5432 user=postgres dbname=fleet'
             PUBLICATION fleet_facts, fleet_state",
        source.socket_dir().display()
    ));
    let stage = |session: &mut Session, days: i32, rows: i32| {
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num, ingested_at)
             SELECT 1, n, {id}, n, now() - {days} * interval '1 day' FROM generate_series(1, {rows}) n"
        ));
    };
    let wait_for = |copy: &mut Session, query: &str, expected: &str| {
        eventually(SOON, query, || {
            let seen = copy.text(query);
            if seen == expected { Ok(()) } else { Err(seen) }
        });
    };
    stage(&mut session, 0, 100);
    wait_for(&mut copy, "SELECT count(*) FROM entity_values_ts", "100");
    // Partitions that are made after the publication, and one that goes.
    stage(&mut session, 3, 50);
    wait_for(&mut copy, "SELECT count(*) FROM entity_values_ts", "150");
    let old = session.text(
        "SELECT tableoid::regclass FROM entity_values_ts WHERE ingested_at < now() - interval '2 days' LIMIT 1",
    );
    session.exec(&format!(
        "ALTER TABLE entity_values_ts DETACH PARTITION {old} CONCURRENTLY"
    ));
    session.exec(&format!("DROP TABLE {old}"));
    stage(&mut session, 0, 10);
    // A correction by hand needs no replica identity, as deletes of facts are not published.
    session.exec("DELETE FROM entity_values_ts WHERE entity_id = 1");
    wait_for(&mut copy, "SELECT count(*) FROM entity_values_ts", "160");

    session.exec("INSERT INTO entity_jsonb (tenant_id, entity_id, as_of, hot_attrs) SELECT 1, n, now(), '{\"t\": 1}' FROM generate_series(1, 3) n");
    session.exec("UPDATE entity_jsonb SET hot_attrs = '{\"t\": 2}' WHERE entity_id = 2; DELETE FROM entity_jsonb WHERE entity_id = 3");
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
