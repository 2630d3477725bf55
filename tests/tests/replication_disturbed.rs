//! Freshness where the heartbeat, the extension, the database or the server itself is not as usual.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster_tests::replicas::{
    Pair, STARTED, TWO_BEATS, becomes, becomes_not, becomes_within, classes, every_read_works, is_well, lag,
    pair, pair_with, serves,
};
use cluster_tests::{Cluster, SOON, Session, Stop, eventually, within, workers};

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
    session.exec("TRUNCATE replication_heartbeat");
    becomes(&mut replica, "unknown");
    session.exec("SELECT heartbeat()");
    becomes_not(&mut replica, "unknown");
    // A session that knows the table is not told of its end by an error.
    session.exec("DROP TABLE replication_heartbeat");
    standby.catch_up_with(&primary);
    becomes(&mut replica, "unknown");
    serves(&mut replica, "fff");
    session.exec("SELECT setup(); SELECT heartbeat()");
    becomes_not(&mut replica, "unknown");
}

/// Asks all the time until told to stop; the verdicts and the longest time that an answer took.
fn watch(mut session: Session, stop: &AtomicBool) -> (Vec<String>, Duration) {
    let (mut verdicts, mut longest) = (Vec::new(), Duration::ZERO);
    while !stop.load(Ordering::SeqCst) {
        let start = Instant::now();
        let verdict = session.text(
            "SELECT verdict || telemetry.can_serve('eventual') || (SELECT count(*) FROM telemetry.route_read('eventual'))
             FROM telemetry.freshness()",
        );
        longest = longest.max(start.elapsed());
        if verdicts.last() != Some(&verdict) {
            verdicts.push(verdict);
        }
    }
    (verdicts, longest)
}

/// What two sessions see that ask all the time, one on the standby and one on the primary, while something is done.
fn watched(pair: &Pair, act: impl FnOnce()) -> [(Vec<String>, Duration); 2] {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watchers = [pair.standby.connect("fleet"), pair.database.connect()]
            .map(|session| scope.spawn(|| watch(session, &stop)));
        act();
        stop.store(true, Ordering::SeqCst);
        watchers.map(|watcher| watcher.join().expect("no answer was an error"))
    })
}

#[test]
fn a_lock_on_the_heartbeat_is_waited_for_on_no_node() {
    let mut pair = pair();
    let [mut holder, mut session] = [pair.database.connect(), pair.database.connect()];
    let mut replica = pair.standby.connect("fleet");
    let seen = watched(&pair, || {
        // Replay takes such a lock as well, and holds it until the end of the transaction.
        holder.exec("BEGIN; LOCK TABLE replication_heartbeat IN ACCESS EXCLUSIVE MODE");
        let row = becomes(&mut replica, "unknown");
        assert!(row[6].contains("locked"), "{row:?}");
        for (session, expected) in [(&mut replica, "fff"), (&mut session, "ttt")] {
            let answered = within(Duration::from_secs(3), "can_serve()", || classes(session));
            assert_eq!(answered, expected);
            for view in ["replication_lag", "replication_slots_health"] {
                session.rows(&format!("SELECT * FROM telemetry.{view}"));
            }
        }
        holder.exec("ROLLBACK");
        becomes_within(STARTED, &mut replica, "fresh");
    });
    for (verdicts, longest) in seen {
        println!("{verdicts:?}, longest {longest:?}");
        assert!(longest < Duration::from_secs(3), "{longest:?}");
    }

    holder.exec("BEGIN; LOCK TABLE read_classes IN ACCESS EXCLUSIVE MODE");
    assert_eq!(
        classes(&mut pair.session),
        "fff",
        "a budget may be there that cannot be read"
    );
    let failure = pair
        .session
        .fails_with("55P03", "SELECT * FROM route_read('eventual')");
    assert!(failure.hint.contains("pg_locks"), "{failure}");
    holder.exec("ROLLBACK");
    serves(&mut pair.session, "ttt");
}

/// Dropped and made again, many times, under the eyes of sessions that know the table.
#[test]
fn a_heartbeat_that_goes_away_is_an_answer_and_no_error() {
    let mut pair = pair();
    let mut owner = pair.database.connect();
    let [standby, primary] = watched(&pair, || {
        for _ in 0..20 {
            owner.exec("BEGIN; DROP TABLE replication_heartbeat");
            std::thread::sleep(Duration::from_millis(20));
            owner.exec("COMMIT");
            std::thread::sleep(Duration::from_millis(20));
            owner.exec("SELECT setup(); SELECT heartbeat()");
        }
    });
    assert!(
        standby.0.iter().any(|seen| seen.starts_with("unknownfalse")),
        "{standby:?}"
    );
    assert!(
        primary.0.iter().all(|seen| seen.starts_with("freshtrue")),
        "{primary:?}"
    );
    becomes_within(STARTED, &mut pair.replica, "fresh");
}

#[test]
fn what_another_cluster_wrote_says_little() {
    let mut pair = pair();
    // As a restored dump or a subscription brings it: positions of another WAL, old times, a name from elsewhere.
    pair.primary.set_and_reload("pg_telemetry.heartbeat", "off");
    std::thread::sleep(Duration::from_millis(1500));
    pair.session.exec(
        "TRUNCATE replication_heartbeat;
         INSERT INTO replication_heartbeat
             SELECT n, now() - interval '10 s' - n * interval '1 day', 'FF/0'::pg_lsn - 1000 * n, 7, '12345/elsewhere' FROM generate_series(0, 30) n",
    );
    pair.standby.catch_up_with(&pair.primary);
    pair.replica.exec("SELECT pg_wal_replay_pause()");
    pair.session.exec("CREATE TABLE not_there_yet ()");
    let row = becomes(&mut pair.replica, "paused");
    // All of this cluster that is older than the beat is here; that a later one is to come nobody knows.
    assert!(
        row[2].parse::<f64>().expect("a number") >= 10.0 && row[3] == "0",
        "{row:?}"
    );
    serves(&mut pair.replica, "fft");
    let lag_by_ring = "SELECT state, replay_lag_seconds FROM telemetry.replication_lag";
    assert_eq!(pair.session.rows(lag_by_ring), [["streaming", "<null>"]]);
    assert!(
        !pair
            .session
            .is_true("SELECT bool_or(eligible AND role = 'standby') FROM route_read('analytics')")
    );
    pair.replica.exec("SELECT pg_wal_replay_resume()");
    // Among beats of its own, the others change nothing.
    pair.primary.set_and_reload("pg_telemetry.heartbeat", "always");
    becomes_within(STARTED, &mut pair.replica, "fresh");
    eventually(SOON, "a lag by own beats", || {
        let rows = pair
            .session
            .rows(&format!("{lag_by_ring} WHERE replay_lag_seconds < 3"));
        if rows.len() == 1 { Ok(()) } else { Err(rows) }
    });
}

#[test]
fn the_interval_is_changed_and_the_heartbeat_switched_off() {
    let mut pair = pair();
    // Standbys judge by their own setting: who changes one, changes all.
    for cluster in [&pair.primary, &pair.standby] {
        cluster.set_and_reload("pg_telemetry.heartbeat_interval", "4s");
    }
    let longer = Duration::from_secs(4) + TWO_BEATS;
    becomes_within(longer, &mut pair.replica, "fresh");
    let beat = "SELECT written_at FROM telemetry.replication_heartbeat WHERE slot = 0";
    let first = pair.replica.text(beat);
    let second = eventually(longer, "the next beat", || match pair.replica.text(beat) {
        same if same == first => Err(same),
        next => Ok(next),
    });
    let third = eventually(longer, "the beat after it", || match pair.replica.text(beat) {
        same if same == second => Err(same),
        next => Ok(next),
    });
    assert!(pair.session.is_true(&format!(
        "SELECT '{third}'::timestamptz - '{second}' BETWEEN '3.5 s' AND '6 s'"
    )));
    becomes(&mut pair.replica, "fresh");
    for cluster in [&pair.primary, &pair.standby] {
        cluster.set_and_reload("pg_telemetry.heartbeat_interval", "1s");
    }
    becomes_within(longer, &mut pair.replica, "fresh");
    pair.primary.set_and_reload("pg_telemetry.heartbeat", "off");
    becomes_not(&mut pair.replica, "fresh");
    serves(&mut pair.replica, "fft");
    every_read_works(&mut pair.replica);
    pair.primary
        .set_and_reload("pg_telemetry.heartbeat", "replicated");
    is_well(&mut pair.replica);
}

#[test]
fn the_extension_is_made_again_and_the_database_renamed() {
    let mut pair = pair();
    pair.session.exec("DROP EXTENSION pg_telemetry");
    pair.standby.catch_up_with(&pair.primary);
    pair.replica
        .fails_with("42883", "SELECT * FROM telemetry.freshness()");
    pair.session
        .exec("CREATE EXTENSION pg_telemetry SCHEMA telemetry");
    pair.standby.catch_up_with(&pair.primary);
    becomes_within(STARTED, &mut pair.replica, "fresh");
    is_well(&mut pair.replica);

    drop(pair.session);
    let mut elsewhere = pair.primary.connect("postgres");
    elsewhere.exec("ALTER DATABASE fleet RENAME TO armada");
    workers::wait_for_start(&pair.primary, "armada");
    // The session on the standby does not notice.
    becomes_within(STARTED, &mut pair.replica, "fresh");
    is_well(&mut pair.replica);
    is_well(&mut pair.standby.connect("armada"));
    elsewhere.exec("ALTER DATABASE armada RENAME TO fleet");
}

#[test]
fn a_standby_that_reads_an_archive_only() {
    let primary = Cluster::builder()
        .preload()
        .set("pg_telemetry.heartbeat", "always")
        .set("archive_mode", "on")
        .set("archive_timeout", "1s")
        .set("wal_retrieve_retry_interval", "100ms")
        .create();
    let archive = primary.scratch_dir().join("archive");
    let archive = archive.display();
    primary.set(
        "archive_command",
        format!("mkdir -p {archive} && cp %p {archive}/%f.new && mv {archive}/%f.new {archive}/%f"),
    );
    primary.start();
    let database = primary.create_database("fleet");
    drop(database.install());
    let standby = primary.standby();
    standby
        .connect("postgres")
        .exec("ALTER SYSTEM RESET primary_conninfo");
    standby.set("restore_command", format!("cp {archive}/%f %p"));
    standby.restart(Stop::Fast);
    let mut replica = standby.connect("fleet");
    // As old as the last file, and honest about it.
    eventually(STARTED, "a lag of seconds, and no receiver", || {
        let row = replica
            .rows("SELECT receiver_state, lag_seconds < 8, verdict IN ('fresh', 'stale'), clock_skew_seconds, last_message_seconds FROM telemetry.freshness()")
            .swap_remove(0);
        if row == ["none", "t", "t", "<null>", "<null>"] {
            Ok(())
        } else {
            Err(row)
        }
    });
    assert_eq!(classes(&mut replica)[2..], *"t");
    every_read_works(&mut replica);
    primary.set_and_reload("archive_command", "false");
    eventually(STARTED, "it falls behind", || {
        let row = becomes(&mut replica, "stale");
        if lag(&mut replica) > 8.0 { Ok(()) } else { Err(row) }
    });
    serves(&mut replica, "fft");
}

#[test]
fn a_server_that_nothing_can_be_replicated_from() {
    let cluster = Cluster::builder()
        .preload()
        .set("wal_level", "minimal")
        .set("max_wal_senders", 0)
        .set("pg_telemetry.heartbeat", "always")
        .start();
    let database = cluster.create_database("fleet");
    let mut session = database.install();
    becomes(&mut session, "fresh");
    serves(&mut session, "ttt");
    every_read_works(&mut session);
    assert!(session.is_true("SELECT token_reached(commit_token())"));
    eventually(SOON, "heartbeats", || {
        match session
            .text("SELECT count(*) FROM replication_heartbeat")
            .as_str()
        {
            "0" => Err(()),
            _ => Ok(()),
        }
    });
}

/// A copy that was restored is not a replica: it has a timeline of its own, and tokens of the original are not for it.
#[test]
fn a_restored_backup_is_a_primary_of_its_own() {
    let mut pair = pair_with(Cluster::builder());
    let copy = pair.primary.standby();
    copy.catch_up_with(&pair.primary);
    copy.stop(Stop::Fast);
    std::fs::remove_file(copy.data_dir().join("standby.signal")).expect("a standby");
    std::fs::write(copy.data_dir().join("recovery.signal"), "").expect("our own folder");
    copy.set("restore_command", "false");
    copy.start();
    let mut restored = copy.connect("fleet");
    pair.session.exec("CREATE TABLE later ()");
    let token = pair.session.text("SELECT commit_token()");
    let row = becomes_within(STARTED, &mut restored, "fresh");
    assert_eq!((row[1].as_str(), row[7].as_str()), ("primary", "2"));
    every_read_works(&mut restored);
    restored.fails_with("55000", &format!("SELECT telemetry.token_reached('{token}')"));
    is_well(&mut pair.replica);
}

/// What the server hides of a WAL receiver from those without rights is not needed to know how fresh a node is.
#[test]
fn who_may_ask() {
    let mut pair = pair();
    let logins: Vec<String> = [
        "telemetry_reader",
        "telemetry_writer",
        "telemetry_admin",
        "pg_monitor",
    ]
    .iter()
    .map(|group| pair.database.create_login(Some(group)))
    .collect();
    let nobody = pair.database.create_login(None);
    pair.standby.catch_up_with(&pair.primary);
    let freshness = "SELECT role, verdict, receiver_state, clock_skew_seconds IS NOT NULL, last_message_seconds IS NOT NULL FROM telemetry.freshness()";
    becomes(&mut pair.replica, "fresh");
    for login in &logins {
        let mut session = pair.standby.connect_as(login, "fleet");
        eventually(TWO_BEATS, login, || {
            let row = session.rows(freshness).swap_remove(0);
            if row == ["standby", "fresh", "streaming", "t", "t"] {
                Ok(())
            } else {
                Err(row)
            }
        });
        assert!(
            session.is_true("SELECT telemetry.can_serve('eventual')"),
            "{login}"
        );
        assert_eq!(
            session.number("SELECT count(*) FROM telemetry.route_read('eventual')"),
            1
        );
        let token = session.try_rows("SELECT telemetry.token_reached(telemetry.commit_token())");
        assert_eq!(
            token.is_ok(),
            !login.ends_with("pg_monitor"),
            "{login}: {token:?}"
        );
    }
    let mut session = pair.standby.connect_as(&nobody, "fleet");
    for statement in [
        "SELECT * FROM telemetry.freshness()",
        "SELECT telemetry.can_serve('eventual')",
        "SELECT * FROM telemetry.route_read('eventual')",
        "SELECT telemetry.commit_token()",
        "SELECT telemetry.token_reached('pt1-1-1-L1')",
        "CALL telemetry.wait_for_token('pt1-1-1-L1')",
        "SELECT * FROM telemetry.replication_lag",
        "SELECT * FROM telemetry.replication_slots_health",
        "SELECT telemetry.heartbeat()",
    ] {
        session.fails_with("42501", statement);
    }
}
