//! Tenants with a shorter time than the partition they are in: their readings are deleted, and its room is given back.

use cluster_tests::old_day::{EACH, OldDay};
use cluster_tests::{Cluster, SOON, eventually, workers};

const PLAN: &str = "SELECT action, reason FROM partition_plan() WHERE action <> 'create' ORDER BY action";

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
    eventually(SOON, "tenant 1 is gone", || match day.session.number(left) {
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
