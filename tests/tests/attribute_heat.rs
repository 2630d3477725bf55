//! attribute_heat: what is counted, when it is written down, and what is said where nothing is counted.

use cluster_tests::readings::{Ready, attribute, ready};
use cluster_tests::{Cluster, NULL, SOON, Session, eventually};

fn heat(session: &mut Session) -> Vec<Vec<String>> {
    session.rows("SELECT tenant_id, attribute, asked, filtered, state FROM attribute_heat ORDER BY 1, 2")
}

fn use_them(session: &mut Session) {
    for _ in 0..3 {
        session.rows("SELECT * FROM readings(1, 7, 'temperature', now())");
    }
    session.rows("SELECT * FROM find_entities_by_attributes(1, '{\"temperature\": 1, \"mode\": \"x\"}')");
}

#[test]
fn without_preload_the_view_says_that_nothing_is_counted() {
    let Ready { mut session, .. } = ready();
    session.rows("SELECT * FROM readings(1, 7, 'temperature', now())");
    assert_eq!(
        heat(&mut session),
        [["1", "temperature", NULL, NULL, "not preloaded"]]
    );
}

#[test]
fn uses_are_counted_and_written_down() {
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("heat");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    attribute(&mut session, "mode", "text");
    session.exec("SELECT register_attribute(0, 'shared', 'number'), register_attribute(9, 'unused', 'text')");
    use_them(&mut session);
    session.rows("SELECT * FROM readings(1, 7, 'shared', now())");
    let expected = [
        ["1", "mode", "0", "1", "counted"],
        ["1", "shared", "1", "0", "counted"],
        ["1", "temperature", "3", "1", "counted"],
        ["9", "unused", "0", "0", "counted"],
    ];
    assert_eq!(heat(&mut session), expected);
    session.exec("SELECT promote_attribute(1, 'mode')");
    session.rows("SELECT entity_latest(1, 7, ARRAY['mode']), entity_latest(1, 7)");
    let mode = "SELECT asked FROM attribute_heat WHERE attribute = 'mode'";
    assert_eq!(session.number(mode), 1);
    // Of what is written, one in so many stands for all.
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)
         SELECT 1, entity, {id}, 1 FROM generate_series(1, 61000) entity"
    ));
    eventually(SOON, "written readings to be counted", || {
        match session.number("SELECT written FROM attribute_heat WHERE attribute = 'temperature'") {
            61000 => Ok(()),
            seen => Err(seen),
        }
    });
    // Another database has counters of its own.
    let other = cluster.create_database("cold");
    let mut elsewhere = other.install();
    attribute(&mut elsewhere, "temperature", "number");
    assert_eq!(heat(&mut elsewhere), [["1", "temperature", "0", "0", "counted"]]);
    // The keeper writes it down within a minute; a reload makes it due at once.
    cluster.reload();
    eventually(SOON, "counts in the table", || {
        match session.column(
            "SELECT asked FROM attribute_use JOIN attributes USING (attribute_id) WHERE name = 'temperature'",
        ) {
            seen if seen == ["3"] => Ok(()),
            seen => Err(seen),
        }
    });
    use_them(&mut session);
    let line = "SELECT asked, filtered FROM attribute_heat WHERE attribute = 'temperature'";
    assert_eq!(session.rows(line), [["6", "2"]]);
    cluster.reload();
    eventually(SOON, "more counts in the table", || {
        match session.number(
            "SELECT asked FROM attribute_use JOIN attributes USING (attribute_id) WHERE name = 'temperature'",
        ) {
            6 => Ok(()),
            seen => Err(seen),
        }
    });
    assert_eq!(session.rows(line), [["6", "2"]]);
    // A crash forgets what was not written down, and nothing else. The keeper may just have come by once more.
    use_them(&mut session);
    cluster.crash();
    cluster.start();
    let mut session = database.connect();
    let left = session.rows(line);
    assert!(
        [["6", "2"], ["9", "3"]]
            .map(|row| vec![row])
            .iter()
            .any(|row| left == *row),
        "{left:?}"
    );
}

#[test]
fn more_attributes_than_there_is_room_for_are_counted_together() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.background_workers", "off")
        .start();
    let database = cluster.create_database("many");
    let mut session = database.install();
    session.exec("SELECT register_attribute(0, 'shared', 'number')");
    session.exec(
        "DO $$ BEGIN FOR tenant IN 1 .. 6000 LOOP
             PERFORM FROM readings(tenant, 7, 'shared', now());
         END LOOP; END $$",
    );
    let sum = "SELECT sum(asked) FROM attribute_heat";
    assert_eq!(session.number(sum), 6000);
    let rest =
        "SELECT asked > 0 FROM attribute_heat WHERE state = 'all others together' AND tenant_id IS NULL";
    assert!(session.is_true(rest));
}
