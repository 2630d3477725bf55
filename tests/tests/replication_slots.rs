//! Who replicates, how far behind they are, and what their slots hold back.

use std::time::Duration;

use cluster_tests::replicas::{STARTED, becomes_within, pair};
use cluster_tests::{Cluster, SOON, Session, eventually};

#[test]
fn the_lag_of_each_standby_is_told_by_stage_in_true_seconds() {
    let mut pair = pair();
    let row = |session: &mut Session| {
        session.rows(
            "SELECT standby, state, replay_lag_seconds, flush_lag_seconds, replay_lag_bytes FROM telemetry.replication_lag",
        )
    };
    // It was fresh before it came over the wire.
    eventually(STARTED, "one standby that streams", || {
        match row(&mut pair.session) {
            rows if rows.len() == 1 && rows[0][1] == "streaming" => Ok(()),
            rows => Err(rows),
        }
    });
    pair.replica.exec("SELECT pg_wal_replay_pause()");
    std::thread::sleep(Duration::from_millis(4500));
    let seen = row(&mut pair.session);
    let number = |column: usize| seen[0][column].parse::<f64>().expect("a number");
    assert!((3.0..15.0).contains(&number(2)), "{seen:?}");
    assert!(number(3) < 2.5, "what is flushed there is not late: {seen:?}");
    assert!(number(4) > 0.0);
    pair.replica.exec("SELECT pg_wal_replay_resume()");

    // On a standby it shows those below it.
    let cascade = pair.standby.standby();
    becomes_within(STARTED, &mut cascade.connect("fleet"), "fresh");
    assert_eq!(row(&mut pair.replica).len(), 1);
    assert_eq!(
        pair.replica
            .number("SELECT count(*) FROM telemetry.replication_slots_health"),
        0
    );
    // Whoever may look needs no other right.
    let mut monitor = pair
        .database
        .connect_as(&pair.database.create_login(Some("telemetry_admin")));
    assert_eq!(row(&mut monitor)[0][1], "streaming");
}

#[test]
fn a_slot_that_nobody_reads_is_warned_of_before_it_is_lost() {
    let cluster = Cluster::builder()
        .preload()
        .set("max_slot_wal_keep_size", "160MB")
        .set("max_wal_size", "64MB")
        .set("min_wal_size", "32MB")
        .start();
    let database = cluster.create_database("fleet");
    let mut session = database.install();
    session.exec("SELECT pg_create_physical_replication_slot('left_behind', true)");
    session.exec("SELECT pg_create_physical_replication_slot('unused')");
    session.exec("CREATE TABLE load (t text)");
    let look = "SELECT verdict, wal_status, lag_seconds, seconds_left, retained_bytes, remedy
                FROM replication_slots_health WHERE slot_name = 'left_behind'";
    // Right after the installation the WAL seems to grow fast.
    eventually(Duration::from_secs(60), "all is well with it", || {
        let row = session.rows(look).swap_remove(0);
        if row[0] == "ok" { Ok(()) } else { Err(row) }
    });
    let mut verdicts: Vec<String> = vec!["ok".into()];
    eventually(Duration::from_secs(60), "the slot is lost", || {
        session.exec(
            "TRUNCATE load; INSERT INTO load SELECT repeat(md5(n::text), 30) FROM generate_series(1, 6000) n",
        );
        let row = session.rows(look).swap_remove(0);
        assert_eq!(row[5] == "<null>", row[0] == "ok", "{row:?}");
        if verdicts.last() != Some(&row[0]) {
            verdicts.push(row[0].clone());
        }
        session.exec("CHECKPOINT");
        if row[0] == "lost" { Ok(()) } else { Err(row) }
    });
    assert!(verdicts.contains(&"critical".to_owned()), "{verdicts:?}");
    assert_eq!(
        session.rows("SELECT kind, active, retained_bytes, verdict FROM replication_slots_health WHERE slot_name = 'unused'"),
        [["physical", "f", "<null>", "ok"]]
    );
}

#[test]
fn the_lag_of_a_slot_is_known_in_seconds() {
    let cluster = Cluster::builder().preload().set("wal_level", "logical").start();
    let database = cluster.create_database("fleet");
    let mut session = database.install();
    session.exec("SELECT pg_create_logical_replication_slot('reader', 'test_decoding')");
    let look = "SELECT lag_seconds > 3, kind, plugin, database, active, inactive_since IS NOT NULL, catalog_xmin_age >= 0
                FROM replication_slots_health";
    eventually(SOON, "a lag of seconds", || {
        let row = session.rows(look).swap_remove(0);
        if row == ["t", "logical", "test_decoding", "fleet", "f", "t", "t"] {
            Ok(())
        } else {
            Err(row)
        }
    });
    // It reads, and is behind no more; on a database where nothing but the heartbeat is written.
    session.exec("SELECT count(*) FROM pg_logical_slot_get_changes('reader', NULL, NULL)");
    assert!(session.is_true("SELECT lag_seconds < 2.5 FROM replication_slots_health"));
    session.exec("SELECT pg_drop_replication_slot('reader')");
}

#[test]
fn after_a_failover_a_slot_is_made_again_and_judged_there() {
    let mut pair = pair();
    let make = "SELECT pg_create_physical_replication_slot('consumer', true)";
    let look = "SELECT slot_name, verdict, lag_seconds IS NOT NULL FROM telemetry.replication_slots_health";
    pair.session.exec(make);
    assert_eq!(pair.session.rows(look)[0][0], "consumer");
    pair.wire.cut();
    pair.standby.promote();
    // Slots stay behind.
    assert_eq!(pair.replica.rows(look).len(), 0);
    pair.replica.exec(make);
    eventually(STARTED, "it is judged by heartbeats of the new timeline", || {
        let beat = pair
            .replica
            .text("SELECT timeline FROM telemetry.replication_heartbeat WHERE slot = 0");
        let rows = pair.replica.rows(look);
        if beat == "2" && rows == [["consumer", "ok", "t"]] {
            Ok(())
        } else {
            Err((beat, rows))
        }
    });
    assert_eq!(pair.session.rows(look)[0][0], "consumer");
}
