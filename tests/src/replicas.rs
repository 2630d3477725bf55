//! A primary with a standby at the end of a wire, and what they say about their freshness.

use std::sync::Arc;
use std::time::Duration;

use crate::{Builder, Cluster, Database, Proxy, Session, eventually};

/// A verdict changes within two heartbeats; the rest is for a busy machine.
pub const TWO_BEATS: Duration = Duration::from_millis(2000 + 1500);

/// A standby that has just started may first have to catch up.
pub const STARTED: Duration = Duration::from_secs(20);

pub struct Pair {
    pub primary: Arc<Cluster>,
    pub database: Database,
    pub session: Session,
    pub wire: Proxy,
    pub standby: Arc<Cluster>,
    pub replica: Session,
}

/// A primary and a standby that streams from it over a wire, fresh.
pub fn pair() -> Pair {
    pair_with(Cluster::builder())
}

pub fn pair_with(builder: Builder) -> Pair {
    let primary = builder
        .preload()
        .set("cluster_name", "north")
        .set("wal_keep_size", "128MB")
        // Who was cut off comes back without a pause of five seconds.
        .set("wal_retrieve_retry_interval", "200ms")
        .start();
    let database = primary.create_database("fleet");
    let session = database.install();
    let wire = Proxy::to(&primary);
    let standby = primary.standby();
    standby.stream_from(wire.dir());
    let mut replica = standby.connect("fleet");
    becomes_within(STARTED, &mut replica, "fresh");
    Pair {
        primary,
        database,
        session,
        wire,
        standby,
        replica,
    }
}

/// A standby, and a session on it.
pub struct Node {
    pub cluster: Arc<Cluster>,
    pub session: Session,
}

/// A pair, one more standby of the primary, and a server below the first standby: two hops from the primary.
pub struct Fleet {
    pub pair: Pair,
    pub other: Node,
    pub leaf: Node,
}

pub fn fleet() -> Fleet {
    fleet_with(Cluster::builder())
}

pub fn fleet_with(builder: Builder) -> Fleet {
    let pair = pair_with(builder);
    let [other, leaf] = [&pair.primary, &pair.standby].map(|above| {
        let cluster = above.standby();
        let mut session = cluster.connect("fleet");
        becomes_within(STARTED, &mut session, "fresh");
        Node { cluster, session }
    });
    Fleet { pair, other, leaf }
}

/// A standby of which nothing is wrong.
#[track_caller]
pub fn is_well(session: &mut Session) {
    becomes(session, "fresh");
    serves(session, "ftt");
    every_read_works(session);
}

#[track_caller]
pub fn becomes(session: &mut Session, verdict: &str) -> Vec<String> {
    becomes_within(TWO_BEATS, session, verdict)
}

#[track_caller]
pub fn becomes_within(time: Duration, session: &mut Session, verdict: &str) -> Vec<String> {
    eventually(time, &format!("the verdict {verdict}"), || {
        let row = session
            .rows(
                "SELECT verdict, role, lag_seconds, lag_seconds_low, receiver_state, replay_paused, detail, timeline,
                        clock_skew_seconds, bytes_behind FROM telemetry.freshness()",
            )
            .swap_remove(0);
        if row[0] == verdict { Ok(row) } else { Err(row) }
    })
}

#[track_caller]
pub fn lag(session: &mut Session) -> f64 {
    session
        .text("SELECT lag_seconds FROM telemetry.freshness()")
        .parse()
        .expect("a number")
}

#[track_caller]
pub fn becomes_not(session: &mut Session, verdict: &str) -> Vec<String> {
    eventually(TWO_BEATS, &format!("another verdict than {verdict}"), || {
        let row = session
            .rows("SELECT verdict, detail FROM telemetry.freshness()")
            .swap_remove(0);
        if row[0] == verdict { Err(row) } else { Ok(row) }
    })
}

/// What a node answers for strong, eventual and analytics reads.
pub fn classes(session: &mut Session) -> String {
    session.text(
        "SELECT string_agg(left(telemetry.can_serve(class)::text, 1), '' ORDER BY n)
         FROM unnest(ARRAY['strong', 'eventual', 'analytics']) WITH ORDINALITY AS c (class, n)",
    )
}

/// Eventual reads have a budget of three seconds; that long a node may go on after it was cut off.
#[track_caller]
pub fn serves(session: &mut Session, expected: &str) {
    eventually(
        Duration::from_secs(3) + TWO_BEATS,
        &format!("{expected} for strong, eventual and analytics"),
        || match classes(session) {
            seen if seen == expected => Ok(()),
            seen => Err(seen),
        },
    );
}

/// Every table and view can be read, and every function that needs no argument either works or says that nothing can be written.
#[track_caller]
pub fn every_read_works(session: &mut Session) {
    // Nobody can read an UNLOGGED table on a standby.
    let relations = session.column(
        "SELECT c.oid::regclass FROM pg_class c
         WHERE c.relnamespace = 'telemetry'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND c.relpersistence = 'p'",
    );
    for relation in &relations {
        session.rows(&format!("SELECT * FROM {relation}"));
    }
    let functions = session.column(
        "SELECT p.oid::regproc FROM pg_proc p
         WHERE p.pronamespace = 'telemetry'::regnamespace AND p.prokind = 'f' AND p.pronargs = p.pronargdefaults
           AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)",
    );
    let mut working = 0;
    for function in functions {
        // A server that was promoted meanwhile would do it.
        session.exec("BEGIN READ ONLY");
        match session.try_rows(&format!("SELECT * FROM {function}()")) {
            Ok(_) => working += 1,
            Err(failure) => assert_eq!(failure.code, "25006", "{function}: {failure}"),
        }
        session.exec("ROLLBACK");
    }
    assert!(relations.len() > 10 && working > 3, "{relations:?}, {working}");
}

/// A table that takes facts in a database without the extension, as a warehouse has it.
pub const FACTS_ELSEWHERE: &str = "CREATE TABLE entity_values_ts (tenant_id bigint, entity_id bigint, ingested_at timestamptz,
    observed_at timestamptz, value_num double precision, value_int bigint, attribute_id int, value_text text)";

/// Subscribes to publications of the database `fleet`; options may follow their names.
#[track_caller]
pub fn subscribe(copy: &mut Session, source: &Cluster, publications: &str) {
    copy.exec(&format!(
        "CREATE SUBSCRIPTION warehouse CONNECTION 'host={} port=5432 user=postgres dbname=fleet' PUBLICATION {publications}",
        source.socket_dir().display()
    ));
}
