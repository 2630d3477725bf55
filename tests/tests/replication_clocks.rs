//! Freshness when the clock of a standby, or of its primary, is wrong.

use std::sync::Arc;

use cluster_tests::replicas::{STARTED, TWO_BEATS, becomes, becomes_within, every_read_works, serves};
use cluster_tests::{Cluster, Database, Stop, eventually};

const WRONG: [i64; 4] = [5, -5, 3600, -3600];

struct Nodes {
    primary: Arc<Cluster>,
    database: Database,
    standby: Arc<Cluster>,
}

fn nodes() -> Nodes {
    let primary = Cluster::builder()
        .preload()
        // A jump of the primary's clock looks to it like a standby that has not answered for an hour: it hangs up.
        .set("wal_retrieve_retry_interval", "200ms")
        .start();
    let database = primary.create_database("fleet");
    drop(database.install());
    let standby = primary.standby();
    Nodes {
        primary,
        database,
        standby,
    }
}

#[test]
fn the_clock_of_a_standby() {
    let nodes = nodes();
    nodes.standby.stop(Stop::Fast);
    let clock = nodes.standby.clock();
    nodes.standby.start();
    let mut replica = nodes.standby.connect("fleet");
    becomes_within(STARTED, &mut replica, "fresh");
    for ahead in WRONG {
        clock.set_ahead(ahead);
        let row = becomes(&mut replica, "skewed");
        assert_eq!(row[2..4], ["<null>", "<null>"], "{row:?}");
        serves(&mut replica, "fff");
        every_read_works(&mut replica);
        clock.set_ahead(0);
        becomes(&mut replica, "fresh");
        serves(&mut replica, "ftt");
    }
}

#[test]
fn the_clock_of_the_primary() {
    let Nodes {
        primary,
        database,
        standby,
    } = nodes();
    primary.stop(Stop::Fast);
    let clock = primary.clock();
    primary.start();
    let mut session = database.connect();
    let mut replica = standby.connect("fleet");
    becomes_within(STARTED, &mut replica, "fresh");
    for ahead in WRONG {
        clock.set_ahead(ahead);
        let row = becomes(&mut replica, "skewed");
        assert_eq!(row[2..4], ["<null>", "<null>"], "{row:?}");
        serves(&mut replica, "fff");
        serves(&mut session, "ttt");
        // Heartbeats go on by that clock, and so the primary goes on telling who is behind.
        let fine = "SELECT state, replay_lag_seconds BETWEEN 0 AND 3 FROM telemetry.replication_lag";
        eventually(TWO_BEATS, "a lag that is no hour", || match session.rows(fine) {
            rows if rows == [["streaming", "t"]] => Ok(()),
            rows => Err(rows),
        });
        clock.set_ahead(0);
        becomes(&mut replica, "fresh");
        serves(&mut replica, "ftt");
    }
}
