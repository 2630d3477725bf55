//! Objects that somebody plants where names are looked up are never taken for ours.

use cluster_tests::readings::{attribute, facts, stage};
use cluster_tests::{SOON, eventually, shared};

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
    let attacker = database.create_login(Some("telemetry_writer"));
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
