//! The table by which entities are found: written many rows at once and without the executor, it holds what the documents say, its
//! indexes hold together, and where a document is no longer where it was, it is found all the same.

use cluster_tests::integrity::check_search;
use cluster_tests::readings::build_attributes;
use cluster_tests::{Cluster, Database, Session, shared, wait_for_lock};

const TYPES: [(&str, &str); 5] = [
    ("charge", "number"),
    ("zone", "integer"),
    ("is_on", "boolean"),
    ("seen", "timestamp"),
    ("mode", "text"),
];

/// Attributes of tenant 1 that are searchable.
fn prepare(session: &mut Session) {
    register(session);
    session.exec(
        "UPDATE attributes SET is_searchable = true;
         UPDATE attribute_builds SET search_ready = true, finished_at = now()",
    );
}

fn register(session: &mut Session) {
    for (name, value_type) in TYPES {
        session.exec(&format!(
            "SELECT register_attribute(1, '{name}', '{value_type}', is_hot => true)"
        ));
    }
}

fn searchable() -> (Database, Session) {
    let database = shared::database();
    let mut session = database.install();
    prepare(&mut session);
    (database, session)
}

/// Numbers at all edges, texts from none to longer than an index takes.
const NUMBERS: &str = "('{0, -0, NaN, Infinity, -Infinity, 1e-320, -1.5, 0.1, 1e300}'::float8[])";
const TEXTS: &str =
    "(ARRAY['', 'a', repeat('ü', 99), repeat('b', 200), repeat('b', 201), repeat('long ', 3000)])";

/// Every entity of `entities` gets a value of each type that depends on the round.
fn stage(session: &mut Session, entities: &str, round: i64) {
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num, value_int, value_text)
         SELECT 1, e, a.attribute_id,
                CASE a.name WHEN 'charge' THEN CASE WHEN e % 3 = 0 THEN {NUMBERS}[(abs(e) + {round}) % 9 + 1] ELSE e * {round} - 500 END END,
                CASE a.name WHEN 'zone' THEN (e + {round}) % 100 - 50 WHEN 'is_on' THEN (abs(e) + {round}) % 2
                            WHEN 'seen' THEN (e + {round}) * 1000000::bigint END,
                CASE a.name WHEN 'mode' THEN {TEXTS}[(abs(e) + {round}) % 6 + 1] END
         FROM {entities} e, attributes a"
    ));
}

/// What the table must say, by the documents.
const EXPECTED: &str = "
    SELECT d.tenant_id, a.attribute_id, d.entity_id,
           CASE a.value_type WHEN 'number' THEN (d.hot_attrs ->> a.name)::float8 END AS value_num,
           CASE a.value_type WHEN 'integer' THEN (d.hot_attrs ->> a.name)::bigint
                             WHEN 'boolean' THEN (d.hot_attrs ->> a.name)::boolean::int::bigint
                             WHEN 'timestamp' THEN (extract(epoch FROM (d.hot_attrs ->> a.name)::timestamptz) * 1000000)::bigint
                END AS value_int,
           CASE a.value_type WHEN 'text' THEN convert_from(substr(convert_to(d.hot_attrs ->> a.name, 'UTF8'), 1,
               CASE WHEN d.hot_attrs ->> a.name LIKE 'ü%' THEN 198 ELSE 200 END), 'UTF8') END AS value_text
    FROM entity_jsonb d, attributes a WHERE a.is_searchable AND d.hot_attrs ? a.name";

#[track_caller]
fn check(session: &mut Session) {
    let differs = session.rows(&format!(
        "SELECT left(x::text, 100), left(s::text, 100)
         FROM ({EXPECTED}) x FULL JOIN entity_search s USING (tenant_id, attribute_id, entity_id)
         WHERE (x.value_num, x.value_int, x.value_text) IS DISTINCT FROM (s.value_num, s.value_int, s.value_text) LIMIT 5"
    ));
    assert_eq!(differs, Vec::<Vec<String>>::new());
    check_search(session);
}

/// Values whose document is where the table says that it is, of documents that were written once.
fn well_placed(session: &mut Session) -> i64 {
    session.number(
        "SELECT count(*) FROM entity_jsonb d JOIN entity_search s USING (tenant_id, entity_id)
         WHERE d.ctid = format('(%s,%s)', s.document_place >> 16, s.document_place & 65535)::tid",
    )
}

/// How often a search that finds many entities asks the primary key of a document.
fn searches_by_key(database: &Database) -> i64 {
    // In a new session nothing was counted before.
    let mut session = database.connect();
    session.exec("BEGIN");
    let found = session
        .number(r#"SELECT count(*) FROM find_entities_by_attributes(1, '{"is_on": true}', NULL, 1000000)"#);
    assert!(found > 1000, "{found}");
    let searches = session.number(
        "SELECT sum(idx_scan)::bigint FROM pg_stat_xact_user_tables
         WHERE relid IN (SELECT relid FROM pg_partition_tree('entity_jsonb'))",
    );
    session.exec("COMMIT");
    searches
}

/// Flushes, and returns how many rows of the table the executor has updated meanwhile.
fn updates_of_a_flush(database: &Database) -> i64 {
    let mut session = database.connect();
    session.exec("BEGIN; SELECT stage_flush(1000000)");
    let updates = session
        .number("SELECT n_tup_upd FROM pg_stat_xact_user_tables WHERE relid = 'entity_search'::regclass");
    session.exec("COMMIT");
    updates
}

const FILTERS: [(&str, &str); 6] = [
    (r#"{"charge": 0}"#, "(hot_attrs ->> 'charge')::float8 = 0"),
    (
        r#"{"charge": {"gte": -500, "lt": 0.2}}"#,
        "(hot_attrs ->> 'charge')::float8 >= -500 AND (hot_attrs ->> 'charge')::float8 < 0.2",
    ),
    (r#"{"zone": -7}"#, "(hot_attrs ->> 'zone')::bigint = -7"),
    (
        r#"{"zone": {"between": [-20, 20]}, "is_on": true}"#,
        "(hot_attrs ->> 'zone')::bigint BETWEEN -20 AND 20 AND (hot_attrs ->> 'is_on')::boolean",
    ),
    (r#"{"mode": "a"}"#, "hot_attrs ->> 'mode' = 'a'"),
    (
        r#"{"mode": {"gte": "b", "lt": "c"}, "charge": {"gt": 0}}"#,
        r#"hot_attrs ->> 'mode' COLLATE "C" >= 'b' AND hot_attrs ->> 'mode' COLLATE "C" < 'c'
           AND (hot_attrs ->> 'charge')::float8 > 0"#,
    ),
];

#[track_caller]
fn finds_what_the_documents_say(session: &mut Session) {
    for (filters, condition) in FILTERS {
        let found = session.column(&format!(
            "SELECT entity_id FROM find_entities_by_attributes(1, '{filters}', NULL, 1000000)"
        ));
        let expected = session.column(&format!(
            "SELECT entity_id FROM entity_jsonb WHERE tenant_id = 1 AND deleted_at IS NULL AND {condition} ORDER BY entity_id"
        ));
        assert_eq!(found, expected, "{filters}");
    }
}

#[test]
fn values_of_every_kind_are_what_the_documents_say() {
    let (database, mut session) = searchable();
    for (round, entities) in [
        (1, "generate_series(1, 3000)"),
        (2, "generate_series(1, 3000)"),
        (2, "generate_series(1, 3000)"),
        // Fewer than it pays to do at once, and entities that were never there.
        (3, "generate_series(1, 3000, 500)"),
        (4, "generate_series(2900, 3100)"),
        (5, "generate_series(-20, -1)"),
        (6, "generate_series(1, 3000, 7)"),
    ] {
        stage(&mut session, entities, round);
        session.exec("SELECT stage_flush(1000000)");
        check(&mut session);
        finds_what_the_documents_say(&mut session);
        if round == 1 {
            assert_eq!(well_placed(&mut session), 3000 * TYPES.len() as i64);
            assert_eq!(searches_by_key(&database), 0);
        }
        session.exec("VACUUM entity_search");
    }
    // No document is where it was.
    session.exec("VACUUM FULL entity_jsonb");
    assert!(searches_by_key(&database) > 0);
    finds_what_the_documents_say(&mut session);
}

/// What was written earlier in the transaction is written anew, and what was undone is as it was.
#[test]
fn a_transaction_that_writes_a_value_more_than_once() {
    let (_, mut session) = searchable();
    let upsert = |zone: i64, mode: &str| {
        format!(
            "SELECT upsert_hot_attrs(1, 7, '{{\"zone\": {zone}, \"mode\": \"{mode}\", \"charge\": {zone}.5}}')"
        )
    };
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        session.exec(&format!("BEGIN ISOLATION LEVEL {isolation}"));
        session.exec(&upsert(1, "one"));
        session.exec(&upsert(2, "two"));
        session.exec("SAVEPOINT s");
        session.exec(&upsert(3, "three"));
        session.exec("ROLLBACK TO s");
        finds_what_the_documents_say(&mut session);
        assert_eq!(
            session.column(
                "SELECT entity_id FROM find_entities_by_attributes(1, '{\"mode\": \"two\", \"zone\": 2}')"
            ),
            ["7"],
            "{isolation}"
        );
        session.exec(&upsert(4, "four"));
        session.exec("COMMIT");
        check(&mut session);
        assert_eq!(
            session.column("SELECT value_int FROM entity_search WHERE value_int IS NOT NULL"),
            ["4"]
        );
    }
    session.exec("BEGIN");
    session.exec(&upsert(9, "nine"));
    session.exec("ROLLBACK");
    check(&mut session);
    finds_what_the_documents_say(&mut session);
}

/// A trigger or an index of somebody's has the executor write; the table says the same.
#[test]
fn what_only_the_executor_may_write_says_the_same() {
    let (database, mut session) = searchable();
    session.exec("CREATE INDEX own ON entity_search (entity_id)");
    for round in 1..4 {
        stage(&mut session, "generate_series(1, 400)", round);
        let by_executor = updates_of_a_flush(&database);
        assert_eq!(by_executor > 0, round == 2, "{by_executor} in round {round}");
        let differs = session.number(&format!(
            "SELECT count(*) FROM ({EXPECTED}) x FULL JOIN entity_search s USING (tenant_id, attribute_id, entity_id)
             WHERE (x.value_num, x.value_int, x.value_text) IS DISTINCT FROM (s.value_num, s.value_int, s.value_text)"
        ));
        assert_eq!(differs, 0);
        finds_what_the_documents_say(&mut session);
        if round == 2 {
            session.exec("DROP INDEX own");
        }
    }
    check(&mut session);
}

/// Who writes the table by hand is waited for, also where what is to be written is what his transaction would take away: two texts that
/// begin alike.
#[test]
fn a_row_that_somebody_deletes_by_hand_is_there_afterwards() {
    let (database, mut session) = searchable();
    let mut other = database.connect();
    let upsert = |end: &str| {
        let text = "q".repeat(300);
        format!("SELECT upsert_hot_attrs(1, 7, '{{\"mode\": \"{text}{end}\"}}')")
    };
    session.exec(&upsert("a"));
    other.exec("BEGIN; DELETE FROM entity_search");
    let waits = database.background_sql(upsert("b"));
    wait_for_lock(&mut session, waits.pid());
    other.exec("COMMIT");
    waits.join().expect("it was its turn");
    assert_eq!(session.number("SELECT count(*) FROM entity_search"), 1);
    check_search(&mut session);
}

/// Attributes that become searchable later are filled from documents, with their places.
#[test]
fn values_that_are_filled_in_later_know_where_their_documents_are() {
    let database = shared::database();
    let mut session = database.install();
    register(&mut session);
    stage(&mut session, "generate_series(1, 2000)", 1);
    session.exec("SELECT stage_flush(1000000)");
    session.exec("VACUUM FULL entity_jsonb");
    session.exec("SELECT promote_attribute(1, name, searchable => true) FROM attributes");
    build_attributes(&mut session, 500);
    check(&mut session);
    assert_eq!(well_placed(&mut session), 2000 * TYPES.len() as i64);
    finds_what_the_documents_say(&mut session);
}

/// After a crash in the middle the table says what the documents say, and its standby has the same pages.
#[test]
fn a_crash_between_two_pages_leaves_nothing_behind() {
    let cluster = Cluster::builder()
        .durable()
        .set("autovacuum", "off")
        .set("wal_keep_size", "2GB")
        .set("wal_retrieve_retry_interval", "100ms")
        .start();
    let database = cluster.create_database("values");
    let mut session = database.install();
    prepare(&mut session);
    let standby = cluster.standby();
    for round in 1..4 {
        stage(&mut session, "generate_series(1, 5000)", round);
        session.exec("SELECT stage_flush(1000000)");
        session.exec("BEGIN");
        stage(&mut session, "generate_series(2000, 4000)", round + 10);
        session.exec("SELECT stage_flush(1000000)");
        cluster.crash();
        cluster.start();
        session = database.connect();
        check(&mut session);
    }
    finds_what_the_documents_say(&mut session);
    standby.catch_up_with(&cluster);
    let mut reader = standby.connect("values");
    reader.exec("SET search_path = telemetry, public");
    finds_what_the_documents_say(&mut reader);
    check_tables_alike(&mut session, &mut reader);
}

#[track_caller]
fn check_tables_alike(session: &mut Session, reader: &mut Session) {
    let content = "SELECT count(*), sum(hashtextextended(s::text, 0)::numeric) FROM entity_search s";
    assert_eq!(session.rows(content), reader.rows(content));
}
