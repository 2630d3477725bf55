//! Leaving: the tables go on without the extension, and come back to it.

use cluster_tests::readings::{attribute, facts, ready, stage};
use cluster_tests::{Cluster, Database, SOON, Session, eventually, workers};

/// Readings, additions of a user, an index half way.
fn filled() -> (Database, Session, i64) {
    let mut ready = ready();
    let session = &mut ready.session;
    session.exec("SET timezone = UTC");
    stage(session, "entity_values_ingest", ready.temperature, 1, 100);
    session.exec("SELECT stage_flush(); CREATE INDEX of_users ON entity_values_ts (entity_id)");
    session
        .exec("CREATE POLICY few ON entity_values_ts FOR SELECT TO telemetry_reader USING (entity_id <= 3)");
    (ready.database, ready.session, ready.temperature)
}

fn tables(session: &mut Session) -> Vec<String> {
    session.column(
        "SELECT c.relname || ' ' || pg_get_userbyid(c.relowner) FROM pg_class c
         WHERE c.relnamespace = 'telemetry'::regnamespace AND c.relkind IN ('r', 'p', 'I', 'i', 'S') ORDER BY 1",
    )
}

#[test]
fn they_stay_as_they_are_and_setup_takes_them_back() {
    let (_database, mut session, id) = filled();
    let session = &mut session;
    let before = tables(session);
    let rows = session.rows("SELECT * FROM release_tables()");
    let outcomes = |part: &str| rows.iter().filter(|row| row[1].contains(part)).count();
    assert_eq!(outcomes("trigger"), 5, "{rows:?}");
    assert!(outcomes("stays with telemetry_owner") > 20, "{rows:?}");
    assert_eq!(tables(session), before);
    assert_eq!(
        session.number("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text NOT LIKE 'public.%'"),
        0
    );
    session.rows("SELECT * FROM release_tables()");
    session.exec("DROP EXTENSION pg_telemetry");
    assert_eq!(tables(session), before);

    // By hand: from staging into facts, a partition, an index, a vacuum; and what the guards refused.
    session.exec(&format!(
        "INSERT INTO telemetry.entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)
             SELECT 1, n, {id}, n FROM generate_series(101, 200) n;
         WITH moved AS (DELETE FROM telemetry.entity_values_ingest RETURNING *)
             INSERT INTO telemetry.entity_values_ts SELECT * FROM moved;
         CREATE TABLE telemetry.by_hand PARTITION OF telemetry.entity_values_ts FOR VALUES FROM ('2030-01-01') TO ('2030-02-01');
         CREATE INDEX by_hand_too ON telemetry.entity_values_ts (value_num);
         DROP TABLE telemetry.by_hand"
    ));
    session.exec("VACUUM telemetry.entity_values_ts");
    assert_eq!(
        session.number("SELECT count(*) FROM telemetry.entity_values_ts"),
        200
    );

    session.exec("CREATE EXTENSION pg_telemetry SCHEMA telemetry");
    session.exec("SET search_path = telemetry, public");
    stage(session, "entity_values_ingest", id, 201, 210);
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    assert_eq!(facts(session), (210, 210));
    session.fails_with("55000", "DELETE FROM entity_values_ingest");
    session.fails_with("55000", "UPDATE attributes SET name = 'other'");
}

#[test]
fn another_owner_and_back() {
    let (database, mut session, id) = filled();
    let session = &mut session;
    let owner = database.create_login(None);
    // A partition that was detached and kept is one of them.
    let old = session.text("SELECT min(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'entity_values_ts'::regclass");
    session.exec(&format!("ALTER TABLE entity_values_ts DETACH PARTITION {old}"));
    session.exec(&format!("GRANT USAGE, CREATE ON SCHEMA telemetry TO {owner}"));
    session.rows(&format!("SELECT * FROM release_tables('{owner}')"));
    let owners = "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class
                  WHERE relnamespace = 'telemetry'::regnamespace AND relkind IN ('r', 'p', 'I', 'i', 'S')";
    assert_eq!(session.column(owners), [owner.as_str()]);
    let mut as_owner = database.connect_as(&owner);
    as_owner.exec("CREATE TABLE telemetry.mine PARTITION OF telemetry.entity_values_ts FOR VALUES FROM ('2030-01-01') TO ('2030-02-01')");
    as_owner.exec(&format!(
        "INSERT INTO telemetry.entity_values_ts (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         VALUES (1, 7777, '2030-01-05', {id}, 1)"
    ));
    let failure = session.fails_with("42P07", "SELECT setup()");
    assert!(
        failure.message.contains(&format!("belongs to {owner}")),
        "{failure}"
    );
    session.rows("SELECT * FROM release_tables('telemetry_owner')");
    session.rows("SELECT * FROM setup()");
    assert_eq!(session.column(owners), ["telemetry_owner"]);
    stage(session, "entity_values_ingest", id, 301, 310);
    assert_eq!(session.number("SELECT stage_flush()"), 10);
}

#[test]
fn it_is_refused_where_something_would_be_lost_or_nobody_may() {
    let (database, mut session, id) = filled();
    let session = &mut session;
    let before =
        session.rows("SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1");
    for door in ["entity_values_ingest", "entity_values_ingest_durable"] {
        stage(session, door, id, 501, 510);
        let failure = session.fails_with("55000", "SELECT release_tables()");
        assert!(failure.hint.contains("drain()"), "{failure}");
        session.exec("SELECT stage_flush()");
    }
    session.fails_with("42704", "SELECT release_tables('no such role')");
    session.fails_with(
        "25000",
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT release_tables()",
    );
    session.exec("ROLLBACK");
    session.fails_with("25006", "BEGIN READ ONLY; SELECT release_tables()");
    session.exec("ROLLBACK");
    let admin = database.create_login(Some("telemetry_admin"));
    let mut as_admin = database.connect_as(&admin);
    as_admin.fails_with("42501", "SELECT telemetry.release_tables()");
    // A member of the owner may, but not give them to somebody it does not belong to.
    let member = database.create_login(Some("telemetry_owner"));
    let mut as_member = database.connect_as(&member);
    as_member.fails_with("42501", "SELECT telemetry.release_tables('postgres')");
    session.exec("BEGIN");
    session.rows("SELECT * FROM release_tables()");
    session.exec("ROLLBACK");
    let after = "SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1";
    assert_eq!(session.rows(after), before, "all of it or nothing");
    // Told so, it leaves the rows where they are.
    stage(session, "entity_values_ingest", id, 601, 610);
    let rows = as_member.rows("SELECT * FROM telemetry.release_tables(even_if_staged => true)");
    assert!(rows.iter().any(|row| row[1].contains("not flushed")), "{rows:?}");
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ingest"), 10);
}

#[test]
fn what_is_left_to_do_is_said() {
    let (database, mut session, _id) = filled();
    let session = &mut session;
    session.exec("SELECT add_fact_index('{value_num}', index_name => 'half')");
    session.exec(&format!(
        "ALTER DATABASE {} SET pg_telemetry.auto_register = on;
         CREATE VIEW public.mine AS SELECT * FROM flush_stats;
         ALTER TABLE ONLY entity_values_ts ENABLE ROW LEVEL SECURITY, ALTER COLUMN entity_id SET STATISTICS 777,
             ALTER COLUMN tenant_id SET (n_distinct = -0.5), ALTER COLUMN value_text SET STORAGE EXTERNAL, REPLICA IDENTITY FULL;
         ALTER ROLE {} SET pg_telemetry.auto_register = on",
        database.quoted_name(),
        database.create_login(None)
    ));
    // One that is made now lacks nothing.
    let newest = session.text(
        "SELECT max(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'entity_values_ts'::regclass",
    );
    let oldest = session.text(
        "SELECT min(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'entity_values_ts'::regclass",
    );
    session.exec(&format!(
        "GRANT SELECT ON {oldest} TO PUBLIC; DROP TABLE {newest}; SELECT rotate_partitions()"
    ));
    let rows = session.rows("SELECT * FROM release_tables()");
    let said = |part: &str| rows.iter().filter(|row| row.join(" ").contains(part)).count();
    assert!(said("CREATE INDEX CONCURRENTLY") > 3, "{rows:?}");
    assert_eq!(said("RESET pg_telemetry.auto_register"), 2, "{rows:?}");
    assert!(said("view mine") + said("view public.mine") > 0, "{rows:?}");
    for lack in [
        "row level security: ALTER TABLE",
        "statistics target 777 of column entity_id: ALTER TABLE",
        "n_distinct=-0.5 of column tenant_id: ALTER TABLE",
        "storage of column value_text: ALTER TABLE",
        "replica identity: ALTER TABLE",
        "SELECT of PUBLIC, which the parent does not grant: REVOKE SELECT",
    ] {
        assert!(said(&format!("lacks {lack}")) > 0, "{lack}: {rows:?}");
    }
    let of_newest = format!("telemetry.{newest}");
    assert!(
        !rows
            .iter()
            .any(|row| row[0] == of_newest && row[1].starts_with("lacks")),
        "{rows:?}"
    );
    for row in rows.iter().filter(|row| row[1].starts_with("lacks")) {
        session.exec(row[1].split_once(": ").expect("a statement").1);
    }
    let rows = session.rows("SELECT * FROM release_tables()");
    assert!(!rows.iter().any(|row| row[1].starts_with("lacks")), "{rows:?}");
    session.fails_with("2BP01", "DROP EXTENSION pg_telemetry");
}

#[test]
fn workers_stand_still_until_setup() {
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("released");
    let mut session = database.install();
    workers::wait_for_start(&cluster, "released");
    let id = attribute(&mut session, "temperature", "number");
    eventually(SOON, "the tables are released", || {
        session.try_rows("SELECT * FROM release_tables()").map(drop)
    });
    eventually(SOON, "the workers wait", || {
        let waiting = session.column("SELECT coalesce(detail, '') FROM worker_status WHERE task = 'flush'");
        match waiting.iter().any(|text| text.contains("were released")) {
            true => Ok(()),
            false => Err(waiting),
        }
    });
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(facts(&mut session), (0, 0));
    session.rows("SELECT * FROM setup()");
    cluster_tests::readings::wait_for_facts(&mut session, 10);
    let log = workers::complaints(&cluster.log());
    assert!(log.is_empty(), "{log:#?}");
}
