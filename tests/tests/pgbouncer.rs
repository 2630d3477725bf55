//! Behind PgBouncer in transaction mode: each transaction of a client may come to another server process.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster_tests::pooler::Pooler;
use cluster_tests::readings::attribute;
use cluster_tests::{Cluster, Database, SOON, Session, eventually, project};

struct Pooled {
    pooler: Pooler,
    database: Database,
    session: Session,
    temperature: i64,
}

fn pooled() -> Option<Pooled> {
    let cluster = Cluster::builder().start();
    let pooler = Pooler::to(&cluster)?;
    let database = cluster.create_database("fleet");
    let mut direct = database.install();
    let temperature = attribute(&mut direct, "temperature", "number");
    let mut session = pooler.connect("fleet");
    // Two transactions at once, so that there are two.
    let mut second = pooler.connect("fleet");
    session.exec("BEGIN");
    second.exec("BEGIN");
    session.exec("COMMIT");
    second.exec("COMMIT");
    let pids: BTreeSet<String> = (0..4).map(|_| session.text("SELECT pg_backend_pid()")).collect();
    assert_eq!(
        pids.len(),
        2,
        "transactions take turns between two server processes"
    );
    Some(Pooled {
        pooler,
        database,
        session,
        temperature,
    })
}

/// Each function, called as the documentation does; `{token}` is what commit_token() returned.
const CALLS: &[(&str, &str)] = &[
    ("setup", "SELECT * FROM setup()"),
    (
        "register_attribute",
        "SELECT register_attribute(1, 'mode', 'text')",
    ),
    ("register_entity", "SELECT register_entity(1, 'robot-7')"),
    (
        "ingest",
        "SELECT ingest(1, 1, '{\"temperature\": 20.5, \"mode\": \"auto\"}')",
    ),
    (
        "ingest_external",
        "SELECT ingest_external(1, 'robot-7', '{\"temperature\": 21}', request_id => '00000000-0000-0000-0000-000000000001')",
    ),
    (
        "ingest_external",
        "SELECT ingest_external(1, 'robot-7', '{\"temperature\": 21}', request_id => '00000000-0000-0000-0000-000000000001')",
    ),
    (
        "ingest_many",
        "SELECT ingest_many(1, '[{\"entity_id\": 2, \"readings\": {\"temperature\": 22}}]')",
    ),
    ("stage_flush", "SELECT stage_flush()"),
    (
        "last_flush",
        "BEGIN; SELECT stage_flush(); SELECT * FROM last_flush(); COMMIT",
    ),
    ("drain", "SELECT drain('1 second')"),
    ("pause", "SELECT pause('new disk')"),
    ("resume", "SELECT resume()"),
    (
        "promote_attribute",
        "SELECT promote_attribute(1, 'temperature', true)",
    ),
    ("build_attributes", "SELECT build_attributes()"),
    ("run_worker", "CALL run_worker('flusher', '0')"),
    ("run_worker", "CALL run_worker('keeper', '0')"),
    ("run_worker", "CALL run_worker('janitor', '0')"),
    (
        "upsert_hot_attrs",
        "SELECT upsert_hot_attrs(1, 1, '{\"temperature\": 23}')",
    ),
    (
        "entity_latest",
        "SELECT entity_latest(1, 1, include_staged => true)",
    ),
    ("entities_latest", "SELECT * FROM entities_latest(1, '{1, 2}')"),
    (
        "readings",
        "SELECT * FROM readings(1, 1, 'temperature', now() - interval '1 hour')",
    ),
    (
        "find_entities_by_attributes",
        "SELECT * FROM find_entities_by_attributes(1, '{\"temperature\": {\"gt\": 20}}')",
    ),
    (
        "explain_find",
        "SELECT * FROM explain_find(1, '{\"temperature\": {\"gt\": 20}}')",
    ),
    ("delete_entity", "SELECT delete_entity(1, 2)"),
    ("undelete_entity", "SELECT undelete_entity(1, 2)"),
    ("rebuild_hot", "SELECT rebuild_hot(1, 1)"),
    (
        "rebuild_hot_batch",
        "SELECT * FROM rebuild_hot_batch(1, NULL, 100)",
    ),
    ("rebuild_hot_tenant", "CALL rebuild_hot_tenant(1)"),
    ("verify_hot", "SELECT * FROM verify_hot(1)"),
    ("demote_attribute", "SELECT demote_attribute(1, 'temperature')"),
    ("partition_plan", "SELECT * FROM partition_plan()"),
    ("rotate_partitions", "SELECT * FROM rotate_partitions()"),
    ("set_retention", "SELECT set_retention('90 days')"),
    (
        "ingested_periods",
        "SELECT * FROM ingested_periods(now() - interval '1 day')",
    ),
    ("partition_health_rows", "SELECT * FROM partition_health"),
    (
        "add_fact_index",
        "SELECT add_fact_index('{tenant_id, value_num}', index_name => 'by_value')",
    ),
    ("fact_index_plan", "SELECT * FROM fact_index_plan()"),
    ("fact_index_rows", "SELECT * FROM fact_indexes"),
    ("run_worker", "CALL run_worker('janitor', '0')"),
    ("reindex_facts", "SELECT reindex_facts('by_value')"),
    ("drop_fact_index", "SELECT drop_fact_index('by_value')"),
    ("freshness", "SELECT * FROM freshness()"),
    ("can_serve", "SELECT can_serve('eventual')"),
    ("route_read", "SELECT * FROM route_read('eventual')"),
    ("token_reached", "SELECT token_reached('{token}')"),
    ("wait_for_token", "CALL wait_for_token('{token}', '1 second')"),
    (
        "commit_token",
        "BEGIN; SELECT ingest(1, 1, '{\"temperature\": 1}'); SELECT commit_token(); COMMIT",
    ),
    ("replication_lag_rows", "SELECT * FROM replication_lag"),
    (
        "replication_slots_health_rows",
        "SELECT * FROM replication_slots_health",
    ),
    (
        "create_cdc_publications",
        "SELECT * FROM create_cdc_publications()",
    ),
    ("heartbeat", "SELECT heartbeat()"),
    (
        "retry_rejected",
        "SELECT retry_rejected('{\"sqlstate\": \"42704\"}', max_rows => 1000)",
    ),
    ("trim_rejected", "SELECT * FROM trim_rejected()"),
    ("rejected_summary_rows", "SELECT * FROM rejected_summary"),
    ("attribute_heat_rows", "SELECT * FROM attribute_heat"),
    ("worker_status_rows", "SELECT * FROM worker_status"),
    ("staging_backlog_rows", "SELECT * FROM staging_backlog"),
    ("flush_stats_rows", "SELECT * FROM flush_stats"),
    ("flush_totals", "SELECT * FROM flush_totals()"),
    ("checkpoint_activity_rows", "SELECT * FROM checkpoint_activity"),
    ("evaluate_alerts", "SELECT evaluate_alerts()"),
    ("telemetry_alerts_rows", "SELECT * FROM telemetry_alerts"),
    ("health", "SELECT * FROM health()"),
    ("ack_alert", "SELECT ack_alert('blocking')"),
    ("unack_alert", "SELECT unack_alert('blocking')"),
    ("silence_alert", "SELECT silence_alert('blocking', '1 hour')"),
    ("unsilence_alert", "SELECT unsilence_alert('blocking')"),
    ("test_alert", "SELECT test_alert('blocking')"),
    ("telemetry_metrics_rows", "SELECT * FROM telemetry_metrics"),
    ("partition_totals", "SELECT * FROM partition_totals()"),
    ("take_samples", "SELECT * FROM take_samples()"),
    ("cache_hit_rows", "SELECT * FROM cache_hit"),
    ("table_usage_rows", "SELECT * FROM table_usage"),
    ("slow_queries_rows", "SELECT * FROM slow_queries"),
    ("tenant_usage_rows", "SELECT * FROM tenant_usage"),
    ("index_health_rows", "SELECT * FROM index_health"),
    (
        "release_tables",
        "BEGIN; SELECT stage_flush(); SELECT * FROM release_tables(); ROLLBACK",
    ),
];

/// Those that users call; the others are functions of triggers.
fn functions() -> BTreeSet<String> {
    let golden = project::read("tests/golden/objects.txt");
    let lines = golden
        .lines()
        .filter(|line| line.starts_with("function ") && !line.contains("returns trigger"));
    lines
        .filter_map(|line| Some(line.strip_prefix("function ")?.split('(').next()?.to_owned()))
        .collect()
}

#[test]
fn every_function_works() {
    let called: BTreeSet<String> = CALLS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let missing: Vec<String> = functions()
        .into_iter()
        .filter(|name| !called.contains(name))
        .collect();
    assert!(missing.is_empty(), "not called here: {missing:?}");
    let Some(mut pooled) = pooled() else { return };
    let session = &mut pooled.session;
    let token = session.text("SELECT commit_token()");
    // Twice, so that each server process comes to most of them.
    for round in 1..=2 {
        for (_, call) in CALLS {
            let done = session.try_rows(&call.replace("{token}", &token));
            assert!(done.is_ok(), "round {round}: {call}: {done:?}");
        }
        session.exec("SELECT 1");
    }
    let rows = session.number("SELECT count(*) FROM entity_values_ts");
    // A request that was repeated counts once, whichever process saw it first.
    assert_eq!(
        session.number("SELECT count(*) FROM entity_values_ts WHERE value_num = 21"),
        1
    );
    assert!(rows > 6, "{rows}");
}

#[test]
fn what_one_process_changes_the_other_knows() {
    let Some(mut pooled) = pooled() else { return };
    let (session, id) = (&mut pooled.session, pooled.temperature);
    let mut other = pooled.pooler.connect("fleet");
    for round in 1..=6 {
        // A dictionary that is kept in each process, the pause, the partitions, the flags of attributes.
        session.exec(&format!("SELECT register_attribute(1, 'a{round}', 'number')"));
        assert_eq!(
            other.number(&format!(
                "SELECT ingest(1, {round}, '{{\"a{round}\": {round}, \"temperature\": {round}}}')"
            )),
            2
        );
        assert_eq!(session.number("SELECT stage_flush()"), 2);
        session.exec(&format!("SELECT promote_attribute(1, 'a{round}')"));
        eventually(SOON, "the documents have it", || {
            match other.number("SELECT build_attributes() FROM stage_flush()") {
                0 => Ok(()),
                left => Err((left, other.rows("SELECT phase, waits_for FROM attribute_builds"))),
            }
        });
        assert_eq!(
            other.text(&format!("SELECT entity_latest(1, {round}, '{{a{round}}}')")),
            format!("{{\"a{round}\": {round}}}")
        );
    }
    assert_eq!(
        session.number(&format!(
            "SELECT count(*) FROM entity_values_ts WHERE attribute_id = {id}"
        )),
        6
    );
    // Without preload a pause is noticed within a second.
    let a_second = Duration::from_millis(1100);
    session.exec("SELECT pause('for a test')");
    std::thread::sleep(a_second);
    session.exec("SELECT ingest(1, 1, '{\"temperature\": 1}')");
    for _ in 0..4 {
        assert_eq!(other.number("SELECT stage_flush()"), 0);
    }
    other.exec("SELECT resume()");
    std::thread::sleep(a_second);
    assert_eq!(session.number("SELECT stage_flush()"), 1);
}

#[test]
fn copy_and_settings_of_a_transaction() {
    let Some(mut pooled) = pooled() else { return };
    let (session, id) = (&mut pooled.session, pooled.temperature);
    for door in ["entity_values_ingest", "entity_values_ingest_durable"] {
        let copy = |entities: std::ops::Range<i64>| -> String {
            let lines: String = entities.map(|n| format!("1\t{n}\t{id}\t{n}\n")).collect();
            format!("COPY {door} (tenant_id, entity_id, attribute_id, value_num) FROM STDIN;\n{lines}\\.\n")
        };
        let script: String = (0..4).map(|round| copy(round * 50..round * 50 + 50)).collect();
        let output = pooled.pooler.psql(&pooled.database, &script);
        assert_eq!(output.success().matches("COPY 50").count(), 4);
        let wrong = script.replacen("\n1\t", "\nx\t", 1);
        let output = pooled.pooler.psql(&pooled.database, &wrong);
        assert!(
            !output.ok && output.stderr.contains("invalid input syntax"),
            "{output:?}"
        );
    }
    assert_eq!(session.number("SELECT stage_flush()"), 400);
    // As docs/operations.md says: SET LOCAL counts for its transaction, and no other client gets it.
    session.exec(
        "BEGIN; SET LOCAL synchronous_commit = off; SELECT ingest(1, 1, '{\"temperature\": 1}'); COMMIT",
    );
    for _ in 0..4 {
        assert_eq!(session.text("SHOW synchronous_commit"), "on");
    }
    // What stage_flush() did, asked for in its transaction, whoever flushed in that process before.
    session.exec("BEGIN");
    assert_eq!(session.number("SELECT stage_flush()"), 1);
    assert_eq!(session.number("SELECT rows_flushed FROM last_flush()"), 1);
    session.exec("COMMIT");
    // A worker by hand leaves nothing behind in the process that it borrowed.
    let set_up = "SELECT current_user, current_setting('search_path'), current_setting('lock_timeout'), current_setting('jit'),
                  current_setting('timezone'), (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'object')";
    let before = session.rows(set_up);
    for worker in ["flusher", "keeper", "janitor"] {
        session.exec(&format!("CALL run_worker('{worker}', '0')"));
        for _ in 0..2 {
            assert_eq!(session.rows(set_up), before, "{worker}");
        }
    }
}

#[test]
fn prepared_statements() {
    let Some(mut pooled) = pooled() else { return };
    let keeps = pooled.pooler.keeps_prepared_statements();
    let client = pooled.session.client();
    let ingest = "SELECT ingest($1, $2, '{\"temperature\": 1}')";
    if keeps {
        let prepared = client.prepare(ingest).expect("it can be prepared");
        for entity in 1..=8i64 {
            let row = client
                .query_one(&prepared, &[&1i64, &entity])
                .expect("it runs in either process");
            assert_eq!(row.get::<_, i32>(0), 1);
        }
    } else {
        // Within one transaction it is one process.
        for entity in 1..=8i64 {
            let mut transaction = client.transaction().expect("a transaction");
            let row = transaction.query_one(ingest, &[&1i64, &entity]).expect("it runs");
            assert_eq!(row.get::<_, i32>(0), 1);
            transaction.commit().expect("a commit");
        }
    }
    let mut direct = pooled.database.connect();
    assert_eq!(direct.number("SELECT stage_flush()"), 8);
}
