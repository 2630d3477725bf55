//! Reading one's own writes on another node.

use std::time::{Duration, Instant};

use cluster_tests::replicas::{Pair, pair, pair_with};
use cluster_tests::{Cluster, Session, Stop, eventually, shared, within};

fn reached(session: &mut Session, token: &str) -> bool {
    session.is_true(&format!("SELECT telemetry.token_reached('{token}')"))
}

fn wait(session: &mut Session, token: &str, timeout: &str) -> bool {
    session.text(&format!("CALL telemetry.wait_for_token('{token}', '{timeout}')")) == "t"
}

#[test]
fn a_standby_shows_what_a_reached_token_stands_for() {
    let mut pair = pair();
    pair.session.exec("CREATE TABLE notes (n int)");
    for n in 1..=50 {
        pair.session.exec("BEGIN");
        pair.session.exec(&format!("INSERT INTO notes VALUES ({n})"));
        let inside = pair.session.text("SELECT commit_token()");
        assert!(inside.contains("-X"), "{inside}");
        pair.session.exec("COMMIT");
        let after = pair.session.text("SELECT commit_token()");
        let token = if n % 2 == 0 { &inside } else { &after };
        assert!(wait(&mut pair.replica, token, "10 s"));
        assert_eq!(pair.replica.number("SELECT count(*) FROM notes"), n);
        assert!(reached(&mut pair.session, token) && reached(&mut pair.replica, token));
    }
    // What a standby has replayed, another node has, too.
    let seen = pair.replica.text("SELECT telemetry.commit_token()");
    assert!(reached(&mut pair.session, &seen));

    // Not committed yet, on neither node; and never, once it is rolled back.
    pair.session.exec("BEGIN; INSERT INTO notes VALUES (0)");
    let open = pair.session.text("SELECT commit_token()");
    let mut other = pair.database.connect();
    assert!(!reached(&mut other, &open) && !reached(&mut pair.replica, &open));
    assert!(!wait(&mut other, &open, "50 ms"));
    pair.session.exec("ROLLBACK");
    let failure = other.fails_with("40000", &format!("SELECT telemetry.token_reached('{open}')"));
    assert!(!failure.hint.is_empty());
}

/// The snapshot of a waiting statement would block the replay that it waits for: here, of a DROP that needs all readers gone.
#[test]
fn waiting_holds_no_snapshot_and_ends_within_moments_of_replay() {
    let mut pair = pair();
    pair.standby.set_and_reload("max_standby_streaming_delay", "-1");
    pair.session
        .exec("CREATE TABLE doomed AS SELECT generate_series(1, 1000) AS n; DELETE FROM doomed");
    pair.standby.catch_up_with(&pair.primary);
    pair.replica.exec("SELECT pg_wal_replay_pause()");
    pair.session.exec("VACUUM doomed");
    let token = pair.session.text("SELECT commit_token()");
    assert!(!wait(&mut pair.replica, &token, "20 ms"));
    let mut waiter = pair.standby.connect("fleet");
    let pid = waiter.pid();
    let call = format!("CALL telemetry.wait_for_token('{token}', '20 s')");
    let waiting = std::thread::spawn(move || (waiter.text(&call), Instant::now()));
    eventually(Duration::from_secs(5), "a waiter without a snapshot", || {
        let row = pair.replica.rows(&format!(
            "SELECT state, backend_xmin, query LIKE 'CALL%' FROM pg_stat_activity WHERE pid = {pid}"
        ));
        if row[0] == ["active", "<null>", "t"] {
            Ok(())
        } else {
            Err(row)
        }
    });
    pair.replica.exec("SELECT pg_wal_replay_resume()");
    eventually(Duration::from_secs(10), "the token is reached", || {
        if reached(&mut pair.replica, &token) {
            Ok(())
        } else {
            Err(())
        }
    });
    let seen = Instant::now();
    let (answer, returned) = waiting.join().expect("the waiter");
    assert_eq!(answer, "t");
    let late = returned.saturating_duration_since(seen);
    println!("returned {late:?} after the replay was seen");
    assert!(late < Duration::from_millis(500), "{late:?}");
}

#[test]
fn a_wait_can_be_cancelled_and_is_refused_in_a_transaction() {
    let cluster = Cluster::builder().start();
    let database = cluster.create_database("waiting");
    let mut session = database.install();
    session.exec("BEGIN; CREATE TABLE open ()");
    let token = session.text("SELECT commit_token()");
    let waiter = database.background_sql(format!("CALL telemetry.wait_for_token('{token}', '1 min')"));
    let pid = waiter.pid();
    std::thread::sleep(Duration::from_millis(200));
    session.exec(&format!("SELECT pg_cancel_backend({pid})"));
    let failure = waiter.join().expect_err("a cancelled wait");
    assert_eq!(failure.code, "57014");
    session.exec("COMMIT");

    let mut other = database.connect();
    other.exec("BEGIN");
    let failure = other.fails_with("25001", &format!("CALL telemetry.wait_for_token('{token}')"));
    assert!(!failure.hint.is_empty());
    other.exec("ROLLBACK");
    other.fails_with(
        "25001",
        &format!("DO $$ DECLARE r boolean; BEGIN PERFORM 1; CALL telemetry.wait_for_token('{token}', '1 s', r); EXCEPTION WHEN division_by_zero THEN NULL; END $$"),
    );
    assert!(wait(&mut other, &token, "0"));
    // The session is well afterwards.
    assert_eq!(other.number("SELECT 1"), 1);
}

#[test]
fn what_is_no_token_is_refused_clearly() {
    let database = shared::database();
    let mut session = database.install();
    for garbage in [
        "''",
        "'0/3000028'",
        "'pt1-1-1-L0'",
        "repeat('pt1-', 1000)",
        "'pt1-1-1-L1;'",
    ] {
        let failure = session.fails_with("22023", &format!("SELECT token_reached({garbage})"));
        assert!(failure.hint.contains("commit_token()"), "{failure}");
    }
    session.fails_with("22004", "SELECT token_reached(NULL)");
    session.fails_with("22004", "CALL wait_for_token(NULL)");
    session.fails_with("22023", "CALL wait_for_token('nonsense')");
    let token = session.text("SELECT commit_token()");
    session.fails_with("22004", &format!("CALL wait_for_token('{token}', NULL)"));
    session.fails_with("22023", &format!("CALL wait_for_token('{token}', '-1 s')"));
    let failure = session.fails_with("22023", "SELECT token_reached('pt1-1-1-L1')");
    assert!(failure.message.contains("another cluster"), "{failure}");
    // A position that does not exist yet is not reached, and that is no error.
    let far = format!(
        "{}-L7fffffffffffffff",
        &token[..token.rfind("-L").expect("a position")]
    );
    assert!(!reached(&mut session, &far));
    assert!(!wait(&mut session, &far, "10 ms"));
}

#[test]
fn tokens_of_an_abandoned_timeline_are_refused() {
    let mut pair = pair();
    pair.session.exec("CREATE TABLE kept ()");
    let kept = pair.session.text("SELECT commit_token()");
    pair.session.exec("BEGIN; CREATE TABLE kept_too ()");
    let inside = pair.session.text("SELECT commit_token()");
    pair.session.exec("COMMIT");
    pair.standby.catch_up_with(&pair.primary);
    pair.wire.cut();
    pair.session.exec("CREATE TABLE lost ()");
    let lost = pair.session.text("SELECT commit_token()");
    assert!(reached(&mut pair.session, &lost) && !reached(&mut pair.replica, &lost));
    pair.standby.promote();
    pair.wire.mend();
    assert!(reached(&mut pair.replica, &kept));
    for token in [&lost, &inside] {
        let failure = pair
            .replica
            .fails_with("55000", &format!("SELECT telemetry.token_reached('{token}')"));
        assert!(
            !failure.hint.is_empty() && !failure.detail.is_empty(),
            "{failure}"
        );
    }
    pair.replica.fails_with(
        "55000",
        &format!("CALL telemetry.wait_for_token('{lost}', '1 min')"),
    );
    // The old primary is found out by a token of the new one.
    pair.replica.exec("CREATE TABLE new_world ()");
    let new = pair.replica.text("SELECT telemetry.commit_token()");
    let failure = pair
        .session
        .fails_with("55000", &format!("SELECT token_reached('{new}')"));
    assert!(failure.hint.contains("Fence"), "{failure}");
}

#[test]
fn a_token_stands_for_the_whole_transaction() {
    let mut pair = pair_with(Cluster::builder().set("max_prepared_transactions", 2));
    let Pair {
        session,
        replica,
        primary,
        standby,
        ..
    } = &mut pair;
    session.exec("CREATE TABLE notes (n int)");

    // Whatever becomes of a subtransaction that asked, it is the transaction that counts.
    session.exec("BEGIN; SAVEPOINT s; INSERT INTO notes VALUES (1)");
    let inside = session.text("SELECT commit_token()");
    session.exec("ROLLBACK TO s");
    assert_eq!(
        session.text("SELECT commit_token()").split("-L").next(),
        inside.split("-L").next()
    );
    assert!(!reached(session, &inside) && !reached(replica, &inside));
    session.exec("INSERT INTO notes VALUES (2); COMMIT");
    assert!(wait(replica, &inside, "10 s"));
    assert_eq!(replica.column("SELECT n FROM notes"), ["2"]);

    // One that only reads has written nothing: its token is of what is there.
    session.exec("BEGIN READ ONLY");
    let reading = session.text("SELECT commit_token()");
    assert!(!reading.contains("-X"), "{reading}");
    session.exec("COMMIT");
    assert!(wait(replica, &reading, "10 s"));

    // Prepared is not committed, on neither node, nor after a restart.
    session.exec("BEGIN; INSERT INTO notes VALUES (3)");
    let prepared = session.text("SELECT commit_token()");
    session.exec("PREPARE TRANSACTION 'later'");
    standby.catch_up_with(primary);
    assert!(!reached(session, &prepared) && !wait(replica, &prepared, "200 ms"));
    standby.restart(Stop::Fast);
    *replica = standby.connect("fleet");
    assert!(!reached(replica, &prepared));
    session.exec("COMMIT PREPARED 'later'");
    assert!(wait(replica, &prepared, "20 s"));
    assert_eq!(replica.number("SELECT count(*) FROM notes"), 2);
    session.exec("BEGIN; INSERT INTO notes VALUES (4)");
    let prepared = session.text("SELECT commit_token()");
    session.exec("PREPARE TRANSACTION 'never'");
    session.exec("ROLLBACK PREPARED 'never'");
    standby.catch_up_with(primary);
    for session in [session, replica] {
        session.fails_with("40000", &format!("SELECT telemetry.token_reached('{prepared}')"));
    }
}

#[test]
fn a_crash_of_the_primary_rolls_back_what_was_open() {
    let mut pair = pair();
    pair.session.exec("BEGIN; CREATE TABLE open ()");
    let open = pair.session.text("SELECT commit_token()");
    pair.standby.catch_up_with(&pair.primary);
    assert!(!reached(&mut pair.replica, &open));
    pair.primary.crash();
    pair.primary.start();
    pair.session = pair.database.connect();
    pair.session
        .fails_with("40000", &format!("SELECT token_reached('{open}')"));
    // The standby hears of it with the checkpoint.
    pair.standby.catch_up_with(&pair.primary);
    pair.replica
        .fails_with("40000", &format!("SELECT telemetry.token_reached('{open}')"));
}

#[test]
fn a_transaction_that_is_recorded_no_more() {
    let database = shared::database();
    let mut session = database.install();
    let token = session.text("SELECT commit_token()");
    let (start, position) = token.rsplit_once("-L").expect("a position");
    // Before the first that a new cluster has.
    let failure = session.fails_with(
        "55000",
        &format!("SELECT token_reached('{start}-X3-L{position}')"),
    );
    assert!(
        failure.message.contains("too old") && !failure.hint.is_empty(),
        "{failure}"
    );
    // One that has not begun.
    assert!(!reached(
        &mut session,
        &format!("{start}-Xffffffffffffffff-L{position}")
    ));
}

#[test]
fn a_wait_has_bounds() {
    let database = shared::database();
    let [mut session, mut waiter] = [database.install(), database.connect()];
    session.exec("BEGIN; CREATE TABLE open ()");
    let token = session.text("SELECT commit_token()");
    let call = |timeout: &str| format!("CALL wait_for_token('{token}', '{timeout}')");
    for short in ["0", "0.4 ms"] {
        let answer = within(Duration::from_secs(1), short, || waiter.text(&call(short)));
        assert_eq!(answer, "f");
    }
    let start = Instant::now();
    assert_eq!(waiter.text(&format!("CALL wait_for_token('{token}')")), "f");
    assert!(
        (0.9..3.0).contains(&start.elapsed().as_secs_f64()),
        "the default is a second"
    );
    // Longer than any clock counts; statement_timeout ends it.
    waiter.exec("SET statement_timeout = '300 ms'");
    for huge in ["178000000 years", "1 day"] {
        let failure = waiter.fails_with("57014", &call(huge));
        assert!(failure.message.contains("statement timeout"), "{failure}");
    }
    if waiter.is_true("SELECT current_setting('server_version_num')::int >= 170000") {
        waiter.fails_with("57014", &call("infinity"));
        waiter.fails_with("22023", &call("-infinity"));
    }
    waiter.exec("RESET statement_timeout");

    // At top level only, with nothing open: neither in a string of several statements nor with a snapshot held.
    waiter.fails_with("25001", &format!("SELECT 1; {}", call("1 s")));
    waiter.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    waiter.fails_with("25001", &call("1 s"));
    waiter.exec("ROLLBACK");
    waiter.exec(&format!(
        "CREATE PROCEDURE inside(INOUT r boolean DEFAULT NULL) LANGUAGE plpgsql AS $$ BEGIN CALL wait_for_token('{token}', '10 ms', r); END $$;
         CREATE FUNCTION in_function() RETURNS boolean LANGUAGE plpgsql AS $$ DECLARE r boolean; BEGIN CALL inside(r); RETURN r; END $$"
    ));
    waiter.fails_with("25001", "SELECT in_function()");
    assert_eq!(waiter.text("CALL inside()"), "f");
    waiter.exec("BEGIN");
    waiter.fails_with("25001", "CALL inside()");
    waiter.exec("ROLLBACK");
    // A loop over a query has its rows, and no snapshot.
    waiter.exec(&format!(
        "DO $$ DECLARE r boolean; n int; BEGIN FOR n IN SELECT generate_series(1, 3) LOOP CALL wait_for_token('{token}', '1 ms', r); END LOOP; END $$"
    ));
    session.exec("COMMIT");
    assert_eq!(waiter.text("CALL inside()"), "t");
}

/// Who waits on a standby that becomes the primary gets an answer.
#[test]
fn a_promotion_while_somebody_waits() {
    let mut pair = pair();
    pair.session.exec("BEGIN; CREATE TABLE open ()");
    let open = pair.session.text("SELECT commit_token()");
    pair.standby.catch_up_with(&pair.primary);
    let mut waiter = pair.standby.connect("fleet");
    let call = format!("CALL telemetry.wait_for_token('{open}', '30 s')");
    let waiting = std::thread::spawn(move || waiter.fails_with("55000", &call));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!waiting.is_finished());
    pair.wire.cut();
    pair.standby.promote();
    let failure = waiting.join().expect("an answer");
    assert!(failure.message.contains("left behind"), "{failure}");
}
