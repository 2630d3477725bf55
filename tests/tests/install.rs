//! CREATE EXTENSION, from the first statement to the first fact.

use cluster_tests::readings::{attribute, facts, stage};
use cluster_tests::{Cluster, Database, Session, catalog, shared};

/// What a user does first, by unqualified names.
fn copy_and_flush(session: &mut Session) {
    let id = attribute(session, "temperature", "number");
    let columns = "entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)";
    assert_eq!(
        session.copy(columns, &format!("1\t7\t{id}\t21.5\n1\t8\t{id}\t22\n")),
        2
    );
    assert_eq!(session.number("SELECT stage_flush()"), 2);
    assert_eq!(facts(session), (2, 2));
}

#[test]
fn the_default_is_the_current_schema_and_works_at_once() {
    let database = shared::database();
    let mut session = database.connect();
    session.exec("CREATE EXTENSION pg_telemetry");
    copy_and_flush(&mut session);
    assert_eq!(
        session.text("SELECT 'entity_values_ts'::regclass::text"),
        "entity_values_ts"
    );
}

#[test]
fn everything_works_with_preload_too() {
    // Without workers, or they would take the rows before stage_flush() does.
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.background_workers", "off")
        .start();
    let database = cluster.create_database("preloaded");
    copy_and_flush(&mut database.install());
}

#[test]
fn any_schema_name_will_do() {
    // Quotes, $, \ and comments are what PostgreSQL itself does not let into the schema of an extension.
    let longest = "s".repeat(63);
    for schema in [
        "telemetry",
        "Mixed Case",
        "größe",
        "select",
        "a.b; - %s",
        "日本語 @x@",
        &longest,
    ] {
        let database = shared::database();
        let mut session = database.connect();
        let quoted = format!("\"{schema}\"");
        session.exec(&format!(
            "CREATE SCHEMA {quoted}; CREATE EXTENSION pg_telemetry SCHEMA {quoted}"
        ));
        session.exec(&format!("SET search_path = {quoted}"));
        copy_and_flush(&mut session);
        assert!(session.number("SELECT count(*) FROM worker_status") > 0);
        let outside = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
        assert_eq!(
            session.number(outside),
            0,
            "something of schema {schema} went to public"
        );
    }
}

#[test]
fn a_renamed_schema_keeps_working() {
    let database = shared::database();
    let mut session = database.install();
    session.exec("ALTER SCHEMA telemetry RENAME TO \"New Name\"; SET search_path = \"New Name\"");
    copy_and_flush(&mut session);
}

#[test]
fn objects_in_the_way_are_all_named() {
    let database = shared::database();
    let mut session = database.connect();
    session.exec("CREATE SCHEMA telemetry; SET search_path = telemetry");
    session.exec("CREATE TABLE attributes (mine int); CREATE VIEW worker_status AS SELECT 1 AS mine");
    session.exec("CREATE FUNCTION stage_flush() RETURNS int LANGUAGE sql RETURN 1");
    let refused = session.fails_with("42710", "CREATE EXTENSION pg_telemetry SCHEMA telemetry");
    for name in ["attributes", "worker_status", "stage_flush()"] {
        assert!(refused.detail.contains(name), "{name} is missing in: {refused}");
    }
    assert!(!refused.hint.is_empty());
    assert_eq!(session.column("SELECT mine FROM worker_status"), ["1"]);
}

#[test]
fn a_schema_that_everybody_can_write_is_refused() {
    let database = shared::database();
    let mut session = database.connect();
    session.exec("CREATE SCHEMA open; GRANT CREATE ON SCHEMA open TO PUBLIC");
    let refused = session.fails_with("42501", "CREATE EXTENSION pg_telemetry SCHEMA open");
    assert!(
        refused.hint.contains("REVOKE CREATE ON SCHEMA open FROM PUBLIC"),
        "{refused}"
    );
    session.exec("REVOKE CREATE ON SCHEMA open FROM PUBLIC");
    session.exec("CREATE EXTENSION pg_telemetry SCHEMA open");
}

#[test]
fn the_schema_cannot_be_changed_later() {
    let database = shared::database();
    let mut session = database.install();
    session.fails_with("0A000", "ALTER EXTENSION pg_telemetry SET SCHEMA public");
}

#[test]
fn every_object_has_a_comment() {
    let database = shared::database();
    let mut session = database.install();
    let silent = session.column(
        "SELECT c.oid::regclass || coalesce('.' || a.attname, '')
         FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         WHERE c.relnamespace = 'telemetry'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
           AND (obj_description(c.oid, 'pg_class') IS NULL OR col_description(c.oid, a.attnum) IS NULL)
         UNION ALL
         SELECT f.oid::regprocedure::text FROM pg_proc f
         WHERE f.pronamespace = 'telemetry'::regnamespace AND obj_description(f.oid, 'pg_proc') IS NULL
         UNION ALL
         SELECT x.indexrelid::regclass::text FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
         WHERE c.relnamespace = 'telemetry'::regnamespace AND NOT c.relispartition AND NOT x.indisprimary
           AND NOT x.indisunique AND obj_description(c.oid, 'pg_class') IS NULL
         UNION ALL
         SELECT r.rolname FROM pg_roles r
         WHERE r.rolname LIKE 'telemetry\\_%' AND shobj_description(r.oid, 'pg_authid') IS NULL",
    );
    assert!(silent.is_empty(), "no comment on {silent:#?}");
    assert_ne!(
        session.text(
            "SELECT obj_description(oid, 'pg_extension') FROM pg_extension
                             WHERE extname = 'pg_telemetry'"
        ),
        ""
    );
}

#[test]
fn partitions_are_there_from_now_on() {
    let database = shared::database();
    let mut session = database.install();
    let premake = session.number("LOAD 'pg_telemetry'; SHOW pg_telemetry.premake");
    for parent in ["entity_values_ts", "entity_values_rejected"] {
        // The bounds are cut out of their definition: FOR VALUES FROM ('…') TO ('…').
        let ranges = format!(
            "SELECT substring(bound from 'FROM \\(''(.*?)''')::timestamptz AS low,
                    substring(bound from 'TO \\(''(.*?)''')::timestamptz AS high
             FROM (SELECT pg_get_expr(c.relpartbound, c.oid) AS bound
                   FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                   WHERE i.inhparent = '{parent}'::regclass) AS leaves"
        );
        for day in 0..=premake {
            let covered = format!(
                "SELECT count(*) FROM ({ranges}) AS r
                 WHERE now() + {day} * interval '1 day' >= low AND now() + {day} * interval '1 day' < high"
            );
            assert_eq!(session.number(&covered), 1, "{parent}, {day} days ahead");
        }
    }
    let default = "SELECT count(*) FROM pg_partitioned_table WHERE partdefid <> 0";
    assert_eq!(session.number(default), 0, "no DEFAULT partitions");
}

#[test]
fn setup_can_be_repeated_without_any_change() {
    let database = shared::database();
    let mut session = database.install();
    let before = catalog::objects(&mut session, "telemetry");
    let outcomes = session.rows("SELECT object, outcome FROM setup()");
    assert!(
        outcomes.iter().any(|row| row[0].contains("entity_values_ts")),
        "{outcomes:?}"
    );
    assert_eq!(
        catalog::difference(&before, &catalog::objects(&mut session, "telemetry")),
        Vec::<String>::new()
    );
}

#[test]
fn a_dropped_table_is_made_again_by_setup() {
    let database = shared::database();
    let mut session = database.install();
    let before = catalog::objects(&mut session, "telemetry");
    session.exec("DROP TABLE entity_values_ingest, retention_policies");
    session.exec("SELECT setup()");
    assert_eq!(
        catalog::difference(&before, &catalog::objects(&mut session, "telemetry")),
        Vec::<String>::new()
    );
    copy_and_flush(&mut session);
}

#[test]
fn a_dropped_trigger_comes_back_by_setup() {
    let database = shared::database();
    let mut session = database.install();
    let triggers = "SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2";
    let before = session.rows(triggers);
    assert_eq!(before.len(), 5, "{before:?}");
    session.exec("DROP TRIGGER staging_refuses_change ON entity_values_ingest_durable");
    session.exec("DROP FUNCTION attribute_keeps_identity() CASCADE");
    session.exec("SELECT setup()");
    assert_eq!(session.rows(triggers), before);
}

#[test]
fn attributes_are_registered_by_insert_or_by_function() {
    let database = shared::database();
    let mut session = database.install();
    let inserted = session.number(
        "INSERT INTO attributes (tenant_id, name, value_type) VALUES (1, 'speed', 'number') RETURNING attribute_id",
    );
    assert_eq!(attribute(&mut session, "speed", "number"), inserted);
    assert_ne!(
        session.number("SELECT register_attribute(2, 'speed', 'number')"),
        inserted
    );
    let clash = session.fails_with("42804", "SELECT register_attribute(1, 'speed', 'text')");
    assert!(
        clash.message.contains("speed") && !clash.hint.is_empty(),
        "{clash}"
    );
    session.fails_with("22023", "SELECT register_attribute(1, 'heading', 'angle')");
    session.fails_with("22004", "SELECT register_attribute(1, NULL, 'number')");
    session.fails_with(
        "23514",
        "INSERT INTO attributes (tenant_id, name, value_type) VALUES (1, 'x', 'angle')",
    );
    session.fails_with(
        "55000",
        "UPDATE attributes SET name = 'velocity' WHERE name = 'speed'",
    );
    let robot = session.number("SELECT register_entity(1, 'robot-1')");
    assert_eq!(session.number("SELECT register_entity(1, 'robot-1')"), robot);
    assert_ne!(session.number("SELECT register_entity(1, 'robot-2')"), robot);
}

#[test]
fn sessions_that_register_the_same_name_get_the_same_id() {
    let database = shared::database();
    let mut session = database.install();
    session.exec("BEGIN");
    let first = attribute(&mut session, "speed", "number");
    let waiting = database.background(|session| attribute(session, "speed", "number"));
    session.exec("COMMIT");
    assert_eq!(waiting.join(), first);
    let names = (0..4).map(|_| {
        database.background(|session| {
            session.number(
                "SELECT sum(register_attribute(1, 'a' || n % 50, 'number')) FROM generate_series(1, 200) n",
            )
        })
    });
    let sums: Vec<i64> = names
        .collect::<Vec<_>>()
        .into_iter()
        .map(|session| session.join())
        .collect();
    assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
    assert_eq!(session.number("SELECT count(*) FROM attributes"), 51);
}

#[test]
fn databases_can_install_at_the_same_moment() {
    // A cluster of its own: the roles must not be there yet.
    let cluster = Cluster::builder().start();
    let databases: Vec<Database> = (0..4)
        .map(|n| cluster.create_database(&format!("db_{n}")))
        .collect();
    let installs: Vec<_> = databases
        .iter()
        .map(|database| database.background_sql("CREATE EXTENSION pg_telemetry"))
        .collect();
    for install in installs {
        install.join().unwrap_or_else(|failure| panic!("{failure}"));
    }
    let mut session = cluster.connect("postgres");
    assert_eq!(
        session.number("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'telemetry\\_%'"),
        4
    );
}

#[test]
fn a_role_with_too_many_rights_is_refused() {
    let cluster = Cluster::builder().start();
    let mut session = cluster.connect("postgres");
    for (role, right) in [
        ("telemetry_owner", "SUPERUSER"),
        ("telemetry_owner", "LOGIN"),
        ("telemetry_writer", "BYPASSRLS"),
        ("telemetry_reader", "CREATEROLE"),
        ("telemetry_admin", "REPLICATION"),
    ] {
        session.exec(&format!("CREATE ROLE {role} {right}"));
        let refused = session.fails("CREATE EXTENSION pg_telemetry");
        assert!(
            refused.message.contains(role) && refused.hint.contains(&format!("ALTER ROLE {role}")),
            "{refused}"
        );
        session.exec(&format!("DROP ROLE {role}"));
    }
    session.exec("CREATE ROLE telemetry_owner");
    session.exec("CREATE EXTENSION pg_telemetry");
}

#[test]
fn numbers_that_an_application_chose_itself_are_passed_over() {
    let database = shared::database();
    let mut session = database.install();
    session
        .exec("INSERT INTO entities (tenant_id, entity_id) SELECT 1, n FROM generate_series(1, 5000) AS n");
    let id = session.number("SELECT register_entity(1, 'robot')");
    assert!(id > 5000, "{id}");
    assert_eq!(session.number("SELECT register_entity(1, 'robot')"), id);
    assert!(session.number("SELECT register_entity(2, 'robot')") > id);
}

#[test]
fn another_encoding_than_utf8_is_refused() {
    let database = shared::database();
    database
        .connect()
        .exec("CREATE DATABASE latin ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    let mut session = database.cluster().connect("latin");
    let failure = session.fails_with("0A000", "CREATE EXTENSION pg_telemetry");
    assert!(failure.hint.contains("UTF8"), "{failure}");
    drop(session);
    database.connect().exec("DROP DATABASE latin");
}

#[test]
fn entity_ids_need_no_registration() {
    let database = shared::database();
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    assert_eq!(session.number("SELECT count(*) FROM entities"), 0);
}
