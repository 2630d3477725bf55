//! Who may do what, and that nobody gets more by planting objects.

use cluster_tests::readings::{attribute, facts, stage};
use cluster_tests::{Database, SOON, catalog, eventually, project, shared};

#[test]
fn the_objects_are_those_of_the_checked_in_list() {
    let database = shared::database();
    project::assert_golden(
        "objects.txt",
        &catalog::inventory(&mut database.install(), "telemetry"),
    );
}

#[test]
fn the_privileges_are_those_of_the_checked_in_list() {
    let database = shared::database();
    project::assert_golden(
        "privileges.txt",
        &catalog::privileges(&mut database.install(), "telemetry"),
    );
}

/// A login role of this test alone: roles belong to the whole cluster.
fn login(database: &Database, group: Option<&str>) -> String {
    let role = format!("{}_{}", database.name(), group.unwrap_or("nobody"));
    let mut session = database.connect();
    session.exec(&format!("CREATE ROLE {role} LOGIN"));
    if let Some(group) = group {
        session.exec(&format!("GRANT {group} TO {role}"));
    }
    role
}

const WRITER: &str = "telemetry_writer";
const READER: &str = "telemetry_reader";
const ADMIN: &str = "telemetry_admin";
const MONITOR: &str = "pg_monitor";

/// Statements, and the only groups that may run them.
const MATRIX: &[(&str, &[&str])] = &[
    (
        "INSERT INTO entity_values_ingest (tenant_id) VALUES (1)",
        &[WRITER],
    ),
    (
        "INSERT INTO entity_values_ingest_durable (tenant_id) VALUES (1)",
        &[WRITER],
    ),
    ("SELECT FROM entity_values_ingest", &[ADMIN]),
    ("SELECT FROM entity_values_ingest_durable", &[ADMIN]),
    ("UPDATE entity_values_ingest SET value_num = 0", &[]),
    ("DELETE FROM entity_values_ingest_durable", &[]),
    ("TRUNCATE entity_values_ingest", &[]),
    ("SELECT stage_flush()", &[WRITER, ADMIN]),
    ("SELECT last_flush()", &[WRITER, ADMIN]),
    (
        "SELECT register_attribute(1, 'temperature', 'number')",
        &[WRITER, ADMIN],
    ),
    ("SELECT register_entity(1, 'robot')", &[WRITER, ADMIN]),
    ("SELECT setup()", &[]),
    ("SELECT FROM attributes", &[WRITER, READER, ADMIN]),
    (
        "INSERT INTO attributes (tenant_id, name, value_type) VALUES (1, 'x', 'text')",
        &[WRITER, ADMIN],
    ),
    (
        "INSERT INTO attributes (attribute_id, tenant_id, name, value_type) VALUES (DEFAULT, 1, 'x', 'text')",
        &[],
    ),
    ("UPDATE attributes SET unit = '°C'", &[ADMIN]),
    ("UPDATE attributes SET name = 'other'", &[]),
    ("DELETE FROM attributes", &[]),
    ("SELECT FROM entities", &[WRITER, READER, ADMIN]),
    (
        "INSERT INTO entities (tenant_id, external_id) VALUES (1, 'x')",
        &[WRITER, ADMIN],
    ),
    ("SELECT FROM entity_values_ts", &[READER, ADMIN]),
    (
        "INSERT INTO entity_values_ts (tenant_id, entity_id, attribute_id) VALUES (1, 1, 1)",
        &[],
    ),
    ("DELETE FROM entity_values_ts", &[]),
    ("SELECT FROM entity_values_rejected", &[ADMIN]),
    ("DELETE FROM entity_values_rejected", &[]),
    ("SELECT FROM entity_jsonb", &[READER, ADMIN]),
    (
        "INSERT INTO entity_jsonb (tenant_id, entity_id, as_of) VALUES (1, 1, now())",
        &[],
    ),
    ("SELECT FROM retention_policies", &[READER, ADMIN]),
    (
        "INSERT INTO retention_policies (tenant_id, keep) VALUES (1, '30 days')",
        &[ADMIN],
    ),
    ("SELECT FROM replication_heartbeat", &[READER, ADMIN, MONITOR]),
    ("SELECT FROM worker_status", &[ADMIN, MONITOR]),
    ("CREATE TABLE telemetry.planted ()", &[]),
    ("ALTER TABLE entity_values_ts ADD COLUMN planted int", &[]),
    ("ALTER EXTENSION pg_telemetry UPDATE", &[]),
    ("DROP EXTENSION pg_telemetry", &[]),
    ("SET ROLE telemetry_owner", &[]),
];

#[test]
fn each_group_may_do_its_own_and_nothing_else() {
    let database = shared::database();
    drop(database.install());
    for group in [None, Some(WRITER), Some(READER), Some(ADMIN), Some(MONITOR)] {
        let mut session = database.connect_as(&login(&database, group));
        for (sql, groups) in MATRIX {
            session.exec("BEGIN");
            let outcome = session.try_exec(sql);
            session.exec("ROLLBACK");
            let may = group.is_some_and(|group| groups.contains(&group));
            match outcome {
                Ok(()) => assert!(may, "{group:?} must not be able to: {sql}"),
                Err(failure) => {
                    assert!(!may, "{group:?} must be able to: {sql}\n  {failure}");
                    // A schema that one has no rights in is left out of the search_path, so names are not found.
                    let expected = if group.is_none() {
                        &["42501", "42P01", "42883"][..]
                    } else {
                        &["42501"]
                    };
                    assert!(
                        expected.contains(&failure.code.as_str()),
                        "{group:?}, {sql}\n  {failure}"
                    );
                }
            }
        }
    }
}

#[test]
fn partitions_give_no_more_than_their_parent() {
    let database = shared::database();
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest", id, 1, 1);
    session.exec("SELECT stage_flush()");
    let granted = session.rows(
        "SELECT c.oid::regclass, a.grantee::regrole, a.privilege_type, pg_get_userbyid(c.relowner)
         FROM pg_class c LEFT JOIN LATERAL aclexplode(c.relacl) a ON a.grantee <> c.relowner
         WHERE c.relnamespace = 'telemetry'::regnamespace AND c.relispartition
           AND (a.grantee IS NOT NULL OR c.relowner <> 'telemetry_owner'::regrole)",
    );
    assert!(granted.is_empty(), "{granted:#?}");
}

/// Functions and operators that the extension uses by name, as an attacker would define them: whoever runs one is caught.
fn traps(schema: &str) -> String {
    let trap = "LANGUAGE plpgsql AS $$ BEGIN RAISE 'captured' USING ERRCODE = 'P0666'; END $$";
    let mut sql = String::new();
    for signature in [
        "count(bigint) RETURNS bigint",
        "now() RETURNS timestamptz",
        "clock_timestamp() RETURNS timestamptz",
        "format(text, text) RETURNS text",
        "quote_ident(text) RETURNS text",
        "coalesce_it(text) RETURNS text",
        "isfinite(timestamptz) RETURNS boolean",
        "make_interval(double precision) RETURNS interval",
        "pg_get_userbyid(oid) RETURNS name",
        "stage_flush() RETURNS bigint",
        "setup() RETURNS bigint",
    ] {
        sql += &format!("CREATE FUNCTION {schema}.{signature} {trap};\n");
    }
    let types = [
        "bigint",
        "integer",
        "text",
        "name",
        "oid",
        "timestamptz",
        "double precision",
        "boolean",
        "\"char\"",
    ];
    for operand in types {
        sql += &format!("CREATE FUNCTION {schema}.trap({operand}, {operand}) RETURNS boolean {trap};\n");
        for operator in ["=", "<>", "<", ">", "<=", ">=", "~", "!~"] {
            sql += &format!(
                "CREATE OPERATOR {schema}.{operator} (LEFTARG = {operand}, RIGHTARG = {operand}, FUNCTION = {schema}.trap);\n"
            );
        }
    }
    sql
}

/// Tables that hide the real ones where names are looked up unqualified.
const TEMPORARY_TABLES: &str = "
    CREATE TEMP TABLE entity_values_ingest (planted int);
    CREATE TEMP TABLE entity_values_ts (planted int);
    CREATE TEMP TABLE entity_values_rejected (planted int);
    CREATE TEMP TABLE attributes (attribute_id int, tenant_id bigint, name text, value_type text);
    CREATE TEMP TABLE entities (planted int);
    CREATE TEMP TABLE pg_class (planted int);
    CREATE TEMP TABLE pg_namespace (planted int);
    CREATE TEMP TABLE pg_extension (planted int);
    CREATE TEMP TABLE pg_roles (planted int);
    CREATE TEMP TABLE pg_proc (planted int)";

/// The traps are good: an unqualified name does fall into them.
#[test]
fn traps_catch_the_careless() {
    let database = shared::database();
    let mut session = database.connect();
    session.exec(&traps("public"));
    session.exec("SET search_path = public, pg_catalog");
    for careless in [
        "SELECT now()",
        "SELECT 1 = 1",
        "SELECT 'a'::text ~ 'b'",
        "SELECT count(1::bigint)",
    ] {
        session.fails_with("P0666", careless);
    }
}

#[test]
fn planted_objects_are_not_used_by_functions() {
    let database = shared::database();
    let id = attribute(&mut database.install(), "temperature", "number");
    let attacker = login(&database, Some(WRITER));
    database
        .connect()
        .exec(&format!("GRANT CREATE ON SCHEMA public TO {attacker}"));
    let mut session = database.connect_as(&attacker);
    session.exec(&traps("public"));
    session.exec(TEMPORARY_TABLES);
    session.exec("SET search_path = pg_temp, public, pg_catalog");
    let staged = format!(
        "INSERT INTO telemetry.entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)
         VALUES (1, 1, {id}, 0), (1, 2, -1, 0)"
    );
    session.exec(&staged);
    assert_eq!(session.number("SELECT telemetry.stage_flush()"), 1);
    assert_eq!(
        session.number("SELECT telemetry.register_attribute(1, 'temperature', 'number')"),
        id
    );
    session
        .exec("SELECT telemetry.register_attribute(1, 'new', 'text'), telemetry.register_entity(1, 'robot')");
    session.exec("SELECT * FROM telemetry.last_flush()");
    let mut session = database.connect();
    session.exec("SET search_path = telemetry");
    assert_eq!(facts(&mut session), (1, 1));
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 1);
    // A superuser who looks after the installation with such a path is no easier prey.
    session.exec("SET search_path = public, pg_catalog");
    session.exec("SELECT telemetry.setup()");
    session.exec("SELECT telemetry.stage_flush()");
    session.exec("SELECT FROM telemetry.worker_status");
}

#[test]
fn planted_objects_are_not_used_by_the_install_script() {
    let database = shared::database();
    let mut session = database.connect();
    session.exec("CREATE SCHEMA traps");
    session.exec(&traps("traps"));
    // What would collide is refused; what merely looks like pg_catalog's must not be used.
    session.exec("CREATE SCHEMA telemetry");
    session.exec(&traps("telemetry"));
    session.exec("DROP FUNCTION telemetry.stage_flush(), telemetry.setup()");
    session.exec("SET search_path = traps, pg_catalog");
    session.exec("CREATE EXTENSION pg_telemetry SCHEMA telemetry");
    session.exec("SELECT telemetry.setup()");
    session.exec("DROP EXTENSION pg_telemetry");
}

#[test]
fn planted_objects_are_not_used_by_workers() {
    let database = shared::database_with_workers();
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    session.exec("CREATE SCHEMA traps");
    session.exec(&traps("traps"));
    session.exec(&format!(
        "ALTER DATABASE {} SET search_path = traps, pg_catalog",
        database.quoted_name()
    ));
    // New workers take the setting of the database; this session keeps its own.
    session.exec(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE backend_type IN ('pg_telemetry flusher', 'pg_telemetry keeper') AND datname = '{}'",
        database.name()
    ));
    for first in [1, 11] {
        stage(&mut session, "entity_values_ingest", id, first, first + 9);
        eventually(SOON, "workers flush", || match facts(&mut session) {
            (rows, _) if rows == first + 9 => Ok(()),
            seen => Err(seen),
        });
    }
    assert_eq!(database.log().lines_with(" P0666 "), Vec::<String>::new());
}

#[test]
fn rights_to_call_do_not_carry_over_to_code_in_temporary_schemas() {
    let database = shared::database();
    drop(database.install());
    let mut session = database.connect_as(&login(&database, Some(WRITER)));
    // A trigger or default of a writer's own table never runs inside the flush, and SET ROLE stays out of reach.
    session.fails_with(
        "42501",
        "CREATE TRIGGER t BEFORE INSERT ON entity_values_ts EXECUTE FUNCTION planted()",
    );
    session.fails_with("42501", "SET ROLE telemetry_owner");
}

/// Members of telemetry_owner own the tables and may hang triggers on them; a superuser may flush. Neither the trigger nor
/// what commits after it may get the superuser's rights.
#[test]
fn a_member_of_the_owner_role_cannot_use_the_rights_of_whoever_flushes() {
    let database = shared::database();
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    let member = login(&database, Some("telemetry_owner"));
    let is_superuser = format!("SELECT rolsuper FROM pg_roles WHERE rolname = '{member}'");
    let mut attacker = database.connect_as(&member);
    attacker.exec("SET search_path = telemetry; SET ROLE telemetry_owner");
    attacker.fails_with(
        "42501",
        "CREATE OR REPLACE FUNCTION stage_flush(max_rows bigint DEFAULT NULL) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
    );
    attacker.exec(&format!(
        "CREATE FUNCTION seize() RETURNS trigger LANGUAGE plpgsql
         AS $$ BEGIN EXECUTE 'ALTER ROLE {member} SUPERUSER'; RETURN NULL; END $$"
    ));
    for deferred in ["", "DEFERRABLE INITIALLY DEFERRED"] {
        attacker.exec(&format!(
            "CREATE CONSTRAINT TRIGGER seize AFTER INSERT ON entity_values_ts {deferred}
             FOR EACH ROW EXECUTE FUNCTION seize()"
        ));
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num) VALUES (1, 1, {id}, 0)"
        ));
        session.fails_with("42501", "SELECT stage_flush()");
        assert!(!session.is_true(&is_superuser), "{deferred}");
        attacker.exec("DROP TRIGGER seize ON entity_values_ts");
    }
    session.exec("SELECT stage_flush()");
    assert_eq!(facts(&mut session), (2, 1));
}
