//! What preloading the library changes for everybody else on the server: nothing.

use cluster_tests::{Database, Session, shared};

/// All that the server says about the error of a statement.
fn error(session: &mut Session, sql: &str) -> String {
    let failed = session
        .client()
        .batch_execute(sql)
        .expect_err("the statement fails");
    let said = failed.as_db_error().unwrap_or_else(|| panic!("{sql}: {failed}"));
    format!(
        "{} {} | {:?} | {:?} | {:?} | {:?} {:?} {:?} {:?} {:?} | {:?}",
        said.code().code(),
        said.message(),
        said.detail(),
        said.hint(),
        said.where_(),
        said.schema(),
        said.table(),
        said.column(),
        said.datatype(),
        said.constraint(),
        said.position(),
    )
}

#[test]
fn errors_of_other_statements_stay_as_they_are() {
    let [plain, preloaded]: [Database; 2] = [shared::database(), shared::database_with_workers()];
    let [mut plain, mut preloaded] = [plain.connect(), preloaded.connect()];
    for session in [&mut plain, &mut preloaded] {
        session.exec(
            "CREATE TABLE t (a int CONSTRAINT positive CHECK (a > 0), b int);
             INSERT INTO t VALUES (1, NULL);
             CREATE FUNCTION fail() RETURNS void LANGUAGE plpgsql AS
                 $$ BEGIN EXECUTE 'ALTER TABLE t ALTER b SET NOT NULL'; END $$;
             CREATE DOMAIN even AS int CONSTRAINT is_even CHECK (VALUE % 2 = 0)",
        );
    }
    for sql in [
        "ALTER TABLE t ADD CONSTRAINT small CHECK (a < 0)",
        "ALTER TABLE t ALTER b SET NOT NULL",
        "DO $$ BEGIN PERFORM fail(); END $$",
        "CREATE TABLE t ()",
        "DROP TABLE missing",
        "CREATE INDEX ON t (missing)",
        "CREATE TABLE bad (a even DEFAULT 'x')",
        "DROP DATABASE missing",
        "DROP DATABASE template0",
        "ALTER DATABASE missing RENAME TO other",
        "CREATE DATABASE other TEMPLATE missing",
        "CREATE DATABASE postgres",
        "BEGIN; DROP DATABASE postgres",
        "ROLLBACK; SET pg_telemetry_no_such.thing = 1; SET work_mem = 'much'",
        "CREATE EXTENSION no_such_extension",
        "INSERT INTO t VALUES (0)",
        "SELECT 1 + (SELECT 1/0)",
    ] {
        assert_eq!(error(&mut plain, sql), error(&mut preloaded, sql), "{sql}");
    }
}

#[test]
fn the_server_shows_nothing_but_the_launcher() {
    let database = shared::database_with_workers();
    let mut session = database.connect();
    let ours = "SELECT DISTINCT backend_type FROM pg_stat_activity
                WHERE backend_type LIKE 'pg_telemetry%' AND backend_type <> 'pg_telemetry probe'";
    assert_eq!(session.column(ours), ["pg_telemetry launcher"]);
}
