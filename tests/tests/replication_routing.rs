//! Which node may answer which reads.

use std::path::Path;
use std::time::Duration;

use cluster_tests::replicas::{STARTED, becomes, becomes_not, becomes_within, classes, pair, serves};
use cluster_tests::{Session, eventually, shared};

fn candidates(session: &mut Session, class: &str) -> Vec<Vec<String>> {
    session.rows(&format!(
        "SELECT role, candidate, eligible, reason FROM telemetry.route_read('{class}')"
    ))
}

#[test]
fn a_node_answers_only_what_its_lag_allows() {
    let mut pair = pair();
    assert_eq!(classes(&mut pair.session), "ttt");
    becomes(&mut pair.replica, "fresh");
    assert_eq!(classes(&mut pair.replica), "ftt");
    pair.standby.stream_from(Path::new("/nowhere"));
    serves(&mut pair.replica, "fft");
    assert_eq!(becomes(&mut pair.replica, "disconnected")[0], "disconnected");

    // A class of one's own, and a built-in one made tighter, reach standbys as any row does.
    pair.standby.stream_from(pair.wire.dir());
    pair.session.exec(
        "INSERT INTO read_classes (class, max_lag, note) VALUES ('dashboard', '1 min', 'the wall'), ('analytics', '0', 'not here')",
    );
    pair.standby.catch_up_with(&pair.primary);
    becomes_within(STARTED, &mut pair.replica, "fresh");
    assert_eq!(classes(&mut pair.replica), "ftf");
    assert!(pair.replica.is_true("SELECT telemetry.can_serve('dashboard')"));
    for unknown in ["'nonsense'", "''", "NULL", "'Strong'", "'strong '"] {
        for session in [&mut pair.replica, &mut pair.session] {
            assert!(!session.is_true(&format!("SELECT telemetry.can_serve({unknown})")));
        }
    }

    pair.wire.cut();
    pair.standby.promote();
    pair.wire.mend();
    assert_eq!(classes(&mut pair.replica), "ttt");
    assert!(pair.replica.is_true("SELECT telemetry.can_serve('dashboard')"));
}

#[test]
fn nothing_is_served_where_nothing_is_known() {
    let primary = cluster_tests::Cluster::builder().start();
    let database = primary.create_database("fleet");
    let mut session = database.install();
    let standby = primary.standby();
    let mut replica = standby.connect("fleet");
    assert_eq!(becomes(&mut replica, "unknown")[0], "unknown");
    assert_eq!(classes(&mut replica), "fff");
    session.exec("SELECT heartbeat()");
    becomes_not(&mut replica, "unknown");
    assert_eq!(classes(&mut replica).chars().next(), Some('f'));
    // Without the table the built-in classes count.
    session.exec("DROP TABLE read_classes");
    assert_eq!(classes(&mut session), "ttt");
}

#[test]
fn candidates_are_listed_best_first_with_reasons() {
    let mut pair = pair();
    pair.standby.set_and_reload("cluster_name", "south");
    let other = pair.primary.standby();
    let mut second = other.connect("fleet");
    becomes_within(STARTED, &mut second, "fresh");
    // The primary hears from a standby that has just started a little later.
    eventually(STARTED, "all three may serve", || {
        let rows = candidates(&mut pair.session, "eventual");
        let roles: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
        let all_may = rows.iter().all(|row| row[2] == "t" && row[3] == "<null>");
        if roles == ["standby", "standby", "primary"] && all_may {
            Ok(())
        } else {
            Err(rows)
        }
    });
    let rows = candidates(&mut pair.session, "strong");
    assert_eq!(rows[0][..3], ["primary", "north", "t"]);
    assert!(
        rows[1..]
            .iter()
            .all(|row| row[2] == "f" && row[3].contains("only the primary"))
    );

    // One of them stops replaying: it is found out on the primary as well.
    pair.replica.exec("SELECT pg_wal_replay_pause()");
    eventually(Duration::from_secs(8), "one candidate too late", || {
        let rows = candidates(&mut pair.session, "eventual");
        let fine = rows.len() == 3
            && (rows[0][0].as_str(), rows[0][2].as_str()) == ("standby", "t")
            && rows[1][0] == "primary"
            && rows[2][2] == "f"
            && rows[2][3].contains("above the 3 s");
        if fine { Ok(()) } else { Err(rows) }
    });
    pair.replica.exec("SELECT pg_wal_replay_resume()");

    // A standby lists itself and those below it; what it lacks, they lack.
    let cascade = pair.standby.standby();
    let mut leaf = cascade.connect("fleet");
    becomes_within(STARTED, &mut leaf, "fresh");
    becomes_within(STARTED, &mut pair.replica, "fresh");
    let rows = candidates(&mut pair.replica, "eventual");
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows.iter().all(|row| row[0] == "standby"), "{rows:?}");
    assert!(
        candidates(&mut pair.replica, "strong")
            .iter()
            .all(|row| row[2] == "f")
    );
}

#[test]
fn unknown_classes_and_bad_rows_are_refused() {
    let database = shared::database();
    let mut session = database.install();
    let failure = session.fails_with("42704", "SELECT * FROM route_read('nonsense')");
    assert!(failure.hint.contains("read_classes"), "{failure}");
    session.fails_with("22004", "SELECT * FROM route_read(NULL)");
    session.fails_with(
        "23514",
        "INSERT INTO read_classes (class, max_lag) VALUES ('x', '-1 s')",
    );
    session.fails_with("23502", "INSERT INTO read_classes (class) VALUES ('x')");
    // Anybody who may call it sees standbys, without a right to the statistics of others.
    let mut reader = database.connect_as(&database.create_login(Some("telemetry_reader")));
    assert_eq!(candidates(&mut reader, "strong").len(), 1);
}
