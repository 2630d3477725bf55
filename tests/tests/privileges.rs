//! Who may do what, and nobody more.

use cluster_tests::readings::{attribute, facts, stage};
use cluster_tests::{catalog, project, shared};

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
    ("SELECT freshness()", &[WRITER, READER, ADMIN, MONITOR]),
    ("SELECT can_serve('eventual')", &[WRITER, READER, ADMIN, MONITOR]),
    ("SELECT route_read('eventual')", &[WRITER, READER, ADMIN, MONITOR]),
    ("SELECT FROM read_classes", &[WRITER, READER, ADMIN, MONITOR]),
    (
        "INSERT INTO read_classes (class, max_lag) VALUES ('live', '1 s')",
        &[ADMIN],
    ),
    ("SELECT token_reached(commit_token())", &[WRITER, READER, ADMIN]),
    ("SELECT FROM replication_lag", &[ADMIN, MONITOR]),
    ("SELECT FROM replication_slots_health", &[ADMIN, MONITOR]),
    ("SELECT heartbeat()", &[WRITER, ADMIN]),
    ("SELECT ingest(1, 1, '{}')", &[WRITER]),
    ("SELECT ingest_external(1, 'robot', '{}')", &[WRITER]),
    ("SELECT ingest_many(1, '[]')", &[WRITER]),
    ("SELECT FROM ingest_requests", &[ADMIN]),
    ("SELECT FROM ingest_requests_volatile", &[ADMIN]),
    ("DELETE FROM ingest_requests", &[]),
    ("INSERT INTO ingest_requests (tenant_id) VALUES (1)", &[]),
    ("SELECT setup()", &[]),
    ("SELECT partition_plan()", &[ADMIN, MONITOR]),
    ("SELECT rotate_partitions()", &[ADMIN]),
    ("SELECT set_retention('30 days')", &[ADMIN]),
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
    ("SELECT retry_rejected()", &[ADMIN]),
    ("SELECT trim_rejected()", &[ADMIN]),
    ("SELECT FROM rejected_summary", &[ADMIN, MONITOR]),
    ("SELECT FROM rejected_removed", &[ADMIN, MONITOR]),
    ("DELETE FROM rejected_removed", &[]),
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
    ("SELECT FROM staging_backlog", &[READER, ADMIN, MONITOR]),
    ("SELECT FROM flush_stats", &[READER, ADMIN, MONITOR]),
    ("SELECT FROM crash_history", &[READER, ADMIN, MONITOR]),
    ("DELETE FROM crash_history", &[]),
    ("SELECT FROM flush_history", &[READER, ADMIN, MONITOR]),
    ("DELETE FROM flush_history", &[]),
    ("SELECT FROM flush_state", &[]),
    ("SELECT FROM flush_pause", &[]),
    ("DELETE FROM flush_pause", &[]),
    ("SELECT FROM flush_sentinel", &[]),
    ("SELECT pause('for fun')", &[ADMIN]),
    ("SELECT resume()", &[ADMIN]),
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
        let mut session = database.connect_as(&database.create_login(group));
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

#[test]
fn rights_to_call_do_not_carry_over_to_code_in_temporary_schemas() {
    let database = shared::database();
    drop(database.install());
    let mut session = database.connect_as(&database.create_login(Some(WRITER)));
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
    let member = database.create_login(Some("telemetry_owner"));
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
