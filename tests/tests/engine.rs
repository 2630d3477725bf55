//! The fast way of the flush gives the same result as the executor: on every kind of row, in every state a page can be in.

use cluster_tests::integrity::{check_facts, check_staging, summarize_facts};
use cluster_tests::readings::{DOORS, attribute, everywhere, facts, stage};
use cluster_tests::{Cluster, Database, Session, shared};

const COLUMNS: &str =
    "tenant_id, entity_id, ingested_at, observed_at, value_num, value_int, attribute_id, value_text";

fn ready() -> (Database, Session, i64) {
    let database = shared::database();
    let mut session = database.install();
    let temperature = attribute(&mut session, "temperature", "number");
    (database, session, temperature)
}

/// Rows of every kind, good and bad: all combinations of what each column may hold, with values of all sizes, over three
/// partitions and times without any.
fn stage_every_kind(session: &mut Session) {
    for value_type in ["number", "integer", "boolean", "timestamp", "text", "json"] {
        attribute(session, &format!("a_{value_type}"), value_type);
    }
    session
        .exec("SELECT register_attribute(2, 'foreign', 'number'), register_attribute(0, 'shared', 'number')");
    session.exec(
        "CREATE TABLE kinds AS
         SELECT t.tenant_id, row_number() OVER () AS entity_id, i.ingested_at, o.observed_at,
                v.value_num, v.value_int, a.attribute_id, v.value_text
         FROM (VALUES (1::bigint), (NULL), (0), (2), (9223372036854775807)) AS t (tenant_id),
              (VALUES (now()), (now() - interval '1 day'), (now() - interval '2 days'), (NULL),
                      (now() - interval '30 days'), ('infinity'), ('-infinity')) AS i (ingested_at),
              (VALUES (NULL::timestamptz), (now() - interval '3000 days'), ('infinity'), ('4000-01-01 BC'),
                      (now() + interval '3 days')) AS o (observed_at),
              (VALUES (1.5::float8, NULL::bigint, NULL::text), ('NaN', NULL, NULL), (NULL, 0, NULL), (NULL, 7, NULL),
                      (NULL, NULL, ''), (NULL, NULL, 'größe'), (NULL, NULL, NULL), (1, 1, NULL), (1, 1, 'x'),
                      (NULL, NULL, repeat('x', 5000))) AS v (value_num, value_int, value_text),
              (SELECT attribute_id FROM attributes UNION ALL VALUES (NULL::int), (-1), (2147483647)) AS a;
         INSERT INTO kinds SELECT 1, -n, now(), NULL, NULL, NULL, attribute_id,
                (SELECT string_agg(md5(n::text || i), '') FROM generate_series(1, n * 40) i)
             FROM attributes, generate_series(1, 100, 9) n WHERE name = 'a_text';
         UPDATE kinds SET entity_id = NULL WHERE entity_id % 97 = 0;
         CREATE TABLE expected AS SELECT c.*, CASE
                 WHEN c.tenant_id IS NULL THEN '23502:tenant_id is missing'
                 WHEN c.entity_id IS NULL THEN '23502:entity_id is missing'
                 WHEN c.attribute_id IS NULL THEN '23502:attribute_id is missing'
                 WHEN c.ingested_at IS NULL THEN '23502:ingested_at is missing'
                 WHEN c.tenant_id < 1 THEN '22003:tenant_id is below 1'
                 WHEN NOT c.ingested_at BETWEEN now() - interval '3 days' AND now()
                     THEN '22008:ingested_at is outside the accepted window'
                 WHEN NOT isfinite(c.observed_at) THEN '22008:observed_at is infinite'
                 WHEN NOT c.observed_at BETWEEN c.ingested_at - interval '3650 days' AND c.ingested_at + interval '1 day'
                     THEN '22008:observed_at is too far from ingested_at'
                 WHEN num_nonnulls(c.value_num, c.value_int, c.value_text) = 0 THEN '22023:no value is set'
                 WHEN num_nonnulls(c.value_num, c.value_int, c.value_text) > 1 THEN '22023:more than one value is set'
                 WHEN a.value_type IS NULL THEN '42704:attribute is not registered for the tenant'
                 WHEN a.value_type = 'number' AND c.value_num IS NULL THEN '42804:attribute is a number, value is not'
                 WHEN a.value_type IN ('integer', 'boolean', 'timestamp') AND c.value_int IS NULL
                     THEN '42804:attribute is ' || a.value_type || ', value is not in value_int'
                 WHEN a.value_type IN ('text', 'json') AND c.value_text IS NULL
                     THEN '42804:attribute is ' || a.value_type || ', value is not in value_text'
                 WHEN a.value_type = 'json' THEN '22P02:attribute is json, value is not'
                 WHEN a.value_type = 'boolean' AND c.value_int NOT IN (0, 1) THEN '22003:boolean is neither 0 nor 1'
             END AS fault
         FROM kinds AS c
             LEFT JOIN attributes AS a ON a.attribute_id = c.attribute_id AND a.tenant_id IN (0, c.tenant_id)",
    );
}

/// What is in facts and rejected is what the oracle expects, no row more or less.
#[track_caller]
fn check_outcome(session: &mut Session, way: &str) {
    let kept = format!("SELECT {COLUMNS}, NULL AS fault FROM entity_values_ts");
    let refused = format!("SELECT {COLUMNS}, sqlstate || ':' || reason FROM entity_values_rejected");
    let found = format!("({kept} UNION ALL {refused})");
    let expected = format!("(SELECT {COLUMNS}, fault FROM expected)");
    for (left, right) in [(&found, &expected), (&expected, &found)] {
        let missing = format!(
            "SELECT tenant_id, entity_id, ingested_at, attribute_id, left(value_text, 20), fault
             FROM ({left} EXCEPT ALL {right}) x LIMIT 5"
        );
        assert_eq!(
            session.rows(&missing),
            Vec::<Vec<String>>::new(),
            "{way}: in the first, not in the second"
        );
    }
}

#[test]
fn every_kind_of_row_has_the_same_end_by_every_way() {
    let (_database, mut session, _) = ready();
    stage_every_kind(&mut session);
    let ways = [
        ("the fast way", "", ""),
        (
            "rows taken by SQL",
            "CREATE INDEX slow ON {door} (tenant_id)",
            "DROP INDEX slow; VACUUM {door}",
        ),
        (
            "facts written by the executor",
            "ALTER TABLE entity_values_ts ADD CONSTRAINT slow CHECK (tenant_id > 0)",
            "ALTER TABLE entity_values_ts DROP CONSTRAINT slow",
        ),
        (
            "rejected written by the executor",
            "CREATE INDEX slow ON entity_values_rejected (tenant_id)",
            "DROP INDEX slow",
        ),
        (
            "facts with another index",
            "CREATE INDEX more ON entity_values_ts (observed_at, value_num) INCLUDE (value_int); CREATE INDEX wide ON entity_values_ts
                 USING brin (observed_at, value_int)",
            "DROP INDEX more, wide",
        ),
    ];
    for door in DOORS {
        for (way, before, after) in ways {
            for statement in before.split("; ").filter(|text| !text.is_empty()) {
                session.exec(&statement.replace("{door}", door));
            }
            session.exec(&format!(
                "INSERT INTO {door} ({COLUMNS}) SELECT {COLUMNS} FROM kinds"
            ));
            session.exec("SELECT stage_flush(1000); SELECT stage_flush()");
            check_outcome(&mut session, &format!("{door}, {way}"));
            check_facts(&mut session);
            assert_eq!(session.number(&format!("SELECT count(*) FROM {door}")), 0);
            for statement in after.split("; ").filter(|text| !text.is_empty()) {
                session.exec(&statement.replace("{door}", door));
            }
            check_staging(&mut session, door);
            session.exec("TRUNCATE entity_values_ts, entity_values_rejected");
        }
    }
}

#[test]
fn pages_in_every_state_are_taken_once() {
    let (database, mut session, id) = ready();
    for door in DOORS {
        let mut first = 1;
        let mut stage_some = |session: &mut Session| {
            stage(session, door, id, first, first + 499);
            first += 500;
        };
        // All-visible and frozen, an aborted insertion, rows locked once and by two, an aborted flush.
        stage_some(&mut session);
        session.exec(&format!("VACUUM {door}"));
        stage_some(&mut session);
        session.exec(&format!("VACUUM FREEZE {door}"));
        session.exec("BEGIN");
        stage(&mut session, door, id, 1, 500);
        session.exec("ROLLBACK");
        stage_some(&mut session);
        session.exec(&format!(
            "BEGIN; SELECT FROM {door} WHERE entity_id % 7 = 0 FOR SHARE; COMMIT"
        ));
        let mut other = database.connect();
        other.exec(&format!(
            "BEGIN; SELECT FROM {door} WHERE entity_id % 5 = 0 FOR KEY SHARE"
        ));
        session.exec(&format!(
            "BEGIN; SELECT FROM {door} WHERE entity_id % 5 = 0 FOR SHARE; COMMIT"
        ));
        session.exec("BEGIN; SELECT stage_flush(700); ROLLBACK");
        // What somebody holds is left to the next flush.
        assert_eq!(session.number("SELECT stage_flush()"), 1200);
        assert_eq!(session.number("SELECT stage_flush()"), 0);
        other.exec("COMMIT");
        assert_eq!(session.number("SELECT stage_flush()"), 300);
        assert_eq!(facts(&mut session), (1500, 1500), "{door}");
        check_staging(&mut session, door);
        session.exec("TRUNCATE entity_values_ts");
    }
}

#[test]
fn rows_of_the_own_transaction_follow_its_fate() {
    let (_database, mut session, id) = ready();
    for door in DOORS {
        stage(&mut session, door, id, 1, 100);
        session.exec("BEGIN");
        stage(&mut session, door, id, 101, 200);
        session.exec("SAVEPOINT s");
        stage(&mut session, door, id, 201, 300);
        assert_eq!(session.number("SELECT stage_flush()"), 300);
        session.exec("ROLLBACK TO s");
        assert_eq!(everywhere(&mut session), (200, 200));
        stage(&mut session, door, id, 301, 400);
        assert_eq!(session.number("SELECT stage_flush(150)"), 150);
        assert_eq!(session.number("SELECT stage_flush()"), 150);
        assert_eq!(session.number("SELECT stage_flush()"), 0);
        assert_eq!(facts(&mut session), (300, 300));
        session.exec("ROLLBACK");
        assert_eq!(facts(&mut session), (0, 0));
        assert_eq!(session.number("SELECT stage_flush()"), 100);
        session.exec("BEGIN");
        stage(&mut session, door, id, 101, 200);
        assert_eq!(session.number("SELECT stage_flush()"), 100);
        session.exec("COMMIT");
        assert_eq!(facts(&mut session), (200, 200), "{door}");
        check_staging(&mut session, door);
        session.exec("TRUNCATE entity_values_ts");
    }
}

#[test]
fn batches_of_one_call_follow_each_other() {
    let (database, mut session, id) = ready();
    database
        .cluster()
        .set_and_reload("pg_telemetry.flush_batch_rows", 1000);
    let mut session_with_it = database.connect();
    for door in DOORS {
        stage(&mut session, door, id, 1, 5500);
        assert_eq!(session_with_it.number("SELECT stage_flush()"), 5500);
        assert_eq!(facts(&mut session), (5500, 5500));
        session.exec("TRUNCATE entity_values_ts");
    }
}

#[test]
fn an_attribute_that_was_rolled_back_is_not_remembered() {
    let (_database, mut session, _) = ready();
    session.exec("BEGIN");
    let id = attribute(&mut session, "gone", "number");
    stage(&mut session, "entity_values_ingest", id, 1, 1);
    assert_eq!(session.number("SELECT stage_flush()"), 1);
    session.exec("ROLLBACK");
    stage(&mut session, "entity_values_ingest", id, 2, 2);
    assert_eq!(session.number("SELECT stage_flush()"), 0);
    let id = attribute(&mut session, "new", "number");
    stage(&mut session, "entity_values_ingest", id, 3, 3);
    assert_eq!(session.number("SELECT stage_flush()"), 1);
}

// --- staging stays small, and nobody is cheated

/// Pages of a table.
fn pages(session: &mut Session, table: &str) -> i64 {
    session.number(&format!("SELECT pg_relation_size('{table}') / 8192"))
}

#[test]
fn staging_does_not_grow() {
    const ROUNDS: i64 = 200;
    const ROWS: i64 = 2000;
    // Alone on its server: a transaction of others would keep dead rows in place.
    let cluster = Cluster::builder().set("autovacuum", "off").start();
    let database = cluster.create_database("alone");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    let mut after_ten = 0;
    for round in 0..ROUNDS {
        let first = round * ROWS + 1;
        stage(&mut session, "entity_values_ingest", id, first, first + ROWS - 1);
        assert_eq!(session.number("SELECT stage_flush()"), ROWS);
        if round == 9 {
            after_ten = pages(&mut session, "entity_values_ingest");
            summarize_facts(&mut session);
        }
    }
    let at_the_end = pages(&mut session, "entity_values_ingest");
    assert!(
        at_the_end <= after_ten + 10,
        "{after_ten} pages after 10 rounds, {at_the_end} after {ROUNDS}"
    );
    assert_eq!(facts(&mut session), (ROUNDS * ROWS, ROUNDS * ROWS));
    // What was cleared away is not counted as dead, or VACUUM would be asked to do it again.
    session.exec("SELECT pg_stat_force_next_flush()");
    let counted = session.rows(
        "SELECT n_tup_ins, n_tup_del, n_dead_tup <= 2 * 2000 FROM pg_stat_user_tables WHERE relname = 'entity_values_ingest'",
    );
    let rows = (ROUNDS * ROWS).to_string();
    assert_eq!(counted, [[rows.as_str(), rows.as_str(), "t"]]);
    check_staging(&mut session, "entity_values_ingest");
    check_facts(&mut session);
}

#[test]
fn a_reader_with_an_old_snapshot_misses_nothing() {
    let (database, mut session, id) = ready();
    for door in DOORS {
        stage(&mut session, door, id, 1, 3000);
        let mut reader = database.connect();
        reader.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
        reader.exec("SELECT 1 FROM attributes LIMIT 1");
        let mut cursor = database.connect();
        cursor.exec(&format!(
            "BEGIN; DECLARE c CURSOR FOR SELECT entity_id FROM {door}; MOVE 10 IN c"
        ));
        for round in 1..=5 {
            stage(&mut session, door, id, round * 10_000, round * 10_000 + 999);
            session.exec("SELECT stage_flush()");
        }
        assert_eq!(everywhere(&mut reader), (3000, 3000));
        assert_eq!(cursor.rows("FETCH ALL IN c").len(), 2990);
        reader.exec("COMMIT");
        cursor.exec("COMMIT");
        session.exec("SELECT stage_flush()");
        assert_eq!(everywhere(&mut session), (8000, 8000), "{door}");
        session.exec("TRUNCATE entity_values_ts");
    }
}

// --- what others see of it

#[test]
fn a_standby_and_a_reader_of_the_log_see_the_rows_leave() {
    let cluster = Cluster::builder()
        .set("wal_level", "logical")
        .set("autovacuum", "off")
        .start();
    let database = cluster.create_database("logged");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    let door = "entity_values_ingest_durable";
    session.exec("SELECT pg_create_logical_replication_slot('reader', 'test_decoding')");
    stage(&mut session, door, id, 1, 300);
    assert_eq!(session.number("SELECT stage_flush()"), 300);
    let changes = "SELECT count(*) FILTER (WHERE data LIKE '%ingest_durable: DELETE%'),
                          count(*) FILTER (WHERE data LIKE '%entity_values_ts_p%: INSERT%')
                   FROM pg_logical_slot_get_changes('reader', NULL, NULL)";
    assert_eq!(session.rows(changes), [["300", "300"]]);
    session.exec("SELECT pg_drop_replication_slot('reader')");
    drop(session);
    drop(database);

    let cluster = Cluster::builder().start();
    let database = cluster.create_database("streamed");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, door, id, 1, 5000);
    let standby = cluster.standby();
    stage(&mut session, door, id, 5001, 9000);
    session.exec("BEGIN; SELECT stage_flush(100); ROLLBACK");
    assert_eq!(session.number("SELECT stage_flush(8000)"), 8000);
    standby.catch_up_with(&cluster);
    let mut there = standby.connect(database.name());
    assert_eq!(there.number(&format!("SELECT count(*) FROM {door}")), 1000);
    assert_eq!(facts(&mut there), (8000, 8000));
    standby.promote();
    let mut there = standby.connect(database.name());
    assert_eq!(there.number("SELECT stage_flush()"), 1000);
    assert_eq!(facts(&mut there), (9000, 9000));
    check_facts(&mut there);
    check_staging(&mut there, door);
}

/// A batch holds some megabytes; values that are larger than that come one by one.
#[test]
fn values_larger_than_a_batch_are_moved_in_several() {
    let (_database, mut session, _) = ready();
    let label = attribute(&mut session, "label", "text");
    session.exec("ALTER TABLE entity_values_ingest ALTER value_text SET STORAGE EXTERNAL");
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_text)
         SELECT 1, n, {label}, repeat('x', 30 << 20) FROM generate_series(1, 6) AS n"
    ));
    assert_eq!(session.number("SELECT stage_flush()"), 6);
    assert_eq!(facts(&mut session), (6, 6));
    assert!(session.is_true("SELECT min(length(value_text)) = 30 << 20 FROM entity_values_ts"));
    let peak = peak_memory_kib(session.pid());
    assert!(peak < 500 << 10, "the session used {peak} KiB");
}

/// The most memory that a process had at once.
fn peak_memory_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the session is there");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a process has a peak");
    let number = line.split_whitespace().next().expect("a number");
    number.parse().expect("a number")
}

/// The next batch goes on where the last one stopped, and still comes round to what it left behind.
#[test]
fn small_batches_take_everything_wherever_they_begin() {
    let (_database, mut session, temperature) = ready();
    stage(&mut session, "entity_values_ingest", temperature, 1, 1000);
    assert_eq!(session.number("SELECT stage_flush(333)"), 333);
    stage(&mut session, "entity_values_ingest", temperature, 1001, 1500);
    for _ in 0..3 {
        assert_eq!(session.number("SELECT stage_flush(333)"), 333);
    }
    assert_eq!(session.number("SELECT stage_flush()"), 1500 - 4 * 333);
    assert_eq!(facts(&mut session), (1500, 1500));
}

/// Where another flush is at work there is nothing to take, and to follow it costs both. What is leaped over is not forgotten.
#[test]
fn a_flush_begins_elsewhere_where_another_is_at_work() {
    const ROWS: i64 = 60_000;
    for door in DOORS {
        let (database, mut session, temperature) = ready();
        stage(&mut session, door, temperature, 1, ROWS);
        let mut other = database.connect();
        other.exec("BEGIN; SELECT stage_flush(10000)");
        session.exec("SELECT stage_flush(10000)");
        let taken = "SELECT min(entity_id) > 25000, max(entity_id) < 50000, count(*) FROM entity_values_ts";
        assert_eq!(session.rows(taken), [["t", "t", "10000"]], "{door}");
        // Round to the end, over the middle, and from the beginning up to what the other one holds.
        assert_eq!(session.number("SELECT stage_flush()"), ROWS - 20_000);
        other.exec("ROLLBACK");
        assert_eq!(session.number("SELECT stage_flush()"), 10_000);
        assert_eq!(facts(&mut session), (ROWS, ROWS));
    }
}
