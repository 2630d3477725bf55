//! Rules that every object of the extension keeps, whatever it does.

use cluster_tests::shared;

fn offenders(what: &str, query: &str) {
    let database = shared::database();
    let mut session = database.install();
    let found = session.rows(query);
    assert!(found.is_empty(), "{what}: {found:#?}");
}

/// But a procedure: with SET it could not end its transaction. It runs no SQL instead.
#[test]
fn every_function_pins_its_search_path() {
    offenders(
        "functions without the pinned search_path",
        "SELECT oid::regprocedure, proconfig FROM pg_proc
         WHERE pronamespace = 'telemetry'::regnamespace AND prokind <> 'p'
           AND proconfig IS DISTINCT FROM ARRAY['search_path=pg_catalog, pg_temp']",
    );
}

#[test]
fn public_may_do_nothing() {
    offenders(
        "granted to PUBLIC",
        "SELECT what, name, acl.privilege_type FROM (
             SELECT 'function', oid::regprocedure::text, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
             WHERE pronamespace = 'telemetry'::regnamespace
             UNION ALL SELECT 'relation', oid::regclass::text, relacl FROM pg_class
             WHERE relnamespace = 'telemetry'::regnamespace
             UNION ALL SELECT 'schema', nspname::text, nspacl FROM pg_namespace WHERE nspname = 'telemetry'
         ) AS objects (what, name, acl), LATERAL aclexplode(objects.acl) AS acl
         WHERE acl.grantee = 0",
    );
}

#[test]
fn no_function_runs_with_the_rights_of_a_superuser() {
    offenders(
        "SECURITY DEFINER of a superuser",
        "SELECT f.oid::regprocedure FROM pg_proc f JOIN pg_roles r ON r.oid = f.proowner
         WHERE f.pronamespace = 'telemetry'::regnamespace AND f.prosecdef AND r.rolname <> 'telemetry_owner'",
    );
}

#[test]
fn arguments_and_results_have_names() {
    offenders(
        "arguments without a name",
        "SELECT oid::regprocedure, proargnames FROM pg_proc
         WHERE pronamespace = 'telemetry'::regnamespace
           AND (cardinality(coalesce(proallargtypes, proargtypes::oid[])) <> coalesce(cardinality(proargnames), 0)
                OR '' = ANY (proargnames))",
    );
}

#[test]
fn data_tables_are_no_members_and_belong_to_the_owner_role() {
    offenders(
        "tables that DROP EXTENSION would drop, or of another owner",
        "SELECT c.oid::regclass, pg_get_userbyid(c.relowner), d.deptype FROM pg_class c
         LEFT JOIN pg_depend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'
         WHERE c.relnamespace = 'telemetry'::regnamespace AND c.relkind IN ('r', 'p', 'S')
           AND (d.objid IS NOT NULL OR c.relowner <> 'telemetry_owner'::regrole)",
    );
}

#[test]
fn group_roles_are_no_more_than_groups() {
    offenders(
        "group roles with rights of their own",
        "SELECT rolname FROM pg_roles
         WHERE rolname LIKE 'telemetry\\_%'
           AND (rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)",
    );
}

/// A library that is preloaded hooks into every utility statement of the cluster; errors must come through unharmed.
#[test]
fn errors_of_other_peoples_statements_keep_their_context() {
    let database = shared::database_with_workers();
    let mut session = database.connect();
    session.exec("CREATE TABLE strict (n integer CONSTRAINT positive CHECK (n > 0))");
    let failure = session
        .client()
        .batch_execute("DO $$ BEGIN INSERT INTO strict VALUES (-1); END $$")
        .expect_err("the constraint refuses the row");
    let error = failure.as_db_error().expect("an error of the server");
    assert_eq!(error.constraint(), Some("positive"), "{error:?}");
    assert_eq!(error.table(), Some("strict"), "{error:?}");
    let context = error.where_().unwrap_or_default();
    assert!(context.contains("inline_code_block"), "{error:?}");
}
