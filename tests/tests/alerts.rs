//! The engine of alerts: what becomes of one over time, what people say about it, and what is said when nothing can be known.

use std::time::Duration;

use cluster_tests::alerts::{evaluate_until, health, install, rows, states, tune, wait_until};
use cluster_tests::readings::{DOORS, attribute, stage};
use cluster_tests::{Cluster, Session, Stop, eventually, shared, workers};

/// Of readings in the fast door that is not flushed: a figure that the test can set.
const ALERT: &str = "volatile_exposed";

/// The fast door on a server without workers.
struct Door {
    session: Session,
    attribute: i64,
    next: i64,
}

impl Door {
    fn new(mut session: Session) -> Door {
        // Readings that wait are old before long, which would explain what is looked at here.
        tune(&mut session, "staging_old", "enabled = false");
        let attribute = attribute(&mut session, "temperature", "number");
        Door {
            session,
            attribute,
            next: 1,
        }
    }

    fn fresh() -> Door {
        Door::new(install(&shared::database()))
    }

    /// So many readings wait, and somebody has looked.
    fn set(&mut self, readings: i64) {
        self.session.exec("TRUNCATE entity_values_ingest");
        if readings > 0 {
            stage(
                &mut self.session,
                DOORS[0],
                self.attribute,
                self.next,
                self.next + readings - 1,
            );
            self.next += readings;
        }
        self.look();
    }

    fn look(&mut self) {
        self.session.exec("SELECT evaluate_alerts()");
    }

    fn state(&mut self) -> String {
        let rows = rows(&mut self.session, ALERT);
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0].state.clone()
    }

    fn row(&mut self, columns: &str) -> Vec<String> {
        self.session
            .rows(&format!(
                "SELECT {columns} FROM telemetry_alerts WHERE alert = '{ALERT}'"
            ))
            .swap_remove(0)
    }
}

const PAUSE: Duration = Duration::from_millis(1200);

#[test]
fn it_waits_fires_and_ends_with_hysteresis() {
    let mut door = Door::fresh();
    tune(
        &mut door.session,
        ALERT,
        "warn = 10, critical = 100, clear = 5, for_duration = '1 s', keep_for = '1 s'",
    );
    door.set(0);
    assert_eq!(door.state(), "ok");
    door.set(10);
    assert_eq!(door.state(), "pending");
    assert_eq!(
        health(&mut door.session).0,
        0,
        "what is pending is no problem yet"
    );
    // Less for a moment begins the wait anew.
    door.set(9);
    assert_eq!(door.state(), "ok");
    door.set(10);
    std::thread::sleep(PAUSE);
    door.look();
    assert_eq!(
        door.row("object, severity, state, value, threshold, unit, fired_at > since"),
        ["fast", "warning", "firing", "10", "10", "readings", "t"]
    );
    let (status, summary) = health(&mut door.session);
    assert!(
        status == 1 && summary.contains("volatile_exposed (fast): a crash now would lose many readings"),
        "{summary}"
    );
    let since = door.row("since");

    // Worse at once, milder only after a while; between clear and warning it goes on.
    door.set(100);
    assert_eq!(door.row("severity, threshold"), ["critical", "100"]);
    assert_eq!(health(&mut door.session).0, 2);
    door.set(6);
    assert_eq!(door.row("severity, state"), ["critical", "firing"]);
    std::thread::sleep(PAUSE);
    door.look();
    assert_eq!(door.row("severity, state"), ["warning", "firing"]);
    std::thread::sleep(PAUSE);
    door.look();
    assert_eq!(door.state(), "firing", "6 is not below 5");
    assert_eq!(door.row("since"), since, "it is still the same");

    door.set(4);
    assert_eq!(door.state(), "firing");
    std::thread::sleep(PAUSE);
    door.look();
    let states = door.session.column(&format!(
        "SELECT state FROM telemetry_alerts WHERE alert = '{ALERT}' ORDER BY 1"
    ));
    assert_eq!(states, ["ok", "resolved"]);
    assert!(door.session.is_true(&format!(
        "SELECT resolved_at > fired_at FROM telemetry_alerts WHERE alert = '{ALERT}' AND state = 'resolved'"
    )));
    assert_eq!(health(&mut door.session), (0, "ok: no alert fires".to_owned()));
}

#[test]
fn the_wait_outlives_a_restart_and_a_crash() {
    let cluster = Cluster::builder().start();
    let database = cluster.create_database("restarted");
    let mut door = Door::new(install(&database));
    tune(
        &mut door.session,
        "flush_paused",
        "warn = 1, for_duration = '3 s'",
    );
    door.session.exec("SELECT pause('for a while')");
    let paused = |session: &mut Session| rows(session, "flush_paused").swap_remove(0);
    std::thread::sleep(PAUSE);
    door.look();
    assert_eq!(paused(&mut door.session).state, "pending");
    let since = "SELECT since FROM telemetry_alerts WHERE alert = 'flush_paused'";
    let before = door.session.text(since);
    for stop in [Stop::Fast, Stop::Immediate] {
        cluster.restart(stop);
        door.session = database.connect();
        door.look();
        assert_eq!(door.session.text(since), before, "{stop:?}");
    }
    let fired = evaluate_until(&mut door.session, "flush_paused", "firing");
    assert!(fired.detail.contains("for a while"), "{fired:?}");
    assert!(fired.run.ends_with(".resume();"), "{fired:?}");
    door.session.exec("SELECT resume()");
    evaluate_until(&mut door.session, "flush_paused", "resolved");
}

#[test]
fn a_silence_ends_by_itself_and_can_be_taken_back() {
    let mut door = Door::fresh();
    tune(
        &mut door.session,
        ALERT,
        "warn = 1, for_duration = '0', keep_for = '0'",
    );
    door.set(3);
    assert_eq!(health(&mut door.session).0, 1);

    door.session.exec(&format!(
        "SELECT silence_alert('{ALERT}', '2 seconds', reason => 'we know')"
    ));
    assert_eq!(
        door.row("state, silenced_by, silenced_until > now(), severity"),
        ["silenced", "postgres", "t", "warning"]
    );
    assert_eq!(health(&mut door.session).0, 0);
    assert_eq!(door.session.text("SELECT reason FROM alert_notes"), "we know");
    eventually(Duration::from_secs(10), "the silence is over", || {
        match door.state() {
            state if state == "firing" => Ok(()),
            state => Err(state),
        }
    });
    assert_eq!(health(&mut door.session).0, 1);

    // Of another object, of this one, and back.
    door.session
        .exec(&format!("SELECT silence_alert('{ALERT}', '1 hour', 'durable')"));
    assert_eq!(door.state(), "firing");
    door.session
        .exec(&format!("SELECT silence_alert('{ALERT}', '1 hour', 'fast')"));
    assert_eq!(door.state(), "silenced");
    assert_eq!(
        door.session
            .number(&format!("SELECT unsilence_alert('{ALERT}', 'durable')")),
        1
    );
    assert_eq!(door.state(), "silenced");
    assert_eq!(
        door.session.number(&format!("SELECT unsilence_alert('{ALERT}')")),
        1
    );
    assert_eq!(door.state(), "firing");
    assert_eq!(
        door.session.number(&format!("SELECT unsilence_alert('{ALERT}')")),
        0
    );
}

#[test]
fn an_acknowledgement_ends_with_what_it_is_about() {
    let mut door = Door::fresh();
    tune(
        &mut door.session,
        ALERT,
        "warn = 1, for_duration = '0', keep_for = '0'",
    );
    door.set(0);
    assert_eq!(
        door.session.number(&format!("SELECT ack_alert('{ALERT}')")),
        0,
        "nothing fires"
    );
    door.set(3);
    assert_eq!(
        door.session
            .number(&format!("SELECT ack_alert('{ALERT}', reason => 'on it')")),
        1
    );
    let acknowledged = "state, acknowledged_by, acknowledged_until > now() + interval '23 hours'";
    assert_eq!(door.row(acknowledged), ["firing", "postgres", "t"]);
    assert_eq!(
        health(&mut door.session).0,
        1,
        "somebody looks after it; it is not over"
    );
    assert_eq!(door.session.number(&format!("SELECT unack_alert('{ALERT}')")), 1);
    assert_eq!(door.row("acknowledged_by IS NULL"), ["t"]);

    // With an end of its own.
    door.session
        .exec(&format!("SELECT ack_alert('{ALERT}', 'fast', '1 second')"));
    assert_eq!(door.row("acknowledged_by"), ["postgres"]);
    std::thread::sleep(PAUSE);
    assert_eq!(door.row("acknowledged_by IS NULL"), ["t"]);

    door.session.exec(&format!("SELECT ack_alert('{ALERT}')"));
    door.set(0);
    door.set(3);
    assert_eq!(
        door.row("state, acknowledged_by IS NULL"),
        ["firing", "t"],
        "it fired anew"
    );
}

#[test]
fn each_field_is_overridden_by_itself_and_outlives_dump_and_extension() {
    let cluster = Cluster::builder().start();
    let database = cluster.create_database("original");
    let mut door = Door::new(install(&database));
    let tuned = "SELECT DISTINCT threshold FROM telemetry_alerts WHERE alert = 'volatile_exposed'";
    assert_eq!(door.session.text(tuned), "1000000");
    tune(
        &mut door.session,
        ALERT,
        "warn = 7, for_duration = '0', note = 'less than that'",
    );
    tune(&mut door.session, "settings_pending", "enabled = false");
    door.set(7);
    assert_eq!(door.row("severity, threshold"), ["warning", "7"]);
    tune(&mut door.session, ALERT, "warn = 'Infinity'");
    tune(&mut door.session, ALERT, "keep_for = '0', clear = 'Infinity'");
    door.look();
    assert_eq!(states(&mut door.session, ALERT), ["ok", "resolved"]);
    tune(
        &mut door.session,
        ALERT,
        "warn = 7, keep_for = NULL, clear = NULL",
    );
    assert_eq!(
        door.session
            .rows("SELECT state, detail, silenced_by FROM telemetry_alerts WHERE alert = 'settings_pending'"),
        [["silenced", "turned off in alert_rules", "alert_rules"].map(str::to_owned)]
    );
    door.session
        .exec("INSERT INTO alert_rules (alert, warn) VALUES ('no_such_thing', 1)");
    assert_eq!(states(&mut door.session, "no_such_thing"), ["unknown"]);
    door.session
        .exec("SELECT silence_alert('wraparound_near', '1 day')");
    door.look();
    door.session
        .exec(&format!("SELECT ack_alert('{ALERT}', reason => 'on it')"));
    let acknowledged = "state, acknowledged_by, acknowledged_until, fired_at, since";
    let on_it = door.row(acknowledged);
    assert_eq!(on_it[..2], ["firing", "postgres"]);

    let kept = "SELECT alert, enabled, warn, for_duration, keep_for, note FROM alert_rules ORDER BY 1";
    let before = door.session.rows(kept);
    let dump = database.tool("pg_dump", ["-d", "original"], "").success();
    let copy = cluster.create_database("copy");
    copy.psql(&dump).success();
    let mut other = copy.connect();
    other.exec("SET search_path = telemetry");
    assert_eq!(other.rows(kept), before);
    let notes =
        "SELECT kind, alert, object, ends_at, made_at, made_by, reason FROM alert_notes ORDER BY 1, 2";
    let said = door.session.rows(notes);
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(other.rows(notes), said);
    assert_eq!(other.column(tuned), ["7"]);
    // It is still the same that fires, so somebody still is on it.
    let mut restored = Door {
        session: other,
        attribute: door.attribute,
        next: door.next,
    };
    restored.look();
    assert_eq!(restored.row(acknowledged), on_it);

    door.session
        .exec("DROP EXTENSION pg_telemetry; CREATE EXTENSION pg_telemetry SCHEMA telemetry");
    assert_eq!(door.session.rows(kept), before);
    assert_eq!(door.session.rows(notes), said);
    assert_eq!(door.session.column(tuned), ["7"]);
    door.look();
    assert_eq!(door.row(acknowledged), on_it);
}

#[test]
fn a_rule_that_fails_or_hangs_is_unknown_and_stops_no_other() {
    let database = shared::database();
    let mut door = Door::new(install(&database));
    tune(&mut door.session, ALERT, "warn = 1, for_duration = '0'");
    door.set(1);
    door.session
        .exec("ALTER VIEW archiver_health RENAME TO elsewhere");
    door.look();
    let failed = rows(&mut door.session, "archiver_failing").swap_remove(0);
    assert_eq!(failed.state, "unknown");
    assert!(
        failed.detail.contains("archiver_health") && failed.detail.contains("42P01"),
        "{failed:?}"
    );
    assert_eq!(door.state(), "firing", "the others are looked at");
    assert_eq!(health(&mut door.session).0, 1, "once may be chance");
    door.session.exec(
        "UPDATE alert_state SET unknown_since = unknown_since - interval '2 minutes' WHERE phase = 'unknown'",
    );
    let (status, summary) = health(&mut door.session);
    assert!(
        status == 3 && summary.contains(" and 1 more cannot be judged: cannot be looked at: relation"),
        "{summary}"
    );
    door.session
        .exec("ALTER VIEW elsewhere RENAME TO archiver_health");
    door.look();
    assert_eq!(states(&mut door.session, "archiver_failing"), ["ok"]);

    // One that waits for a lock is given up, and the transaction goes on.
    let mut blocker = database.connect();
    blocker.exec("BEGIN; LOCK TABLE staging_backlog IN ACCESS EXCLUSIVE MODE");
    door.look();
    let late = rows(&mut door.session, ALERT);
    assert!(late.iter().all(|row| row.state == "unknown"), "{late:?}");
    assert!(
        late.iter()
            .any(|row| row.detail.contains("took longer than 250 ms")),
        "{late:?}"
    );
    assert_eq!(states(&mut door.session, "blocking"), ["ok"]);
    blocker.exec("ROLLBACK");
    door.look();
    assert_eq!(door.state(), "firing", "what was known goes on");

    // Nothing of the bound is left behind, and a cancel of somebody else is one.
    door.session.exec("SELECT pg_sleep(0.5)");
    let mut blocker = database.connect();
    blocker.exec("BEGIN; LOCK TABLE staging_backlog IN ACCESS EXCLUSIVE MODE");
    door.session.exec("SET statement_timeout = '50ms'");
    let failure = door.session.fails("SELECT evaluate_alerts()");
    assert_eq!(failure.code, "57014", "{failure}");
}

#[test]
fn locked_tables_make_everything_unknown_and_nobody_wait() {
    let database = shared::database();
    let mut door = Door::new(install(&database));
    door.set(0);
    let mut blocker = database.connect();
    blocker.exec("BEGIN; LOCK TABLE alert_state IN ACCESS EXCLUSIVE MODE");
    let (status, summary) = health(&mut door.session);
    assert!(
        status == 3 && summary.contains("alert_state is locked"),
        "{summary}"
    );
    assert_eq!(
        door.session.column("SELECT DISTINCT state FROM telemetry_alerts"),
        ["unknown"]
    );
    assert!(door.session.number("SELECT count(*) FROM telemetry_metrics") > 20);
    let failure = door.session.fails_with("55P03", "SELECT evaluate_alerts()");
    assert!(failure.message.contains("alert_state"), "{failure}");
}

#[test]
fn a_cause_that_is_as_severe_silences_what_follows_from_it() {
    let mut door = Door::fresh();
    tune(
        &mut door.session,
        "staging_old",
        "enabled = true, warn = 0.1, for_duration = '0'",
    );
    tune(
        &mut door.session,
        "flush_paused",
        "warn = 0.1, for_duration = '0', keep_for = '0'",
    );
    tune(&mut door.session, ALERT, "warn = 1, for_duration = '0'");
    door.session.exec("SELECT pause()");
    door.set(2);
    std::thread::sleep(Duration::from_millis(300));
    door.look();
    let child = rows(&mut door.session, "staging_old");
    let child = child.iter().find(|row| row.object == "fast").expect("a row");
    assert_eq!(
        (child.state.as_str(), child.suppressed_by.as_str()),
        ("silenced", "flush_paused")
    );
    let (status, summary) = health(&mut door.session);
    assert!(
        status == 1 && summary.contains("flush_paused") && !summary.contains("staging_old"),
        "{summary}"
    );
    // One that is worse than its cause is told.
    tune(&mut door.session, "staging_old", "critical = 0.1");
    door.look();
    let child = rows(&mut door.session, "staging_old");
    let child = child.iter().find(|row| row.object == "fast").expect("a row");
    assert_eq!(
        (child.state.as_str(), child.suppressed_by.as_str()),
        ("firing", "")
    );
    tune(
        &mut door.session,
        "staging_old",
        "critical = NULL, keep_for = '0'",
    );
    door.session.exec("SELECT resume()");
    door.look();
    assert!(
        states(&mut door.session, "staging_old").contains(&"firing".to_owned()),
        "the cause is gone, this is not"
    );
}

#[test]
fn a_test_is_shown_marked_and_over_by_itself() {
    let mut door = Door::fresh();
    door.set(0);
    door.session
        .exec("SELECT test_alert('blocking', 'critical', '2 seconds')");
    assert_eq!(
        door.session.rows(
            "SELECT state, severity, object, detail, dedupe_key, run <> '' FROM telemetry_alerts WHERE is_test"
        ),
        [[
            "firing",
            "critical",
            "test",
            "this is a test by postgres, and nothing is wrong",
            "blocking:test",
            "t"
        ]
        .map(str::to_owned)]
    );
    let metric = "SELECT labels ->> 'alert', value FROM telemetry_metrics
                  WHERE name = 'pg_telemetry_alert_firing' AND labels ->> 'test' = 'true'";
    assert_eq!(door.session.rows(metric), [["blocking", "1"].map(str::to_owned)]);
    assert_eq!(health(&mut door.session).0, 0);
    eventually(Duration::from_secs(10), "the test is over", || {
        match door
            .session
            .number("SELECT count(*) FROM telemetry_alerts WHERE is_test")
        {
            0 => Ok(()),
            left => Err(left),
        }
    });
    assert!(door.session.rows(metric).is_empty());
}

#[test]
fn bad_input_is_refused_with_a_reason() {
    let mut door = Door::fresh();
    for (call, code, hint) in [
        ("ack_alert('no_such_thing')", "42704", true),
        ("silence_alert('no_such_thing', '1 hour')", "42704", true),
        ("test_alert('no_such_thing')", "42704", true),
        ("unack_alert('no_such_thing')", "42704", true),
        ("unsilence_alert(NULL)", "22004", false),
        ("ack_alert(NULL)", "22004", false),
        ("silence_alert('blocking', NULL)", "22004", false),
        ("silence_alert('blocking', '0')", "22023", false),
        ("silence_alert('blocking', '-1 hour')", "22023", false),
        ("silence_alert('blocking', '400 days')", "22023", false),
        ("ack_alert('blocking', NULL, '178000000 years')", "22023", false),
        ("test_alert('blocking', 'dreadful')", "22023", false),
        ("test_alert('blocking', NULL)", "22004", false),
        ("test_alert('blocking', 'warning', '2 days')", "22023", false),
        (
            "ack_alert('blocking', reason => repeat('x', 501))",
            "22023",
            false,
        ),
        (
            "silence_alert('blocking', '1 hour', reason => E'a\\nb')",
            "22023",
            false,
        ),
    ] {
        let failure = door.session.fails_with(code, &format!("SELECT {call}"));
        assert_eq!(!failure.hint.is_empty(), hint, "{call}: {failure}");
    }
    for fields in [
        "warn = 'NaN'",
        "clear = 'NaN'",
        "for_duration = '-1 s'",
        "keep_for = '1 year'",
    ] {
        door.session
            .exec("INSERT INTO alert_rules (alert) VALUES ('blocking') ON CONFLICT DO NOTHING");
        door.session.fails_with(
            "23514",
            &format!("UPDATE alert_rules SET {fields} WHERE alert = 'blocking'"),
        );
    }
    assert_eq!(door.session.number("SELECT count(*) FROM alert_notes"), 0);
    door.session.exec("SET default_transaction_read_only = on");
    for call in [
        "evaluate_alerts()",
        "silence_alert('blocking', '1 hour')",
        "test_alert('blocking')",
    ] {
        door.session.fails_with("25006", &format!("SELECT {call}"));
    }
    // Reading is all it takes to see.
    assert_eq!(health(&mut door.session).0, 0);
}

#[test]
fn everybody_sees_and_does_what_they_may() {
    let database = shared::database();
    let mut door = Door::new(install(&database));
    tune(&mut door.session, ALERT, "warn = 1, for_duration = '0'");
    door.set(2);
    let reads = [
        "SELECT * FROM telemetry_alerts",
        "SELECT * FROM alert_rules",
        "SELECT * FROM alert_state",
    ];
    let writes = [
        "SELECT evaluate_alerts()",
        "SELECT ack_alert('volatile_exposed')",
        "SELECT silence_alert('blocking', '1 hour')",
        "SELECT unsilence_alert('blocking')",
        "SELECT test_alert('blocking', ends_in => '1 second')",
        "UPDATE alert_rules SET note = 'x'",
    ];
    for (group, sees, looks, does) in [
        (None, false, false, false),
        (Some("telemetry_writer"), false, false, false),
        (Some("telemetry_reader"), true, false, false),
        (Some("pg_monitor"), true, true, false),
        (Some("telemetry_admin"), true, true, true),
    ] {
        let name = database.create_login(group);
        let mut user = database.connect_as(&name);
        let mut may = |what: &str, allowed: bool| match (user.try_exec(what), allowed) {
            (Ok(()), true) => {}
            // Who may not even look into the schema finds nothing there.
            (Err(failure), false) if group.is_none() => {
                assert!(
                    ["42501", "42883", "42P01"].contains(&failure.code.as_str()),
                    "{what}: {failure}"
                );
            }
            (Err(failure), false) => assert_eq!(failure.code, "42501", "{group:?}: {what}: {failure}"),
            (outcome, _) => panic!("{group:?}: {what}: {outcome:?}"),
        };
        may("SELECT * FROM health()", sees);
        reads.iter().for_each(|what| may(what, looks));
        writes.iter().for_each(|what| may(what, does));
        if looks {
            // The same for all who look: it is not what their own rights would show them.
            assert_eq!(states(&mut user, ALERT), ["firing"]);
        }
    }
}

#[test]
fn without_preload_all_is_looked_at_when_asked() {
    let mut door = Door::fresh();
    tune(&mut door.session, ALERT, "warn = 2");
    assert_eq!(health(&mut door.session), (0, "ok: no alert fires".to_owned()));
    stage(&mut door.session, DOORS[0], door.attribute, 1, 2);
    // Nobody looks again and again, so nothing can have lasted.
    let (status, summary) = health(&mut door.session);
    assert!(status == 1 && summary.contains(ALERT), "{summary}");
    assert_eq!(door.row("state"), ["firing"]);
    assert_eq!(
        door.session.number("SELECT count(*) FROM alert_state"),
        0,
        "asking writes nothing"
    );
    assert!(
        states(&mut door.session, "worker_missing").is_empty(),
        "there are none to miss"
    );

    tune(&mut door.session, ALERT, "for_duration = '1 hour'");
    assert_eq!(door.row("state"), ["pending"], "who can tell");
    assert_eq!(health(&mut door.session).0, 0);
    tune(&mut door.session, ALERT, "for_duration = NULL");

    // Somebody begins to look: then it has to last. When nobody has for long, it is as before.
    door.look();
    assert_eq!(door.row("state"), ["pending"]);
    door.session
        .exec("UPDATE alert_evaluations SET evaluated_at = now() - interval '2 minutes'");
    assert_eq!(door.row("state"), ["firing"]);
    door.session
        .exec("UPDATE alert_evaluations SET evaluated_at = now() + interval '1 hour'");
    assert_eq!(door.row("state"), ["firing"], "nobody has looked in the future");
}

#[test]
fn a_standby_judges_itself() {
    let primary = Cluster::builder()
        .preload()
        .set("pg_telemetry.alert_interval", "1s")
        .start();
    let database = primary.create_database("replicated");
    let mut session = install(&database);
    workers::wait_for_start(&primary, "replicated");
    session.exec("SELECT test_alert('blocking', ends_in => '1 hour')");
    let standby = primary.standby();
    let mut replica = standby.connect("replicated");
    standby.catch_up_with(&primary);
    let role = "SELECT status, node_role, checked_at > now() - interval '5 s' FROM health()";
    eventually(Duration::from_secs(30), "the standby is well", || {
        match replica.rows(role).swap_remove(0) {
            row if row == ["0", "standby", "t"] => Ok(()),
            row => Err((row, health(&mut replica))),
        }
    });
    assert_eq!(states(&mut replica, "replica_disconnected"), ["ok"]);
    assert_eq!(
        states(&mut replica, "disk_full"),
        ["silenced"],
        "overrides come along"
    );
    assert!(
        states(&mut replica, "staging_old").is_empty(),
        "that is a matter of the primary"
    );
    assert_eq!(
        replica.number("SELECT count(*) FROM telemetry_alerts WHERE is_test"),
        0
    );
    for call in [
        "evaluate_alerts()",
        "ack_alert('blocking')",
        "test_alert('blocking')",
    ] {
        let failure = replica.fails_with("25006", &format!("SELECT {call}"));
        assert!(failure.hint.contains("primary"), "{failure}");
    }
    // Cut off, it says so; promoted, its own keeper looks.
    primary.crash();
    let cut = wait_until(&mut replica, "replica_disconnected", "firing");
    assert_eq!(cut.severity, "critical");
    assert_eq!(health(&mut replica).0, 2);
    standby.promote();
    workers::wait_for_start(&standby, "replicated");
    eventually(
        Duration::from_secs(30),
        "the new primary is looked at",
        || match states(&mut replica, "staging_old") {
            state if state == ["ok"] => Ok(()),
            state => Err(state),
        },
    );
    assert!(states(&mut replica, "replica_disconnected").is_empty());
}

#[test]
fn a_keeper_that_stands_still_is_never_ok() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.alert_interval", "1s")
        .start();
    let database = cluster.create_database("ours");
    let mut session = install(&database);
    workers::wait_for_start(&cluster, "ours");
    let well = |session: &mut Session| {
        eventually(Duration::from_secs(60), "all is well", || match health(session) {
            (0, _) => Ok(()),
            other => Err(other),
        });
    };
    well(&mut session);
    let keeper = workers::pids(&cluster, "ours", "keeper")[0].clone();
    let signal = |name: &str| {
        let sent = std::process::Command::new("kill").args([name, &keeper]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    };
    signal("-STOP");
    eventually(
        Duration::from_secs(40),
        "health() knows nothing any more",
        || match health(&mut session) {
            (3, summary) if summary.contains("alerts were not looked at for") => Ok(()),
            other => Err(other),
        },
    );
    let states_now = session.column("SELECT DISTINCT state FROM telemetry_alerts WHERE alert NOT IN ('worker_missing', 'task_late', 'disk_full') ORDER BY 1");
    assert_eq!(states_now, ["unknown"]);
    let late = wait_until_within(&mut session, "task_late", "firing", Duration::from_secs(90));
    assert!(late.object.starts_with("keeper, "), "{late:?}");
    assert_eq!(late.run, format!("SELECT pg_terminate_backend({keeper});"));
    // Whoever wants to know can look.
    session.exec("SELECT evaluate_alerts()");
    assert_eq!(states(&mut session, "blocking"), ["ok"]);
    signal("-CONT");
    well(&mut session);

    // The death of a process takes the server down with it; until the next look, nothing is known.
    let before: i32 = workers::pids(&cluster, "ours", "keeper")[0]
        .parse()
        .expect("a number");
    cluster.kill_process(before);
    cluster.wait_until_ready();
    let mut session = database.connect();
    well(&mut session);
    assert!(session.is_true("SELECT checked_at > pg_postmaster_start_time() FROM health()"));
}

fn wait_until_within(
    session: &mut Session,
    alert: &str,
    state: &str,
    bound: Duration,
) -> cluster_tests::alerts::Alert {
    eventually(bound, &format!("{alert} is {state}"), || {
        let rows = rows(session, alert);
        match rows.iter().find(|row| row.state == state) {
            Some(row) => Ok(row.clone()),
            None => Err(rows),
        }
    })
}

#[test]
fn an_idle_server_keeps_its_silence() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.alert_interval", "1s")
        .start();
    let database = cluster.create_database("idle");
    let mut session = install(&database);
    workers::wait_for_start(&cluster, "idle");
    let looked = "SELECT runs_total FROM worker_status WHERE task = 'watch_alerts'";
    eventually(Duration::from_secs(30), "the keeper looks", || {
        match session.number(looked) {
            runs if runs > 3 => Ok(()),
            runs => Err(runs),
        }
    });
    let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())";
    let (before, runs) = (session.text(next), session.number(looked));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(session.text(next), before, "transaction ids are used up");
    assert!(session.number(looked) > runs);
}
