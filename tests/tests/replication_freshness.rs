//! What standbys say about themselves while things go wrong around them: a primary, two standbys, and a server below one of them.

use std::path::Path;
use std::time::Duration;

use cluster_tests::replicas::{
    Fleet, STARTED, becomes, becomes_not, becomes_within, every_read_works, fleet, fleet_with, is_well, lag,
    pair, serves,
};
use cluster_tests::{Cluster, Session, Stop, eventually, workers};

#[test]
fn all_that_are_well() {
    let Fleet {
        mut pair,
        other,
        leaf,
    } = fleet();
    let row = becomes(&mut pair.session, "fresh");
    assert_eq!(row[1..6], ["primary", "0", "0", "<null>", "<null>"]);
    serves(&mut pair.session, "ttt");
    assert_eq!(
        pair.replica.text("SELECT data_source FROM telemetry.freshness()"),
        "north"
    );
    let mut standbys = [pair.replica, other.session, leaf.session];
    for session in &mut standbys {
        let row = becomes(session, "fresh");
        assert_eq!(
            (row[1].as_str(), row[4].as_str(), row[5].as_str()),
            ("standby", "streaming", "f")
        );
        assert!(lag(session) < 2.0);
    }
    // An idle primary stays fresh: nothing but the heartbeat is written.
    std::thread::sleep(Duration::from_secs(4));
    for session in &mut standbys {
        is_well(session);
    }
}

#[test]
fn a_stopped_receiver() {
    let Fleet {
        mut pair,
        mut other,
        mut leaf,
    } = fleet();
    pair.standby.stream_from(Path::new("/nowhere"));
    let row = becomes(&mut pair.replica, "disconnected");
    assert!(!row[6].is_empty());
    // The one below hears its own sender all the time, and is old all the same.
    assert_ne!(becomes_not(&mut leaf.session, "fresh")[0], "fresh");
    // All that was received is replayed, and still the lag grows.
    let before = [lag(&mut pair.replica), lag(&mut leaf.session)];
    pair.session.exec("CREATE TABLE more (n int)");
    std::thread::sleep(Duration::from_millis(1500));
    assert!(lag(&mut pair.replica) >= before[0] + 1.4);
    assert!(lag(&mut leaf.session) >= before[1] + 1.4);
    for session in [&mut pair.replica, &mut leaf.session] {
        serves(session, "fft");
        every_read_works(session);
    }
    is_well(&mut other.session);
    pair.standby.stream_from(pair.wire.dir());
    becomes_within(STARTED, &mut pair.replica, "fresh");
    is_well(&mut pair.replica);
    is_well(&mut leaf.session);
}

#[test]
fn a_cut_network_and_a_primary_that_dies() {
    let Fleet {
        mut pair,
        mut other,
        mut leaf,
    } = fleet();
    // Nobody is told of it; the receiver believes that it streams.
    pair.wire.cut();
    let row = becomes(&mut pair.replica, "disconnected");
    assert_eq!(row[4], "streaming");
    assert_ne!(becomes_not(&mut leaf.session, "fresh")[0], "fresh");
    for session in [&mut pair.replica, &mut leaf.session] {
        serves(session, "fft");
        every_read_works(session);
    }
    is_well(&mut other.session);
    pair.wire.mend();
    is_well(&mut pair.replica);
    is_well(&mut leaf.session);

    pair.primary.crash();
    becomes(&mut pair.replica, "disconnected");
    becomes(&mut other.session, "disconnected");
    assert_ne!(becomes_not(&mut leaf.session, "fresh")[0], "fresh");
    for session in [&mut pair.replica, &mut other.session, &mut leaf.session] {
        serves(session, "fft");
        every_read_works(session);
    }
}

#[test]
fn replay_that_is_paused() {
    let Fleet {
        mut pair,
        mut other,
        mut leaf,
    } = fleet();
    pair.replica.exec("SELECT pg_wal_replay_pause()");
    let row = becomes(&mut pair.replica, "paused");
    assert_eq!(row[5], "t");
    std::thread::sleep(Duration::from_millis(4000));
    let row = becomes(&mut pair.replica, "paused");
    // What has arrived and is not replayed holds later beats: a lower bound is known as well.
    assert!(row[3].parse::<f64>().expect("a number") > 1.0, "{row:?}");
    assert!(row[9].parse::<i64>().expect("a number") > 0, "{row:?}");
    serves(&mut pair.replica, "fft");
    every_read_works(&mut pair.replica);
    // It passes on what it does not replay.
    is_well(&mut leaf.session);
    is_well(&mut other.session);
    pair.replica.exec("SELECT pg_wal_replay_resume()");
    is_well(&mut pair.replica);
}

#[test]
fn replay_that_is_slow() {
    let Fleet {
        mut pair,
        mut other,
        mut leaf,
    } = fleet();
    // A reader holds a snapshot that replay has to wait for. Nobody else reads that table.
    pair.session
        .exec("CREATE TABLE public.pinned (n int); INSERT INTO pinned SELECT generate_series(1, 1000)");
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
    every_read_works(&mut pair.replica);
    is_well(&mut leaf.session);
    is_well(&mut other.session);
    reader.exec("ROLLBACK");
    is_well(&mut pair.replica);
}

/// What the primary clears away of the heartbeat's old rows, a query on a standby might still see.
#[test]
fn a_long_query_holds_replay_up_unless_the_standby_tells_of_it() {
    let mut pair = pair();
    pair.standby.set_and_reload("max_standby_streaming_delay", "-1");
    let mut reader = pair.standby.connect("fleet");
    let report = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM telemetry.attributes";
    let beat_often = |session: &mut Session| (0..300).for_each(|_| session.exec("SELECT heartbeat()"));
    reader.exec(report);
    beat_often(&mut pair.session);
    let row = becomes(&mut pair.replica, "stale");
    assert!(row[6].contains("replay is behind"), "{row:?}");
    reader.exec("ROLLBACK");
    becomes(&mut pair.replica, "fresh");

    pair.standby.set_and_reload("hot_standby_feedback", "on");
    let told = "SELECT count(*) FROM pg_stat_replication WHERE backend_xmin IS NOT NULL";
    eventually(STARTED, "feedback", || match pair.session.number(told) {
        1 => Ok(()),
        other => Err(other),
    });
    reader.exec(report);
    beat_often(&mut pair.session);
    stays_fresh(std::slice::from_mut(&mut pair.replica), 25);
    reader.exec("ROLLBACK");
}

#[test]
fn a_primary_whose_keeper_does_not_write() {
    let Fleet {
        mut pair,
        other,
        leaf,
    } = fleet();
    let mut others = [other.session, leaf.session];
    pair.primary
        .set_and_reload("pg_telemetry.background_workers", "off");
    workers::wait_for_end(&pair.primary, "fleet");
    // Other work goes on, so the standbys hear their senders and replay all they get.
    let writer = pair.database.background(|session| {
        for n in 0..100 {
            session.exec(&format!("CREATE TABLE t{n} (); DROP TABLE t{n}"));
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let row = becomes(&mut pair.replica, "stale");
    assert!(row[3] == "0" || row[9] != "0", "{row:?}");
    for session in others.iter_mut().chain([&mut pair.replica]) {
        becomes(session, "stale");
        serves(session, "fft");
        every_read_works(session);
    }
    writer.join();
    // Then nothing does, and silence is silence.
    for session in others.iter_mut().chain([&mut pair.replica]) {
        becomes(session, "disconnected");
    }
    pair.primary
        .set_and_reload("pg_telemetry.background_workers", "on");
    becomes_within(STARTED, &mut pair.replica, "fresh");
    std::thread::sleep(Duration::from_secs(3));
    for session in others.iter_mut().chain([&mut pair.replica]) {
        is_well(session);
    }
}

/// Looks all the time.
#[track_caller]
fn stays_fresh(sessions: &mut [Session], rounds: u32) {
    for _ in 0..rounds {
        for session in &mut *sessions {
            let row = session.rows("SELECT verdict, detail, lag_seconds, telemetry.can_serve('eventual') FROM telemetry.freshness()");
            assert_eq!(
                (row[0][0].as_str(), row[0][3].as_str()),
                ("fresh", "t"),
                "{row:?}"
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn long_work_of_the_janitor_is_not_seen_on_standbys() {
    let builder = Cluster::builder()
        .set("pg_telemetry.rejected_max_size", "2MB")
        // The vacuum makes a pause at nearly every page.
        .set("vacuum_cost_limit", 1)
        .set("vacuum_cost_delay", "100ms");
    let Fleet {
        mut pair,
        other,
        leaf,
    } = fleet_with(builder);
    // Nobody knows attribute 0: all are rejected, the keeper removes the oldest, and the janitor is asked for a vacuum.
    cluster_tests::readings::stage(&mut pair.session, "entity_values_ingest_durable", 0, 1, 40_000);
    let vacuum = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_telemetry janitor' AND wait_event = 'VacuumDelay'";
    let mut vacuums = || {
        eventually(STARTED * 3, "the janitor vacuums", || {
            match pair.session.number(vacuum) {
                0 => Err("not yet"),
                _ => Ok(()),
            }
        })
    };
    vacuums();
    let mut standbys = [pair.replica, other.session, leaf.session];
    for session in &mut standbys {
        becomes(session, "fresh");
    }
    stays_fresh(&mut standbys, 50);
    vacuums();
    standbys.iter_mut().for_each(every_read_works);
}

#[test]
fn a_promotion_with_the_old_primary_still_up_and_its_return() {
    let Fleet {
        mut pair,
        mut other,
        mut leaf,
    } = fleet();
    pair.wire.cut();
    pair.standby.promote();
    let row = becomes(&mut pair.replica, "fresh");
    assert_eq!(
        (row[1].as_str(), row[2].as_str(), row[7].as_str()),
        ("primary", "0", "2")
    );
    every_read_works(&mut pair.replica);
    // Who is below the new one follows it; who is below the old one does not.
    follows(&mut leaf.session, "2");
    follows(&mut other.session, "1");
    // The old one knows nothing of it; its timeline tells them apart.
    pair.session.exec("CREATE TABLE abandoned ()");
    other.cluster.catch_up_with(&pair.primary);
    let row = becomes(&mut pair.session, "fresh");
    assert_eq!((row[1].as_str(), row[7].as_str()), ("primary", "1"));
    for session in [&mut pair.session, &mut pair.replica] {
        serves(session, "ttt");
    }

    // It comes back as a standby of the new one.
    pair.wire.mend();
    pair.primary.stop(Stop::Fast);
    becomes(&mut other.session, "disconnected");
    pair.primary.rewind_to(&pair.standby);
    pair.primary.start();
    let mut returned = pair.primary.connect("fleet");
    follows(&mut returned, "2");
    is_well(&mut returned);
    // The standby that has seen what is abandoned cannot follow, and does not claim that it does.
    serves(&mut other.session, "fft");
    let row = becomes(&mut other.session, "disconnected");
    assert_eq!(row[7], "1");
    every_read_works(&mut other.session);
    is_well(&mut leaf.session);
}

#[track_caller]
fn follows(session: &mut Session, timeline: &str) {
    eventually(
        STARTED,
        &format!("a fresh standby on timeline {timeline}"),
        || {
            let row = becomes_within(STARTED, session, "fresh");
            let seen = (row[1].as_str(), row[7].as_str());
            if seen == ("standby", timeline) {
                Ok(())
            } else {
                Err(row)
            }
        },
    );
    is_well(session);
}

#[test]
fn a_standby_that_starts_up_and_finds_nobody() {
    let Fleet {
        pair,
        mut other,
        mut leaf,
    } = fleet();
    let mut session = pair.session;
    drop(pair.replica);
    // The middle of the cascade is dead.
    pair.standby.stop(Stop::Fast);
    becomes(&mut leaf.session, "disconnected");
    serves(&mut leaf.session, "fft");
    every_read_works(&mut leaf.session);
    pair.wire.cut();
    pair.standby.start();
    let mut replica = pair.standby.connect("fleet");
    let row = becomes(&mut replica, "disconnected");
    assert!(lag(&mut replica) >= 3.0, "{row:?}");
    for session in [&mut replica, &mut leaf.session] {
        serves(session, "fft");
        every_read_works(session);
    }
    is_well(&mut other.session);
    serves(&mut session, "ttt");
    pair.wire.mend();
    for session in [&mut replica, &mut leaf.session] {
        becomes_within(STARTED, session, "fresh");
        is_well(session);
    }
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
