//! What a standby says about itself while things go wrong around it.

use std::path::Path;
use std::time::Duration;

use cluster_tests::replicas::{
    STARTED, becomes, becomes_not, becomes_within, every_read_works, lag, pair, serves,
};
use cluster_tests::{Cluster, Stop, eventually, workers};

#[test]
fn a_primary_and_a_standby_that_are_well() {
    let mut pair = pair();
    let row = becomes(&mut pair.session, "fresh");
    assert_eq!(row[1..6], ["primary", "0", "0", "<null>", "<null>"]);
    let row = becomes(&mut pair.replica, "fresh");
    assert_eq!(
        (row[1].as_str(), row[4].as_str(), row[5].as_str()),
        ("standby", "streaming", "f")
    );
    assert!(lag(&mut pair.replica) < 2.0);
    assert_eq!(
        pair.replica.text("SELECT data_source FROM telemetry.freshness()"),
        "north"
    );

    // The server below the standby, two hops from the primary.
    let cascade = pair.standby.standby();
    let mut leaf = cascade.connect("fleet");
    becomes_within(STARTED, &mut leaf, "fresh");
    // An idle primary stays fresh: nothing but the heartbeat is written.
    std::thread::sleep(Duration::from_secs(4));
    becomes(&mut pair.replica, "fresh");
    becomes(&mut leaf, "fresh");
    serves(&mut pair.session, "ttt");
    for session in [&mut pair.replica, &mut leaf] {
        serves(session, "ftt");
        every_read_works(session);
    }

    // The wire between the two above it is cut: the leaf hears its own sender all the time, and is stale all the same.
    pair.wire.cut();
    becomes(&mut pair.replica, "disconnected");
    assert_ne!(becomes_not(&mut leaf, "fresh")[0], "fresh");
    let cut = lag(&mut leaf);
    std::thread::sleep(Duration::from_millis(1000));
    assert!(lag(&mut leaf) >= cut + 0.9, "the lag of a leaf stands still");
    for session in [&mut pair.replica, &mut leaf] {
        serves(session, "fft");
        every_read_works(session);
    }
    pair.wire.mend();
    becomes(&mut pair.replica, "fresh");
    becomes(&mut leaf, "fresh");
    serves(&mut leaf, "ftt");
}

#[test]
fn a_stopped_receiver_and_a_cut_network() {
    let mut pair = pair();
    pair.standby.stream_from(Path::new("/nowhere"));
    let row = becomes(&mut pair.replica, "disconnected");
    assert!(!row[6].is_empty());
    // All that was received is replayed, and still the lag grows.
    let before = lag(&mut pair.replica);
    pair.session.exec("CREATE TABLE more (n int)");
    std::thread::sleep(Duration::from_millis(1500));
    assert!(lag(&mut pair.replica) >= before + 1.4);
    serves(&mut pair.replica, "fft");
    every_read_works(&mut pair.replica);
    pair.standby.stream_from(pair.wire.dir());
    becomes_within(STARTED, &mut pair.replica, "fresh");
    serves(&mut pair.replica, "ftt");

    // Nobody is told of this one; the receiver believes that it streams.
    pair.wire.cut();
    let row = becomes(&mut pair.replica, "disconnected");
    assert_eq!(row[4], "streaming");
    serves(&mut pair.replica, "fft");
    pair.wire.mend();
    becomes(&mut pair.replica, "fresh");

    // The primary dies.
    pair.primary.crash();
    becomes(&mut pair.replica, "disconnected");
    serves(&mut pair.replica, "fft");
    every_read_works(&mut pair.replica);
}

#[test]
fn replay_that_is_paused_or_slow() {
    let mut pair = pair();
    pair.replica.exec("SELECT pg_wal_replay_pause()");
    let row = becomes(&mut pair.replica, "paused");
    assert_eq!(row[5], "t");
    std::thread::sleep(Duration::from_millis(2500));
    let row = becomes(&mut pair.replica, "paused");
    // What has arrived and is not replayed holds later beats: a lower bound is known as well.
    assert!(row[3].parse::<f64>().expect("a number") > 1.0, "{row:?}");
    assert!(row[9].parse::<i64>().expect("a number") > 0, "{row:?}");
    serves(&mut pair.replica, "fft");
    every_read_works(&mut pair.replica);
    pair.replica.exec("SELECT pg_wal_replay_resume()");
    becomes(&mut pair.replica, "fresh");
    serves(&mut pair.replica, "ftt");

    // A reader holds a snapshot that replay has to wait for.
    pair.session
        .exec("CREATE TABLE pinned (n int); INSERT INTO pinned SELECT generate_series(1, 1000)");
    pair.standby.set_and_reload("max_standby_streaming_delay", "-1");
    pair.standby.catch_up_with(&pair.primary);
    let mut reader = pair.standby.connect("fleet");
    reader.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pinned");
    pair.session.exec("DROP TABLE pinned");
    let row = becomes(&mut pair.replica, "stale");
    assert!(row[6].contains("replay is behind"), "{row:?}");
    // In the snapshot of the reader, too: it is as old as what it sees.
    assert!(lag(&mut reader) >= 2.0);
    serves(&mut pair.replica, "fft");
    reader.exec("ROLLBACK");
    becomes(&mut pair.replica, "fresh");
    serves(&mut pair.replica, "ftt");
}

#[test]
fn a_primary_whose_keeper_does_not_write() {
    let mut pair = pair();
    pair.primary
        .set_and_reload("pg_telemetry.background_workers", "off");
    workers::wait_for_end(&pair.primary, "fleet");
    // Other work goes on, so the standby hears its sender and replays all it gets.
    let writer = pair.database.background(|session| {
        for n in 0..100 {
            session.exec(&format!("CREATE TABLE t{n} (); DROP TABLE t{n}"));
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let row = becomes(&mut pair.replica, "stale");
    assert!(row[3] == "0" || row[9] != "0", "{row:?}");
    serves(&mut pair.replica, "fft");
    writer.join();
    // Then nothing does, and silence is silence.
    becomes(&mut pair.replica, "disconnected");
    pair.primary
        .set_and_reload("pg_telemetry.background_workers", "on");
    becomes_within(STARTED, &mut pair.replica, "fresh");
    std::thread::sleep(Duration::from_secs(3));
    becomes(&mut pair.replica, "fresh");
}

#[test]
fn a_promotion_with_the_old_primary_still_up_and_its_return() {
    let mut pair = pair();
    pair.wire.cut();
    pair.standby.promote();
    let row = becomes(&mut pair.replica, "fresh");
    assert_eq!(
        (row[1].as_str(), row[2].as_str(), row[7].as_str()),
        ("primary", "0", "2")
    );
    every_read_works(&mut pair.replica);
    // The old one knows nothing of it; its timeline tells them apart.
    pair.session.exec("CREATE TABLE abandoned ()");
    let row = becomes(&mut pair.session, "fresh");
    assert_eq!((row[1].as_str(), row[7].as_str()), ("primary", "1"));
    for session in [&mut pair.session, &mut pair.replica] {
        serves(session, "ttt");
    }

    // It comes back as a standby of the new one.
    pair.wire.mend();
    pair.primary.stop(Stop::Fast);
    pair.primary.rewind_to(&pair.standby);
    pair.primary.start();
    let mut returned = pair.primary.connect("fleet");
    eventually(STARTED, "it follows the new timeline", || {
        let row = becomes_within(STARTED, &mut returned, "fresh");
        let seen = (row[1].as_str(), row[7].as_str());
        if seen == ("standby", "2") {
            Ok(())
        } else {
            Err(row)
        }
    });
    serves(&mut returned, "ftt");
    every_read_works(&mut returned);
}

#[test]
fn a_standby_that_starts_up_and_finds_nobody() {
    let pair = pair();
    pair.standby.stop(Stop::Fast);
    pair.wire.cut();
    std::thread::sleep(Duration::from_millis(3500));
    pair.standby.start();
    let mut replica = pair.standby.connect("fleet");
    let row = becomes(&mut replica, "disconnected");
    assert!(lag(&mut replica) >= 3.0, "{row:?}");
    serves(&mut replica, "fft");
    every_read_works(&mut replica);
    pair.wire.mend();
    becomes_within(STARTED, &mut replica, "fresh");
    serves(&mut replica, "ftt");
}

#[test]
fn without_a_heartbeat_nothing_is_known() {
    let primary = Cluster::builder().start();
    let database = primary.create_database("fleet");
    let mut session = database.install();
    let standby = primary.standby();
    let mut replica = standby.connect("fleet");
    let row = becomes(&mut replica, "unknown");
    assert_eq!(row[2..4], ["<null>", "<null>"]);
    serves(&mut replica, "fff");
    every_read_works(&mut replica);
    session.exec("SELECT heartbeat()");
    becomes_not(&mut replica, "unknown");
    session.exec("DROP TABLE replication_heartbeat");
    becomes(&mut replica, "unknown");
    session.exec("SELECT setup(); SELECT heartbeat()");
    becomes_not(&mut replica, "unknown");
}

#[test]
fn it_is_cheap_enough_for_every_request() {
    let mut pair = pair();
    for session in [&mut pair.session, &mut pair.replica] {
        let micros: f64 = session
            .text(
                "SELECT 1e6 * extract(epoch FROM clock_timestamp() - statement_timestamp()) / count(verdict)
                 FROM (SELECT (telemetry.freshness()).verdict FROM generate_series(1, 20000) OFFSET 0) AS calls",
            )
            .parse()
            .expect("a number");
        println!("freshness(): {micros} µs");
        assert!(micros < 250.0, "freshness() takes {micros} µs");
    }
}
