//! What users add to facts reaches every partition that is made afterwards.

use cluster_tests::readings::{facts, ready, stage};
use cluster_tests::{Cluster, Session};

/// Drops the partitions ahead and has them made anew; the name of one of them.
fn made_anew(session: &mut Session) -> String {
    let ahead = "SELECT c.oid::regclass FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = 'entity_values_ts'::regclass
                   AND c.relname > to_char(now() AT TIME ZONE 'UTC', '\"entity_values_ts_p\"YYYYMMDD') ORDER BY 1";
    for name in session.column(ahead) {
        session.exec(&format!("DROP TABLE {name}"));
    }
    assert_eq!(
        session.column("SELECT DISTINCT outcome FROM rotate_partitions()"),
        ["done"]
    );
    session.column(ahead).swap_remove(2)
}

#[test]
fn indexes_statistics_and_replica_identity_of_the_parent() {
    let mut ready = ready();
    let session = &mut ready.session;
    session.exec(
        "CREATE INDEX of_users ON entity_values_ts (entity_id) WHERE value_num > 0;
         ALTER TABLE entity_values_ts ALTER COLUMN entity_id SET STATISTICS 777;
         ALTER TABLE entity_values_ts ALTER COLUMN tenant_id SET (n_distinct = -0.25);
         CREATE STATISTICS of_both (ndistinct, dependencies) ON tenant_id, attribute_id FROM entity_values_ts;
         ALTER TABLE ONLY entity_values_ts REPLICA IDENTITY FULL;
         ALTER TABLE entity_values_ts ADD CONSTRAINT sane CHECK (value_num < 1e300)",
    );
    let child = made_anew(session);
    let of = |session: &mut Session, query: &str| {
        session.column(&query.replace("$CHILD", &format!("'{child}'::regclass")))
    };
    let indexes = "SELECT count(*) FROM pg_index WHERE indrelid = $CHILD AND indpred IS NOT NULL";
    assert_eq!(of(session, indexes), ["1"]);
    let columns = "SELECT attname || ' ' || coalesce(nullif(attstattarget, -1)::text, '')
                          || coalesce((SELECT o FROM unnest(attoptions) o WHERE o LIKE 'n_distinct%'), '')
                   FROM pg_attribute WHERE attrelid = $CHILD AND attname IN ('entity_id', 'tenant_id') ORDER BY 1";
    assert_eq!(
        of(session, columns),
        ["entity_id 777", "tenant_id n_distinct=-0.25"]
    );
    let statistics = "SELECT stxkind::text FROM pg_statistic_ext WHERE stxrelid = $CHILD";
    assert_eq!(of(session, statistics), ["{d,f}"]);
    assert_eq!(
        of(session, "SELECT relreplident FROM pg_class WHERE oid = $CHILD"),
        ["f"]
    );
    let checks = "SELECT conname FROM pg_constraint WHERE conrelid = $CHILD AND contype = 'c'";
    assert_eq!(of(session, checks), ["sane"]);
    stage(session, "entity_values_ingest", ready.temperature, 1, 10);
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    assert_eq!(facts(session), (10, 10));
}

#[test]
fn storage_parameters_of_the_partition_before() {
    let mut session = ready().session;
    let options =
        "SELECT c.reloptions, t.reloptions FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
                   WHERE c.oid = ";
    let first = made_anew(&mut session);
    assert_eq!(
        session.rows(&format!("{options} '{first}'::regclass"))[0][0],
        "{autovacuum_vacuum_insert_threshold=1000000,autovacuum_vacuum_insert_scale_factor=0}"
    );
    for name in session
        .column("SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'entity_values_ts'::regclass")
    {
        session.exec(&format!(
            "ALTER TABLE {name} RESET (autovacuum_vacuum_insert_threshold, autovacuum_vacuum_insert_scale_factor);
             ALTER TABLE {name} SET (fillfactor = 90, autovacuum_enabled = off, toast.autovacuum_enabled = off)"
        ));
    }
    let child = made_anew(&mut session);
    assert_eq!(
        session.rows(&format!("{options} '{child}'::regclass")),
        [[
            "{fillfactor=90,autovacuum_enabled=off}",
            "{autovacuum_enabled=off}"
        ]]
    );
}

#[test]
fn what_the_newest_partition_has_not_its_followers_have_not() {
    let mut session = ready().session;
    for name in session
        .column("SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'entity_values_ts'::regclass")
    {
        session.exec(&format!(
            "ALTER TABLE {name} RESET (autovacuum_vacuum_insert_threshold, autovacuum_vacuum_insert_scale_factor)"
        ));
    }
    let child = made_anew(&mut session);
    let options = format!("SELECT reloptions IS NULL FROM pg_class WHERE oid = '{child}'::regclass");
    assert!(session.is_true(&options));
    session.exec("SELECT setup()");
    assert!(session.is_true(&options), "setup() leaves it so");
}

#[test]
fn whoever_makes_it_its_access_method_is_heap() {
    let mut ready = ready();
    let session = &mut ready.session;
    session.exec(
        "CREATE ACCESS METHOD of_another_kind TYPE TABLE HANDLER heap_tableam_handler;
         SET default_table_access_method = of_another_kind",
    );
    let child = made_anew(session);
    let method = "SELECT amname FROM pg_class c JOIN pg_am m ON m.oid = c.relam WHERE c.oid = ";
    assert_eq!(session.text(&format!("{method}'{child}'::regclass")), "heap");
}

#[test]
fn rights_that_come_by_default_do_not_get_around_the_parent() {
    let mut ready = ready();
    let session = &mut ready.session;
    let other = ready.database.create_login(None);
    stage(session, "entity_values_ingest", ready.temperature, 1, 10);
    session.exec("SELECT stage_flush()");
    session.exec(&format!(
        "GRANT USAGE ON SCHEMA telemetry TO {other}; GRANT SELECT ON entity_values_ts TO {other};
         ALTER DEFAULT PRIVILEGES FOR ROLE telemetry_owner GRANT SELECT, INSERT ON TABLES TO PUBLIC, telemetry_reader, {other}"
    ));
    let child = made_anew(session);
    let rights = format!(
        "SELECT coalesce(string_agg(DISTINCT a.grantee::regrole || ' ' || a.privilege_type, ', '), '')
         FROM pg_class c, LATERAL aclexplode(c.relacl) a WHERE c.oid = '{child}'::regclass AND a.grantee <> c.relowner"
    );
    assert_eq!(
        session.text(&rights),
        format!("{other} SELECT, telemetry_reader SELECT")
    );
    // With policies on the parent, what is granted shows nothing by itself.
    session.exec(&format!(
        "ALTER TABLE entity_values_ts ENABLE ROW LEVEL SECURITY;
         CREATE POLICY few ON entity_values_ts FOR SELECT TO {other} USING (entity_id <= 3)"
    ));
    let child = made_anew(session);
    session.exec(
        "INSERT INTO entity_values_ts SELECT tenant_id, n, now() + interval '3 days', NULL, 1, NULL, attribute_id, NULL
         FROM entity_values_ts, generate_series(1, 10) n WHERE entity_id = 1"
    );
    assert!(session.number(&format!("SELECT count(*) FROM {child}")) >= 0);
    let mut reader = ready.database.connect_as(&other);
    assert_eq!(reader.number("SELECT count(*) FROM entity_values_ts"), 6);
    assert_eq!(reader.number(&format!("SELECT count(*) FROM {child}")), 0);
}

#[test]
fn the_tablespace_of_the_parent_where_the_owner_may_create() {
    let cluster = Cluster::builder().start();
    let database = cluster.create_database("spaces");
    let mut session = database.install();
    let mut by_place = |name: &str, granted: bool| {
        // In place: a folder of the server's own.
        session.exec("SET allow_in_place_tablespaces = on");
        session.exec(&format!("CREATE TABLESPACE \"{name}\" LOCATION ''"));
        if granted {
            session.exec(&format!(
                "GRANT CREATE ON TABLESPACE \"{name}\" TO telemetry_owner"
            ));
        }
        session.exec(&format!("ALTER TABLE entity_values_ts SET TABLESPACE \"{name}\""));
        let child = made_anew(&mut session);
        session.text(&format!(
            "SELECT coalesce((SELECT spcname FROM pg_tablespace WHERE oid = reltablespace), 'of the database')
             FROM pg_class WHERE oid = '{child}'::regclass"
        ))
    };
    assert_eq!(by_place("Fast disk", true), "Fast disk");
    assert_eq!(by_place("forbidden", false), "of the database");
    // Whoever calls has no say in it.
    session
        .exec("ALTER TABLE entity_values_ts SET TABLESPACE pg_default; SET default_tablespace = 'Fast disk'");
    let child = made_anew(&mut session);
    assert_eq!(
        session.text(&format!(
            "SELECT reltablespace FROM pg_class WHERE oid = '{child}'::regclass"
        )),
        "0"
    );
}

#[test]
fn grants_and_policies_of_the_parent_count_through_it() {
    let mut ready = ready();
    let session = &mut ready.session;
    stage(session, "entity_values_ingest", ready.temperature, 1, 10);
    session.exec("SELECT stage_flush()");
    session.exec(
        "ALTER TABLE entity_values_ts ENABLE ROW LEVEL SECURITY;
         CREATE POLICY few ON entity_values_ts FOR SELECT TO telemetry_reader USING (entity_id <= 3)",
    );
    let child = made_anew(session);
    let mut reader = ready
        .database
        .connect_as(&ready.database.create_login(Some("telemetry_reader")));
    assert_eq!(reader.number("SELECT count(*) FROM entity_values_ts"), 3);
    reader.fails_with("42501", &format!("SELECT FROM {child}"));
}
