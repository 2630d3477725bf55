//! What becomes of partitions whose time is over: dropped, kept, or moved to another place.

use cluster_tests::old_day::{EACH, OldDay};
use cluster_tests::{Cluster, workers};

const PLAN: &str =
    "SELECT action, reason FROM partition_plan() WHERE action NOT IN ('create', 'seal', 'analyze')";

#[test]
fn the_workers_move_it_to_the_archive_and_it_can_be_attached_again() {
    let mut day = OldDay::new(Cluster::builder().preload());
    workers::wait_for_start(&day.cluster, "old_day");
    let partition = day.partition.clone();
    day.session.exec("SET allow_in_place_tablespaces = on");
    day.session.exec("CREATE TABLESPACE slow LOCATION ''");
    // A table and an index of the same names are there already.
    day.session.exec(&format!(
        "CREATE SCHEMA \"Old Data\"; GRANT CREATE, USAGE ON SCHEMA \"Old Data\" TO telemetry_owner;
         GRANT CREATE ON TABLESPACE slow TO telemetry_owner;
         CREATE TABLE \"Old Data\".{partition} (n int);
         DO $$ BEGIN EXECUTE format('CREATE INDEX %I ON \"Old Data\".{partition} (n)',
             (SELECT relname FROM pg_class WHERE oid = (SELECT min(indexrelid) FROM pg_index WHERE indrelid = '{partition}'::regclass))); END $$;
         SELECT set_retention('30 days');
         UPDATE retention_policies SET leaves_as = 'archive', archive_schema = 'Old Data', archive_tablespace = 'slow'"
    ));
    let moved = format!("\"Old Data\".{partition}_2");
    let there = format!("SELECT count(*) FROM pg_class WHERE oid = to_regclass('{moved}')");
    day.wait_for("it is in the archive", |day| match day.session.number(&there) {
        1 => Ok(()),
        _ => Err(day.session.rows(PLAN)),
    });
    assert_eq!(
        day.session.number(&format!("SELECT count(*) FROM {moved}")),
        2 * EACH
    );
    assert_eq!(day.session.number("SELECT count(*) FROM entity_values_ts"), 0);
    let places = format!(
        "SELECT DISTINCT spcname FROM pg_tablespace t JOIN pg_class c ON c.reltablespace = t.oid
         WHERE c.oid = '{moved}'::regclass OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = '{moved}'::regclass)"
    );
    assert_eq!(day.session.column(&places), ["slow"]);
    let rights = format!(
        "SELECT pg_get_userbyid(relowner), coalesce(relacl::text, '') FROM pg_class WHERE oid = '{moved}'::regclass"
    );
    assert_eq!(day.session.rows(&rights), [["telemetry_owner", ""]]);
    assert!(day.session.rows(PLAN).is_empty(), "and there it stays");

    day.session.exec(&format!(
        "SELECT set_retention('1 year'); UPDATE retention_policies SET leaves_as = NULL;
         ALTER TABLE {moved} RENAME TO {partition}_again; ALTER TABLE \"Old Data\".{partition}_again SET SCHEMA telemetry;
         DO $$ BEGIN EXECUTE format('ALTER TABLE entity_values_ts ATTACH PARTITION {partition}_again FOR VALUES FROM (%L) TO (%L)',
             (SELECT starts_at FROM partition_state WHERE partition = '{partition}_2'),
             (SELECT ends_at FROM partition_state WHERE partition = '{partition}_2')); END $$"
    ));
    assert_eq!((day.of_tenant(1), day.of_tenant(2)), (EACH, EACH));
    day.session.exec("SELECT rotate_partitions()");
    assert!(day.session.rows(PLAN).is_empty());
}

#[test]
fn what_is_in_the_way_is_said_and_nothing_is_lost_meanwhile() {
    let mut day = OldDay::new(Cluster::builder());
    day.session.exec(
        "SELECT set_retention('30 days'); UPDATE retention_policies SET leaves_as = 'archive', archive_schema = 'history'",
    );
    day.session.exec("SELECT rotate_partitions()");
    let statement = day
        .session
        .text("SELECT statement FROM partition_plan() WHERE action = 'detach'");
    day.session.exec(&statement);
    day.session.exec("SELECT rotate_partitions()");
    let count = format!("SELECT count(*) FROM {}", day.partition);
    for (help, reason) in [
        ("SELECT", "schema history does not exist"),
        ("CREATE SCHEMA history", "GRANT CREATE, USAGE ON SCHEMA history"),
    ] {
        day.session.exec(help);
        let plan = day.session.rows(PLAN);
        assert_eq!(plan[0][0], "keep", "{plan:?}");
        assert!(plan[0][1].contains(reason), "{plan:?}");
        day.session.exec("SELECT rotate_partitions()");
        assert_eq!(day.session.number(&count), 2 * EACH);
    }
    day.session
        .exec("GRANT CREATE, USAGE ON SCHEMA history TO telemetry_owner");
    let rows = day
        .session
        .rows("SELECT action, outcome FROM rotate_partitions() WHERE action = 'archive'");
    assert_eq!(rows, [["archive", "done"]]);
    let count = format!("SELECT count(*) FROM history.{}", day.partition);
    assert_eq!(day.session.number(&count), 2 * EACH);
    assert!(day.session.rows(PLAN).is_empty());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut day = OldDay::new(Cluster::builder());
    day.session
        .exec("SELECT set_retention('30 days'); SELECT set_retention('1 year', 2)");
    for change in [
        "leaves_as = 'burn' WHERE tenant_id = 0",
        "leaves_as = 'drop' WHERE tenant_id = 2",
        "archive_schema = 'history' WHERE tenant_id = 2",
        "archive_tablespace = 'slow' WHERE tenant_id = 2",
    ] {
        day.session
            .fails_with("23514", &format!("UPDATE retention_policies SET {change}"));
    }
}
