//! pg_upgrade from an older major, where one is installed.

use cluster_tests::campaign::announce;
use cluster_tests::readings::{DOORS, attribute, everywhere, facts, stage};
use cluster_tests::{Cluster, Installation, SOON, Session, Stop, catalog, eventually, workers};

/// All but the text of views, which each major writes in its own way.
fn objects(session: &mut Session) -> Vec<String> {
    let mut lines = catalog::as_dumped(&catalog::objects_with_all_partitions(session, "telemetry"));
    lines.retain(|line| !line.starts_with("view "));
    lines
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
