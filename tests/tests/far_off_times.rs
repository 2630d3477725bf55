//! Rows for times without a partition: inside the accepted window they make it, so many at a time, and none of them is lost.

use cluster_tests::readings::{DOORS, attribute, everywhere, facts};
use cluster_tests::{Cluster, NULL};

#[test]
fn ten_thousand_times_over_a_week_of_hours_make_so_many_partitions_a_flush() {
    let cluster = Cluster::builder()
        .set("pg_telemetry.partition_interval", "hour")
        .start();
    let database = cluster.create_database("hours");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    for (door, first) in DOORS.into_iter().zip([0, 10_000]) {
        // Every 60.47 seconds: each hour of the week has some, and none is outside of it.
        session.exec(&format!(
            "INSERT INTO {door} (tenant_id, entity_id, ingested_at, attribute_id, value_num)
             SELECT 1, {first} + n, now() - (n * 60.47 + 1) * interval '1 second', {id}, 0 FROM generate_series(1, 10000) n"
        ));
        let leaves = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'entity_values_ts'::regclass";
        let mut flushes = 0;
        loop {
            let before = session.number(leaves);
            let stored = session.number("SELECT stage_flush()");
            flushes += 1;
            let made = session.number(leaves) - before;
            let last = session
                .rows(
                    "SELECT rows_waiting, waiting_reason, rows_flushed, partitions_created FROM last_flush()",
                )
                .swap_remove(0);
            assert_eq!(last[2..], [stored.to_string(), made.to_string()]);
            assert!(made <= 100, "{made} partitions in one flush");
            assert_eq!(everywhere(&mut session).0, first + 10_000);
            if last[0] == "0" {
                assert_eq!(last[1], NULL);
                break;
            }
            assert!(last[1].contains("more than 100 partitions"), "{last:?}");
            assert!(flushes < 5, "{last:?}");
        }
        // The second door finds the partitions of the first.
        assert_eq!(flushes, if first == 0 { 2 } else { 1 }, "{door}");
        assert_eq!(facts(&mut session), (first + 10_000, first + 10_000));
    }
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 0);
}
