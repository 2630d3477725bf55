//! Who replicates, how far behind they are, and what their slots hold back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_tests::campaign::{Bell, announce, soaking};
use cluster_tests::readings::{attribute, stage};
use cluster_tests::replicas::{FACTS_ELSEWHERE, Pair, STARTED, becomes_within, pair, pair_with, subscribe};
use cluster_tests::{Cluster, NULL, SOON, Session, eventually};

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

fn keeps_little_wal(for_slots: &str) -> Arc<Cluster> {
    Cluster::builder()
        .preload()
        .set("max_slot_wal_keep_size", for_slots)
        .set("max_wal_size", "64MB")
        .set("min_wal_size", "32MB")
        .start()
}

#[test]
fn a_slot_that_nobody_reads_is_warned_of_before_it_is_lost() {
    let cluster = keeps_little_wal("160MB");
    let database = cluster.create_database("fleet");
    let mut session = database.install();
    session.exec("SELECT pg_create_physical_replication_slot('left_behind', true)");
    session.exec("SELECT pg_create_physical_replication_slot('unused')");
    session.exec("CREATE TABLE load (t text)");
    let look = "SELECT verdict, wal_status, lag_seconds, seconds_left, retained_bytes, remedy
                FROM replication_slots_health WHERE slot_name = 'left_behind'";
    assert_eq!(session.rows(look)[0][0], "ok");
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

/// Rates that were seen over seconds would tell of a disk that is full in a minute, right after the installation.
#[test]
fn a_new_slot_on_a_server_that_was_just_set_up_is_well() {
    let cluster = Cluster::builder()
        .preload()
        .set("max_slot_wal_keep_size", "2GB")
        .start();
    let database = cluster.create_database("fleet");
    let mut session = database.install();
    session.exec("SELECT pg_create_physical_replication_slot('fresh', true)");
    session
        .exec("CREATE TABLE load AS SELECT repeat(md5(n::text), 30) AS t FROM generate_series(1, 30000) n");
    let look = "SELECT verdict, wal_bytes_per_second, seconds_left, retained_bytes > 20000000, count(*) FILTER (WHERE h.slot = 0) > 0
                FROM replication_slots_health LEFT JOIN replication_heartbeat h ON true GROUP BY 1, 2, 3, 4";
    eventually(STARTED, "a heartbeat", || {
        let rows = session.rows(look);
        // Nothing but these verdicts on the way there.
        assert_eq!(rows[0][..4], ["ok", "<null>", "<null>", "t"], "{rows:?}");
        if rows[0][4] == "t" { Ok(()) } else { Err(rows) }
    });
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(session.rows(look)[0][..4], ["ok", "<null>", "<null>", "t"]);
    // Once there is enough to tell it by, there is a rate.
    session
        .exec("UPDATE replication_heartbeat SET written_at = written_at - interval '2 min' WHERE slot > 60");
    assert!(
        session.is_true("SELECT wal_bytes_per_second > 0 AND seconds_left > 0 FROM replication_slots_health")
    );
}

fn is_17(session: &mut Session) -> bool {
    let is = session.is_true("SELECT current_setting('server_version_num')::int >= 170000");
    if !is {
        announce("SKIPPED: slots that standbys synchronise: PostgreSQL 17 has them");
    }
    is
}

/// PostgreSQL 17: a consumer goes on, after a failover, from the slot that the standby has kept up to date.
#[test]
fn slots_that_are_synchronised_survive_a_failover() {
    let mut pair = pair_with(Cluster::builder().set("wal_level", "logical"));
    if !is_17(&mut pair.session) {
        return;
    }
    let Pair {
        session,
        replica,
        primary,
        standby,
        ..
    } = &mut pair;
    session
        .exec("SELECT pg_create_physical_replication_slot('south'); SELECT create_cdc_publications('fleet')");
    for (name, value) in [
        ("primary_slot_name", "south"),
        ("hot_standby_feedback", "on"),
        ("sync_replication_slots", "on"),
    ] {
        standby.set(name, value);
    }
    replica.exec(&format!(
        "ALTER SYSTEM SET primary_conninfo = 'host={} port=5432 user=postgres dbname=postgres'",
        primary.socket_dir().display()
    ));
    standby.reload();
    session.exec("SELECT pg_create_logical_replication_slot('kept', 'pgoutput', false, false, true)");
    session.exec("SELECT pg_create_logical_replication_slot('not_kept', 'pgoutput')");
    let target = Cluster::builder().start();
    let mut copy = target.connect("postgres");
    copy.exec("CREATE SCHEMA telemetry; SET search_path = telemetry");
    copy.exec(FACTS_ELSEWHERE);
    subscribe(&mut copy, primary, "fleet_facts WITH (failover = true)");
    let id = attribute(session, "temperature", "number");
    stage(session, "entity_values_ingest", id, 1, 100);
    let copied = |copy: &mut Session, rows: i64| {
        eventually(SOON * 3, &format!("{rows} rows in the copy"), || {
            match copy.number("SELECT count(*) FROM entity_values_ts") {
                seen if seen == rows => Ok(()),
                seen => Err(seen),
            }
        });
    };
    copied(&mut copy, 100);

    let slots = "SELECT slot_name, kind, failover, synced, verdict, invalidation_reason FROM telemetry.replication_slots_health ORDER BY 1";
    let row = |name: &str, kind: &str, failover: &str, synced: &str| {
        [name, kind, failover, synced, "ok", "<null>"]
            .map(str::to_owned)
            .to_vec()
    };
    assert_eq!(
        session.rows(slots),
        [
            row("kept", "logical", "t", "f"),
            row("not_kept", "logical", "f", "f"),
            row("south", "physical", "f", "f"),
            row("warehouse", "logical", "t", "f"),
        ]
    );
    let on_standby = [
        row("kept", "logical", "t", "t"),
        row("warehouse", "logical", "t", "t"),
    ];
    let ready = "SELECT count(*) FROM pg_replication_slots WHERE synced AND NOT temporary AND invalidation_reason IS NULL";
    eventually(SOON * 3, "both slots on the standby", || {
        // What keeps a slot back moves, so that it can be taken over.
        session.exec("SELECT pg_logical_slot_get_binary_changes('kept', NULL, NULL, 'proto_version', '1', 'publication_names', 'fleet_facts')");
        session.exec("SELECT pg_log_standby_snapshot()");
        match replica.number(ready) {
            2 => Ok(()),
            _ => Err(replica.rows(slots)),
        }
    });
    assert_eq!(replica.rows(slots), on_standby);
    stage(session, "entity_values_ingest_durable", id, 101, 150);
    copied(&mut copy, 150);
    standby.catch_up_with(primary);
    std::thread::sleep(Duration::from_secs(2));

    primary.crash();
    standby.promote();
    copy.exec(&format!(
        "ALTER SUBSCRIPTION warehouse CONNECTION 'host={} port=5432 user=postgres dbname=fleet'",
        standby.socket_dir().display()
    ));
    stage(replica, "telemetry.entity_values_ingest", id, 151, 200);
    copied(&mut copy, 200);
    assert_eq!(
        copy.number("SELECT count(DISTINCT entity_id) FROM entity_values_ts"),
        200
    );
    let there = replica.rows("SELECT verdict, failover, active FROM telemetry.replication_slots_health WHERE slot_name = 'warehouse'");
    assert_eq!(there, [["ok", "t", "t"]]);
    copy.exec("DROP SUBSCRIPTION warehouse");
}

/// PostgreSQL 17 says why it has given a slot up; some reasons have nothing to do with WAL.
#[test]
fn a_slot_that_conflicts_with_replay_is_lost_with_its_reason() {
    let mut pair = pair_with(Cluster::builder().set("wal_level", "logical"));
    if !is_17(&mut pair.session) {
        return;
    }
    let making = pair.standby.connect("fleet");
    let making = std::thread::spawn(move || {
        let mut making = making;
        making.exec("SELECT pg_create_logical_replication_slot('on_standby', 'test_decoding')");
    });
    eventually(SOON, "the slot is made", || {
        pair.session.exec("SELECT pg_log_standby_snapshot()");
        if making.is_finished() { Ok(()) } else { Err(()) }
    });
    making.join().expect("a slot");
    let look = "SELECT verdict, invalidation_reason FROM telemetry.replication_slots_health WHERE slot_name = 'on_standby'";
    assert_eq!(pair.replica.rows(look), [["ok", "<null>"]]);
    // Without feedback the rows of catalogs that it may need go.
    eventually(SOON, "a conflict", || {
        // One by one: nobody can have seen what a single transaction makes and drops.
        for statement in [
            "CREATE TABLE gone ()",
            "DROP TABLE gone",
            "VACUUM pg_class, pg_attribute, pg_type, pg_depend",
        ] {
            pair.session.exec(statement);
        }
        match pair.replica.rows(look) {
            rows if rows == [["lost", "rows_removed"]] => Ok(()),
            rows => Err(rows),
        }
    });
    assert!(
        pair.replica
            .is_true("SELECT remedy IS NOT NULL FROM telemetry.replication_slots_health")
    );
}

/// At a steady rate the time that is left is right to a fifth. Takes two minutes: a rate needs one to be known.
#[test]
fn the_time_that_is_left_comes_true() {
    if !soaking() {
        announce("SKIPPED: the time that is left of a slot: make soak");
        return;
    }
    let cluster = keeps_little_wal("240MB");
    let database = cluster.create_database("fleet");
    let mut session = database.install();
    session.exec("SELECT pg_create_physical_replication_slot('left_behind', true)");
    let bell = Bell::default();
    let writing = bell.clone();
    let writer = database.background(move |session| {
        let start = Instant::now();
        for step in 1.. {
            if !writing.silent() {
                break;
            }
            session.exec("SELECT pg_logical_emit_message(false, 'load', repeat('x', 250000))");
            std::thread::sleep(
                (start + Duration::from_millis(100 * step)).saturating_duration_since(Instant::now()),
            );
        }
    });
    let look = "SELECT seconds_left, verdict FROM replication_slots_health";
    let row = eventually(Duration::from_secs(90), "a time that is left", || {
        let row = session.rows(look).swap_remove(0);
        if row[0] == NULL { Err(row) } else { Ok(row) }
    });
    let (start, promised) = (Instant::now(), row[0].parse::<f64>().expect("a number"));
    assert_eq!(row[1], "critical", "{row:?}");
    eventually(Duration::from_secs(120), "the slot is lost", || {
        session.exec("CHECKPOINT");
        let row = session.rows(look).swap_remove(0);
        if row[1] == "lost" { Ok(()) } else { Err(row) }
    });
    let taken = start.elapsed().as_secs_f64();
    bell.ring();
    writer.join();
    println!("{promised} s were left, and it took {taken} s");
    assert!(
        (0.8 * promised..1.2 * promised).contains(&taken),
        "{promised} s were left, and it took {taken} s"
    );
}
