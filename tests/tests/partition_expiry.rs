//! Tenants with a shorter time than the partition they are in: their readings are deleted, and its room is given back.

use cluster_tests::old_day::{EACH, OldDay};
use cluster_tests::{Cluster, SOON, Stop, eventually, workers};

const PLAN: &str = "SELECT action, reason FROM partition_plan() WHERE action NOT IN ('create', 'seal', 'analyze') ORDER BY action";

const ACTIONS: &str =
    "SELECT action FROM partition_plan() WHERE action NOT IN ('create', 'seal', 'analyze') ORDER BY action";

/// Does what is planned, and says what came of the deletion.
const DELETED: &str = "SELECT outcome, detail FROM rotate_partitions() WHERE action = 'delete'";

#[test]
fn the_workers_delete_a_tenant_whose_time_is_over_and_give_its_room_back() {
    let mut day = OldDay::new(Cluster::builder().preload());
    workers::wait_for_start(&day.cluster, "old_day");
    let size = format!("SELECT pg_relation_size('{}')", day.partition);
    let before = day.session.number(&size);
    assert!(day.session.rows(PLAN).is_empty());
    day.session.exec("SELECT set_retention('30 days', 1)");
    let plan = day.session.rows(PLAN);
    assert_eq!(plan, [["delete", "the time of tenant 1 is over"]]);
    day.cluster.reload();
    let left = "SELECT count(*) FROM entity_values_ts WHERE tenant_id = 1";
    day.wait_for("tenant 1 is gone", |day| match day.session.number(left) {
        0 => Ok(()),
        n => Err(n),
    });
    assert_eq!(day.of_tenant(1), 0);
    assert_eq!(day.of_tenant(2), EACH);
    day.wait_until_done();
    assert_eq!(day.state("removed_rows"), "0");
    assert_eq!(day.of_tenant(2), EACH);
    let after = day.session.number(&size);
    assert!(after < before * 6 / 10, "{before} {after}");
    day.holds_together();
}

#[test]
fn a_hold_stops_it_and_so_does_one_for_all() {
    let mut day = OldDay::new(Cluster::builder());
    let actions = |day: &mut OldDay| day.session.column(ACTIONS);
    day.session.exec("SELECT set_retention('30 days', 1)");
    assert_eq!(actions(&mut day), ["delete"]);
    day.session
        .exec("UPDATE retention_policies SET legal_hold = true");
    assert_eq!(actions(&mut day), [""; 0]);
    day.session.exec("UPDATE retention_policies SET legal_hold = false; INSERT INTO retention_policies (tenant_id, legal_hold) VALUES (0, true)");
    assert_eq!(actions(&mut day), [""; 0]);
    day.session
        .exec("DELETE FROM retention_policies WHERE tenant_id = 0");

    // One that somebody is about to commit is waited for, and not longer than other locks are.
    let mut other = day.database.connect();
    other.exec("BEGIN; UPDATE retention_policies SET legal_hold = true");
    day.cluster.set_and_reload("pg_telemetry.lock_timeout", "100ms");
    let rows = day.session.rows(DELETED);
    assert_eq!(rows[0][0], "failed", "{rows:?}");
    assert!(rows[0][1].contains("55P03"), "{rows:?}");
    other.exec("COMMIT");
    assert!(day.session.rows(DELETED).is_empty());
    assert_eq!(day.of_tenant(1), EACH);
}

#[test]
fn without_workers_it_is_done_by_whoever_calls_as_far_as_it_goes() {
    let mut day = OldDay::new(Cluster::builder());
    day.session
        .exec("SELECT set_retention('30 days'); SELECT set_retention('1 year', 2)");
    // The time for all is over, and tenant 2 keeps the partition.
    assert_eq!(day.session.column(ACTIONS), ["delete", "keep"]);
    let before = day.state("sealed_at");
    assert_eq!(
        day.session.rows(DELETED),
        [["done", "the time for all is over, and others keep the partition"]]
    );
    assert_eq!((day.of_tenant(1), day.of_tenant(2)), (0, EACH));
    assert_eq!(day.state("removal_block"), "");
    assert_eq!(day.state("removed_rows"), EACH.to_string());
    assert_eq!(day.state("sealed_at"), before);
    // What is left is the rewrite, which is said to need workers.
    let rows = day
        .session
        .rows("SELECT action, outcome, detail LIKE '%VACUUM FULL%' FROM rotate_partitions() WHERE action = 'rewrite'");
    assert_eq!(rows, [["rewrite", "left", "t"]]);
    // A tenant whose readings are not there is no reason to look again, and one that comes late is.
    day.session.exec("SELECT set_retention('30 days', 77)");
    assert_eq!(day.session.column(ACTIONS), ["keep", "rewrite"]);
    day.fill(77);
    day.seal();
    assert_eq!(day.session.column(ACTIONS), ["delete", "keep", "rewrite"]);
    day.session.exec("SELECT rotate_partitions()");
    assert_eq!((day.of_tenant(77), day.of_tenant(2)), (0, EACH));
}

#[test]
fn it_goes_on_where_it_was_and_what_has_been_rolled_back_was_not_done() {
    let mut day = OldDay::new(Cluster::builder());
    day.session.exec("SELECT set_retention('30 days', 1)");
    day.session.exec("BEGIN; SELECT rotate_partitions(); ROLLBACK");
    assert_eq!(day.of_tenant(1), EACH);
    // As after one batch.
    let partition = day.partition.clone();
    day.session.exec(&format!(
        "DELETE FROM {partition} WHERE tenant_id = 1 AND ctid < '(60,0)';
         UPDATE partition_state SET removed_tenants = '{{1}}', removed_all_but = false, removal_block = 60,
                removal_sealed_at = sealed_at WHERE partition = '{partition}'"
    ));
    let plan = day.session.rows(PLAN);
    assert_eq!(
        plan,
        [["delete", "the time of tenant 1 is over; done up to page 60"]]
    );
    // What lies before is not looked at again: nobody can have written there.
    day.session.exec(&format!(
        "INSERT INTO {partition} (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         SELECT 1, 1, ingested_at, 1, 1 FROM {partition} LIMIT 1"
    ));
    day.session.exec("SELECT rotate_partitions()");
    assert!(day.of_tenant(1) <= 1);
    assert_eq!(day.of_tenant(2), EACH);
    // Another tenant begins at the front.
    day.session.exec("SELECT set_retention('30 days', 2)");
    day.session.exec("SELECT rotate_partitions()");
    assert_eq!((day.of_tenant(1), day.of_tenant(2)), (0, 0));
}

#[test]
fn two_at_once_do_no_more_than_one() {
    let mut day = OldDay::new(Cluster::builder());
    day.session.exec("SELECT set_retention('30 days', 1)");
    let both = [0, 1].map(|_| {
        day.database.background(|session| {
            let mut rounds = 0;
            while session.number("SELECT count(*) FROM partition_plan() WHERE action = 'delete'") > 0 {
                session.exec("SELECT rotate_partitions()");
                rounds += 1;
                assert!(rounds < 100);
            }
        })
    });
    both.into_iter().for_each(|one| one.join());
    assert_eq!((day.of_tenant(1), day.of_tenant(2)), (0, EACH));
    assert_eq!(day.state("removed_rows"), EACH.to_string());
}

#[test]
fn open_partitions_and_those_of_now_are_left_alone() {
    let mut day = OldDay::new(Cluster::builder());
    day.session.exec(
        "INSERT INTO entity_values_ts (tenant_id, entity_id, attribute_id, value_num) VALUES (1, 1, 1, 1);
         SELECT set_retention('1 microsecond', 1); UPDATE partition_state SET seal = 'sealing' WHERE seal = 'sealed'",
    );
    assert_eq!(day.session.column(ACTIONS), [""; 0]);
    day.seal();
    assert_eq!(day.session.column(ACTIONS), ["delete"]);
    day.session.exec("SELECT rotate_partitions()");
    assert_eq!(day.of_tenant(1), 1, "that of now");
}

#[test]
fn subscribers_do_not_see_it_unless_that_is_wished() {
    let mut day = OldDay::new(Cluster::builder().set("wal_level", "logical"));
    day.session.exec(
        "SELECT set_retention('30 days', 1); CREATE PUBLICATION additions FOR ALL TABLES WITH (publish = 'insert')",
    );
    assert_eq!(day.session.column(ACTIONS), ["delete"]);
    for publication in [
        "FOR ALL TABLES",
        "FOR TABLE entity_values_ts",
        "FOR TABLES IN SCHEMA telemetry WITH (publish_via_partition_root)",
    ] {
        day.session
            .exec(&format!("CREATE PUBLICATION \"All\" {publication}"));
        assert_eq!(day.session.column(ACTIONS), ["keep"], "{publication}");
        let reason = "SELECT reason FROM partition_plan() WHERE action = 'keep'";
        let reason = day.session.text(reason);
        assert!(reason.contains("publication \"All\""), "{reason}");
        assert!(reason.contains("retention_publishes_deletes"), "{reason}");
        assert!(day.session.rows(DELETED).is_empty());
        day.session.exec("DROP PUBLICATION \"All\"");
    }
    // Wished, and then the server wants to know by what the rows are told apart.
    day.session.exec("CREATE PUBLICATION everything FOR ALL TABLES");
    day.cluster
        .set_and_reload("pg_telemetry.retention_publishes_deletes", "on");
    let rows = day.session.rows(DELETED);
    assert_eq!(rows[0][0], "failed");
    assert!(rows[0][1].contains("replica identity"), "{rows:?}");
    let partition = day.partition.clone();
    day.session
        .exec(&format!("ALTER TABLE {partition} REPLICA IDENTITY FULL"));
    assert_eq!(day.session.rows(DELETED)[0][0], "done");
    assert_eq!((day.of_tenant(1), day.of_tenant(2)), (0, EACH));
}

#[test]
fn a_dump_from_the_middle_of_it_goes_on_where_it_is_restored() {
    let mut day = OldDay::new(Cluster::builder());
    let partition = day.partition.clone();
    day.session.exec("SELECT set_retention('30 days', 1)");
    day.session.exec(&format!(
        "DELETE FROM {partition} WHERE tenant_id = 1 AND ctid < '(60,0)';
         UPDATE partition_state SET removed_tenants = '{{1}}', removed_all_but = false, removal_block = 60,
                removal_sealed_at = sealed_at WHERE partition = '{partition}'"
    ));
    let dump = day.database.tool("pg_dump", ["-d", "old_day"], "").success();
    let restored = day.cluster.create_database("restored");
    restored.psql(&dump).success();
    let mut session = restored.connect();
    session.exec("SET search_path = telemetry");
    let count = |session: &mut cluster_tests::Session, tenant: i64| {
        session.number(&format!(
            "SELECT count(*) FROM entity_values_ts WHERE tenant_id = {tenant}"
        ))
    };
    let left = count(&mut session, 1);
    assert!(left > 0 && left < EACH);
    // It is another table by its number; it is sealed anew, and what was done counts for nothing.
    session.exec("SELECT rotate_partitions()");
    session.exec(&format!(
        "UPDATE partition_state SET seal = 'sealed', sealed_at = now() WHERE partition = '{partition}'"
    ));
    session.exec("SELECT rotate_partitions()");
    assert_eq!((count(&mut session, 1), count(&mut session, 2)), (0, EACH));
}

#[test]
fn after_a_jump_of_the_clock_by_a_year_nothing_goes_and_that_is_told() {
    const YEAR: i64 = 366 * 24 * 3600;
    for at_start in [false, true] {
        let mut day = OldDay::new(Cluster::builder().preload());
        day.session
            .exec("SELECT set_retention('200 days'); SELECT set_retention('100 days', 1)");
        day.cluster.stop(Stop::Fast);
        let clock = day.cluster.clock();
        if at_start {
            clock.set_ahead(YEAR);
        }
        day.cluster.start();
        workers::wait_for_start(&day.cluster, "old_day");
        day.session = day.database.connect();
        clock.set_ahead(YEAR);
        let told = "SELECT coalesce(detail, '') FROM worker_status WHERE task = 'rotate'";
        let cluster = day.cluster.clone();
        eventually(SOON, "it is told", || {
            cluster.reload();
            match day.session.text(told) {
                text if text.contains("the clock has jumped") => Ok(()),
                text => Err(text),
            }
        });
        let actions =
            "SELECT DISTINCT action FROM partition_plan() WHERE action NOT IN ('create', 'seal', 'analyze')";
        assert_eq!(day.session.column(actions), ["keep"], "at start: {at_start}");
        day.session.exec("SELECT rotate_partitions()");
        assert_eq!((day.of_tenant(1), day.of_tenant(2)), (EACH, EACH));
    }
}
