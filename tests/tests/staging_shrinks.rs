//! Staging that grew by a backlog gets small again, and nobody waits for it meanwhile.

use std::time::{Duration, Instant};

use cluster_tests::integrity::check_staging;
use cluster_tests::readings::{DOORS, attribute, stage};
use cluster_tests::{Cluster, eventually};

/// More than the 16 MB that are worth cutting off.
const BACKLOG: i64 = 400_000;

#[test]
fn the_file_shrinks_while_writers_go_on() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.background_workers", "off")
        .set("autovacuum", "off")
        .start();
    let database = cluster.create_database("shrinks");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    for door in DOORS {
        stage(&mut session, door, id, 1, BACKLOG);
    }
    cluster.set_and_reload("pg_telemetry.background_workers", "on");
    let size = |session: &mut cluster_tests::Session, door: &str| {
        session.number(&format!("SELECT pg_relation_size('{door}') / 8192"))
    };
    let mut longest = Duration::ZERO;
    let mut staged = BACKLOG;
    let start = Instant::now();
    eventually(Duration::from_secs(60), "both files are small", || {
        for door in DOORS {
            let begin = Instant::now();
            staged += 1;
            stage(&mut session, door, id, staged, staged);
            longest = longest.max(begin.elapsed());
        }
        let sizes = DOORS.map(|door| size(&mut session, door));
        std::thread::sleep(Duration::from_millis(3));
        if sizes.iter().all(|pages| *pages < 1000) {
            Ok(())
        } else {
            Err(sizes)
        }
    });
    println!(
        "{:?} until it was small, longest INSERT {longest:?}",
        start.elapsed()
    );
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    let janitor = "SELECT coalesce(max(runs_total), 0) FROM worker_status WHERE task = 'vacuum_staging'";
    assert_eq!(session.number(janitor), 0, "nobody has to ask for a vacuum");
    eventually(Duration::from_secs(30), "everything is in facts", || {
        let found = session.number("SELECT count(*) FROM entity_values_ts");
        let expected = BACKLOG + staged;
        if found == expected {
            Ok(())
        } else {
            Err((found, expected))
        }
    });
    cluster.set_and_reload("pg_telemetry.background_workers", "off");
    for door in DOORS {
        check_staging(&mut session, door);
    }
}
