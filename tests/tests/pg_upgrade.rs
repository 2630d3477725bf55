//! pg_upgrade from an older major, where one is installed.

use cluster_tests::alerts::{rows, tune};
use cluster_tests::campaign::announce;
use cluster_tests::readings::{DOORS, attribute, everywhere, facts, stage};
use cluster_tests::{Cluster, Installation, SOON, Session, Stop, catalog, eventually, workers};

/// All but the text of views, which each major writes in its own way.
fn objects(session: &mut Session) -> Vec<String> {
    let mut lines = catalog::as_dumped(&catalog::objects_with_all_partitions(session, "telemetry"));
    lines.retain(|line| !line.starts_with("view "));
    lines
}

/// Thresholds of one's own, somebody who is at it, a silence, and what they are about.
fn say_something_of_alerts(session: &mut Session) {
    tune(session, "blocking", "warn = 77, note = 'slow batches'");
    tune(session, "disk_full", "enabled = false");
    tune(
        session,
        "horizon_held",
        "for_duration = '5 min', critical = 'Infinity'",
    );
    session.exec(
        "CREATE SEQUENCE nearly_done AS smallint; ALTER SEQUENCE nearly_done OWNER TO telemetry_owner;
         SELECT setval('nearly_done', 32000)",
    );
    session.exec("SELECT evaluate_alerts()");
    session.exec("SELECT ack_alert('sequence_near_end', reason => 'on Monday')");
    session.exec("SELECT silence_alert('idle_in_transaction', '3 days', reason => 'the nightly job')");
}

/// All of that, as it is kept and as it is shown.
fn said_of_alerts(session: &mut Session) -> [Vec<Vec<String>>; 3] {
    session.exec("SELECT evaluate_alerts()");
    [
        "SELECT * FROM alert_rules ORDER BY alert",
        "SELECT * FROM alert_notes ORDER BY kind, alert, object",
        "SELECT alert, object, severity, state, threshold, since, fired_at, acknowledged_by, acknowledged_until, silenced_by
         FROM telemetry_alerts WHERE alert IN ('blocking', 'disk_full', 'horizon_held', 'sequence_near_end', 'idle_in_transaction')
         ORDER BY alert, object",
    ]
    .map(|sql| session.rows(sql))
}

#[test]
fn pg_upgrade_takes_everything_along() {
    let Some(old) = Installation::old() else {
        announce(
            "SKIPPED: pg_upgrade needs PG_TELEMETRY_OLD_BINDIR, the bin folder of an older major with pg_telemetry",
        );
        return;
    };
    let new = Installation::current();
    assert!(
        old.major() < new.major(),
        "{} is not older than {}",
        old.version(),
        new.version()
    );

    // No sample comes between the looks that are compared.
    let before = Cluster::builder()
        .installation(&old)
        .preload()
        .set("pg_telemetry.sample_interval", "0")
        .start();
    let database = before.create_database("plant");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest", id, 1, 1000);
    eventually(SOON, "1000 facts", || {
        if facts(&mut session).0 == 1000 {
            Ok(())
        } else {
            Err(())
        }
    });
    session.exec("CREATE INDEX added_by_user ON entity_values_ts (value_num)");
    let original = objects(&mut session);
    before.set_and_reload("pg_telemetry.background_workers", "off");
    workers::wait_for_end(&before, "plant");
    for (door, first) in DOORS.into_iter().zip([1001, 2001]) {
        stage(&mut session, door, id, first, first + 99);
    }
    say_something_of_alerts(&mut session);
    let said = said_of_alerts(&mut session);
    let acknowledged = "SELECT acknowledged_by FROM telemetry_alerts WHERE alert = 'sequence_near_end'";
    assert_eq!(session.text(acknowledged), "postgres");
    drop(session);
    before.stop(Stop::Fast);

    let after = Cluster::builder()
        .preload()
        .set("pg_telemetry.background_workers", "off")
        .create();
    after.upgrade_from(&before);
    after.start();
    let mut session = after.connect("plant");
    assert_eq!(everywhere(&mut session), (1200, 1200));
    assert_eq!(said_of_alerts(&mut session), said);
    assert_eq!(session.number("SELECT unsilence_alert('idle_in_transaction')"), 1);
    session.exec("SELECT setval('nearly_done', 1)");
    session.exec("SELECT evaluate_alerts()");
    let ended = rows(&mut session, "sequence_near_end");
    assert!(ended.iter().any(|row| row.state == "resolved"), "{ended:?}");
    session.exec("DROP SEQUENCE nearly_done");
    let missing: Vec<String> = catalog::difference(&original, &objects(&mut session));
    assert_eq!(missing, Vec::<String>::new());
    after.set_and_reload("pg_telemetry.background_workers", "on");
    eventually(SOON, "workers flush what was waiting", || {
        match facts(&mut session) {
            (1200, 1200) => Ok(()),
            seen => Err(seen),
        }
    });
    assert_eq!(attribute(&mut session, "temperature", "number"), id);
    assert_eq!(workers::complaints(&after.log()), Vec::<String>::new());
}
