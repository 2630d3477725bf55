//! flush_stats: each flush counts once, when it commits, and the history outlives a restart.

use cluster_tests::readings::{attribute, stage, wait_for_facts};
use cluster_tests::{Cluster, Database, SOON, Session, Stop, eventually, shared, workers};

const FAST: &str = "entity_values_ingest";

fn sums(session: &mut Session, source: &str) -> Vec<String> {
    session
        .rows(&format!(
            "SELECT coalesce(sum(batches), 0), coalesce(sum(rows_flushed), 0), coalesce(sum(rows_rejected), 0),
                    coalesce(sum(errors), 0), coalesce(sum(retries), 0)
             FROM flush_stats WHERE source = '{source}'"
        ))
        .swap_remove(0)
}

/// Preloaded, but every flush is the test's own.
fn without_workers() -> (Database, Session, i64) {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.background_workers", "off")
        .set("max_prepared_transactions", 5)
        .start();
    let database = cluster.create_database("ours");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    (database, session, id)
}

#[test]
fn what_workers_did_is_counted_once_and_survives_a_restart() {
    let (database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, FAST, id, 1, 1000);
    session.exec("INSERT INTO entity_values_ingest (tenant_id) VALUES (1)");
    wait_for_facts(&mut session, 1000);
    eventually(SOON, "all is counted", || {
        match &sums(&mut session, "worker")[1..] {
            counted if counted == ["1000", "1", "0", "0"] => Ok(()),
            counted => Err(counted.to_vec()),
        }
    });
    let sane = "SELECT bool_and(p50_ms > 0 AND p50_ms <= p95_ms AND p95_ms <= p99_ms AND p99_ms <= max_ms
                                AND max_ms < 20000 AND wal_bytes BETWEEN 1000 AND 100000000)
                FROM flush_stats WHERE source = 'worker'";
    assert!(
        session.is_true(sane),
        "{:?}",
        session.rows("SELECT * FROM flush_stats")
    );
    let before = sums(&mut session, "worker");
    // A flusher that ends writes down what it knows, which then is in the table and in shared memory.
    let flusher = workers::flusher(database.cluster(), database.name());
    session.exec(&format!("SELECT pg_terminate_backend({flusher})"));
    eventually(SOON, "the history is written", || {
        match session.number("SELECT count(*) FROM flush_history") {
            0 => Err(()),
            _ => Ok(()),
        }
    });
    assert_eq!(sums(&mut session, "worker"), before);
    database.cluster().restart(Stop::Fast);
    let mut session = database.connect();
    assert_eq!(sums(&mut session, "worker"), before);
    assert!(session.is_true(sane));
    stage(&mut session, FAST, id, 1001, 1010);
    wait_for_facts(&mut session, 1010);
    eventually(SOON, "counting goes on", || match sums(&mut session, "worker") {
        counted if counted[1] == "1010" => Ok(()),
        counted => Err(counted),
    });
}

#[test]
fn a_flush_counts_when_its_transaction_commits() {
    let (_database, mut session, id) = without_workers();
    stage(&mut session, FAST, id, 1, 10);
    session.exec("BEGIN; SELECT stage_flush()");
    assert_eq!(sums(&mut session, "sql"), ["0", "0", "0", "0", "0"]);
    session.exec("ROLLBACK");
    assert_eq!(sums(&mut session, "sql"), ["0", "0", "0", "1", "0"]);
    // The next one does it again.
    session.exec("SELECT stage_flush()");
    assert_eq!(sums(&mut session, "sql"), ["1", "10", "0", "1", "1"]);
    session.exec("SELECT stage_flush()");
    assert_eq!(
        sums(&mut session, "sql"),
        ["1", "10", "0", "1", "1"],
        "nothing was staged"
    );

    // A subtransaction that is undone takes its flush along; one that is kept does not.
    stage(&mut session, FAST, id, 11, 20);
    session.exec("BEGIN; SAVEPOINT a; SELECT stage_flush(); ROLLBACK TO a; COMMIT");
    assert_eq!(sums(&mut session, "sql"), ["1", "10", "0", "2", "1"]);
    session.exec("BEGIN; SAVEPOINT a; SAVEPOINT b; SELECT stage_flush(); RELEASE b; RELEASE a; COMMIT");
    assert_eq!(sums(&mut session, "sql"), ["2", "20", "0", "2", "2"]);

    // What becomes of a prepared transaction nobody tells us.
    stage(&mut session, FAST, id, 21, 30);
    session.exec("BEGIN; SELECT stage_flush(); PREPARE TRANSACTION 'p'");
    session.exec("ROLLBACK PREPARED 'p'");
    assert_eq!(sums(&mut session, "sql"), ["2", "20", "0", "2", "2"]);

    // An error within, with and without somebody who catches it.
    session.exec(
        "CREATE FUNCTION take_long() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_catalog.pg_sleep(10); RETURN NEW; END $$;
         CREATE TRIGGER take_long BEFORE INSERT ON entity_values_ts FOR EACH ROW EXECUTE FUNCTION take_long();
         SET statement_timeout = '300 ms'",
    );
    session.fails_with("57014", "SELECT stage_flush()");
    assert_eq!(sums(&mut session, "sql"), ["2", "20", "0", "3", "2"]);
    session
        .exec("DO $$ BEGIN PERFORM telemetry.stage_flush(); EXCEPTION WHEN query_canceled THEN NULL; END $$");
    assert_eq!(sums(&mut session, "sql"), ["2", "20", "0", "4", "2"]);
    session.exec("RESET statement_timeout; DROP TRIGGER take_long ON entity_values_ts");

    // A flush that stumbles over a row is tried again within the same call, and this and the next are told apart.
    session.exec("ALTER TABLE entity_values_ts ADD CONSTRAINT not_25 CHECK (entity_id <> 25) NOT VALID");
    assert_eq!(session.number("SELECT stage_flush()"), 9);
    assert_eq!(sums(&mut session, "sql"), ["3", "29", "1", "5", "3"]);
    stage(&mut session, FAST, id, 31, 40);
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    assert_eq!(sums(&mut session, "sql"), ["4", "39", "1", "5", "3"]);
}

#[test]
fn what_goes_by_sql_is_told() {
    let (_database, mut session, id) = without_workers();
    let fallbacks = "SELECT sum(fallback_claims), sum(fallback_leaves) FROM flush_stats";
    stage(&mut session, FAST, id, 1, 10);
    session.exec("SELECT stage_flush()");
    assert_eq!(session.rows(fallbacks), [["0", "0"]]);
    session.exec("CREATE INDEX ON entity_values_ingest (entity_id)");
    stage(&mut session, FAST, id, 11, 20);
    session.exec("SELECT stage_flush()");
    assert_eq!(session.rows(fallbacks), [["1", "0"]]);
    session.exec("DROP INDEX entity_values_ingest_entity_id_idx");
    // Until a vacuum the catalog says that there may be one.
    session.exec("VACUUM entity_values_ingest");
    session.exec(
        "CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
         CREATE TRIGGER pass BEFORE INSERT ON entity_values_ts FOR EACH ROW EXECUTE FUNCTION pass()",
    );
    stage(&mut session, FAST, id, 21, 30);
    session.exec("SELECT stage_flush()");
    assert_eq!(session.rows(fallbacks), [["1", "1"]], "by trigger");
    session.exec("DROP TRIGGER pass ON entity_values_ts");

    // What Citus keeps of distributed tables: their rows are not in their own storage.
    session.exec(
        "SET allow_system_table_mods = on;
         CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass);
         RESET allow_system_table_mods;
         INSERT INTO pg_dist_partition VALUES ('entity_values_ingest'), ('entity_values_ts')",
    );
    stage(&mut session, FAST, id, 31, 40);
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    assert_eq!(session.rows(fallbacks), [["2", "2"]], "distributed");
    session.exec("TRUNCATE pg_dist_partition");
    stage(&mut session, FAST, id, 41, 50);
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    assert_eq!(session.rows(fallbacks), [["2", "2"]], "other tables are");
}

#[test]
fn without_preload_it_says_that_nothing_is_counted() {
    let database = shared::database();
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, FAST, id, 1, 10);
    session.exec("SELECT stage_flush()");
    assert_eq!(
        session.rows("SELECT source, rows_flushed IS NULL FROM flush_stats"),
        [["not preloaded", "t"]]
    );
}
