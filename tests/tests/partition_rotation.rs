//! rotate_partitions() and partition_plan(): what is made, when, and in nobody's way.

use cluster_tests::readings::{attribute, facts, ready, stage};
use cluster_tests::{Cluster, SOON, Session, eventually, shared};

const PARTITIONS: &str = "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'entity_values_ts'::regclass ORDER BY 1";

const PLAN: &str = "SELECT action, partition FROM partition_plan()";

/// Drops all partitions of facts but those of the given days, counted from today.
fn keep_only(session: &mut Session, days: &[i64]) {
    for name in session.column(PARTITIONS) {
        let day = format!(
            "SELECT to_date(substr('{name}', length('entity_values_ts_p') + 1), 'YYYYMMDD') - (now() AT TIME ZONE 'UTC')::date"
        );
        if !days.contains(&session.number(&day)) {
            session.exec(&format!("DROP TABLE {name}"));
        }
    }
}

#[test]
fn rotation_does_what_the_plan_says_and_then_nothing_is_left_to_plan() {
    let mut session = ready().session;
    assert!(session.rows(PLAN).is_empty());
    assert!(session.rows("SELECT * FROM rotate_partitions()").is_empty());
    keep_only(&mut session, &[1, 2]);
    let before = session.column(PARTITIONS);
    let planned = session.rows(PLAN);
    assert_eq!(session.column(PARTITIONS), before, "a plan makes nothing");
    assert_eq!(planned.len(), 3, "{planned:?}");
    let current =
        session.rows("SELECT reason, starts_at <= now() AND now() < ends_at FROM partition_plan() LIMIT 1");
    assert_eq!(current, [["readings of now have no partition", "t"]]);
    let done = session.rows("SELECT action, partition FROM rotate_partitions() WHERE outcome = 'done'");
    assert_eq!(done, planned);
    assert_eq!(session.column(PARTITIONS).len(), 5);
    assert!(session.rows(PLAN).is_empty());
}

#[test]
fn gaps_behind_the_current_partition_are_filled() {
    let mut ready = ready();
    let session = &mut ready.session;
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         VALUES (1, 1, now() - interval '3 days', {}, 0)",
        ready.temperature
    ));
    assert_eq!(session.number("SELECT stage_flush()"), 1);
    let gaps = "SELECT (starts_at AT TIME ZONE 'UTC')::date - (now() AT TIME ZONE 'UTC')::date
                FROM partition_plan() WHERE reason LIKE 'a gap%'";
    assert_eq!(session.column(gaps), ["-2", "-1"]);
    assert_eq!(
        session.column("SELECT outcome FROM rotate_partitions()"),
        ["done", "done"]
    );
    assert_eq!(session.column(PARTITIONS).len(), 8);
}

#[test]
fn nobody_waits_for_a_rotation() {
    let mut ready = ready();
    let id = ready.temperature;
    let session = &mut ready.session;
    keep_only(session, &[0]);
    // Writers and readers that are in the middle of a transaction do not hold it up …
    let mut writer = ready.database.connect();
    stage(&mut writer, "entity_values_ingest", id, 1, 10);
    writer.exec("BEGIN; SELECT stage_flush()");
    let mut reader = ready.database.connect();
    reader.exec("BEGIN; SELECT count(*) FROM entity_values_ts");
    session.exec("BEGIN");
    let outcomes = session.column("SELECT DISTINCT outcome FROM rotate_partitions()");
    assert_eq!(outcomes, ["done"]);
    // … and it holds up nobody, as long as it is not committed.
    for (mut other, work) in [
        (
            ready.database.connect(),
            "INSERT INTO entity_values_ts (tenant_id, entity_id, attribute_id, value_num) VALUES (1, 99, 1, 0)",
        ),
        (ready.database.connect(), "SELECT count(*) FROM entity_values_ts"),
    ] {
        other.exec(&format!("SET lock_timeout = '10ms'; {work}"));
    }
    stage(&mut reader, "entity_values_ingest", id, 11, 20);
    reader.exec("SET LOCAL lock_timeout = '10ms'; SELECT stage_flush(); COMMIT");
    writer.exec("COMMIT");
    session.exec("COMMIT");
    assert_eq!(facts(session), (21, 21));
    assert_eq!(session.column(PARTITIONS).len(), 5);
}

#[test]
fn two_rotations_at_once_make_each_partition_once() {
    let mut ready = ready();
    let session = &mut ready.session;
    keep_only(session, &[0]);
    session.exec("BEGIN; SELECT rotate_partitions()");
    let other = ready
        .database
        .background(|session| session.rows("SELECT outcome, detail FROM rotate_partitions()"));
    let waits = format!(
        "SELECT count(*) FROM pg_locks WHERE pid = {} AND NOT granted",
        other.pid()
    );
    let mut watcher = ready.database.connect();
    eventually(SOON, "the second waits", || match watcher.number(&waits) {
        0 => Err(()),
        _ => Ok(()),
    });
    session.exec("COMMIT");
    let outcomes = other.join();
    assert!(
        outcomes.len() == 4 && outcomes.iter().all(|row| row[0] == "needless"),
        "{outcomes:?}"
    );
    assert_eq!(session.column(PARTITIONS).len(), 5);
}

#[test]
fn who_is_in_the_way_is_named_and_the_rest_is_done() {
    let mut ready = ready();
    let session = &mut ready.session;
    keep_only(session, &[0]);
    session.exec("DROP TABLE entity_values_rejected CASCADE; SELECT setup()");
    for name in session.column(
        "SELECT c.oid::regclass FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'entity_values_rejected'::regclass",
    ) {
        session.exec(&format!("DROP TABLE {name}"));
    }
    keep_only(session, &[0]);
    let mut holder = ready.database.connect();
    holder.exec("BEGIN; LOCK TABLE entity_values_ts IN SHARE MODE");
    // One that fails for its lock costs lock_timeout.
    let rows = session.rows("SELECT partition ~ 'rejected', outcome, detail FROM rotate_partitions()");
    assert_eq!(rows.len(), 9, "{rows:?}");
    for row in rows {
        if row[0] == "t" {
            assert_eq!(row[1], "done", "{row:?}");
        } else {
            let named = format!("locks are held by process {} (ShareLock)", holder.pid());
            assert!(row[1] == "failed" && row[2].contains("55P03"), "{row:?}");
            assert!(row[2].contains(&named), "{row:?}");
        }
    }
    holder.exec("COMMIT");
    let outcomes = session.column("SELECT outcome FROM rotate_partitions()");
    assert_eq!(outcomes, ["done"; 4]);
}

#[test]
fn a_table_of_the_same_name_is_not_in_the_way() {
    let mut session = ready().session;
    let names = session.column(PARTITIONS);
    keep_only(&mut session, &[0]);
    session.exec(&format!("CREATE TABLE telemetry.{} (mine integer)", names[1]));
    assert_eq!(
        session.number("SELECT count(*) FROM rotate_partitions() WHERE outcome = 'done'"),
        4
    );
    let second = format!("{}_2", names[1]);
    assert!(session.column(PARTITIONS).contains(&second));
}

#[test]
fn bounds_are_those_of_utc_in_every_time_zone_and_over_every_change_of_clocks() {
    let cluster = Cluster::builder()
        .set("pg_telemetry.partition_interval", "hour")
        .set("pg_telemetry.premake", 30)
        .set("pg_telemetry.accept_past", "1000d")
        .start();
    let changes = [
        ("America/New_York", ["2026-03-08 06:00", "2025-11-02 04:30"]),
        ("Asia/Kolkata", ["2026-03-08 06:00", "2025-12-31 22:00"]),
        ("Australia/Lord_Howe", ["2026-04-04 13:00", "2025-10-04 14:00"]),
    ];
    for (number, (zone, starts)) in changes.into_iter().enumerate() {
        let database = cluster.create_database(&format!("zone_{number}"));
        let mut session = database.install();
        session.exec(&format!(
            "ALTER DATABASE {} SET timezone = '{zone}'",
            database.quoted_name()
        ));
        let mut session = database.connect();
        assert_eq!(session.text("SHOW timezone"), zone);
        let id = attribute(&mut session, "temperature", "number");
        for start in starts {
            session.exec(&format!(
                "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
                 SELECT 1, 1, timestamptz '{start}+00' + n * interval '10 minutes', {id}, n FROM generate_series(0, 35) n"
            ));
            assert_eq!(session.number("SELECT stage_flush()"), 36, "{zone} {start}");
        }
        session.exec("SELECT rotate_partitions()");
        session.exec("SET timezone = UTC");
        let odd = session.rows(
            "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid)
             FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid,
                  LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), '''(.*)''.*''(.*)''') AS bound
             WHERE i.inhparent = 'entity_values_ts'::regclass
               AND (bound[2]::timestamptz - bound[1]::timestamptz <> interval '1 hour'
                    OR extract(minute FROM bound[1]::timestamptz) <> 0
                    OR c.relname <> to_char(bound[1]::timestamptz, '\"entity_values_ts_p\"YYYYMMDD\"t\"HH24MI'))",
        );
        assert!(odd.is_empty(), "{zone}: {odd:?}");
        assert!(session.column(PARTITIONS).len() >= 31 + 12, "{zone}");
    }
}

#[test]
fn intervals_that_do_not_divide_evenly_are_refused() {
    let cluster = Cluster::builder().start();
    let mut session = cluster.connect("postgres");
    session.exec("LOAD 'pg_telemetry'");
    for wrong in ["5 hours", "2 days", "5 minutes", "0 hours", "often", ""] {
        let failure = session.fails_with(
            "22023",
            &format!("ALTER SYSTEM SET pg_telemetry.partition_interval = '{wrong}'"),
        );
        assert!(failure.hint.contains("6 hours"), "{failure}");
        assert!(failure.detail.contains("evenly"), "{failure}");
    }
    cluster.set_and_reload("pg_telemetry.partition_interval", "6 hours");
    let database = cluster.create_database("six_hours");
    let mut session = database.install();
    assert_eq!(
        session.column("SELECT DISTINCT ends_at - starts_at FROM partition_plan()"),
        Vec::<String>::new()
    );
    let names = session.column(PARTITIONS);
    assert_eq!(names.len(), 5);
    assert!(
        names
            .iter()
            .all(|name| ["t0000", "t0600", "t1200", "t1800"].contains(&&name[name.len() - 5..])),
        "{names:?}"
    );
}

#[test]
fn a_standby_shows_the_plan_and_refuses_the_rotation() {
    let primary = Cluster::builder().start();
    let database = primary.create_database("planned");
    let mut session = database.install();
    keep_only(&mut session, &[0]);
    let standby = primary.standby();
    standby.catch_up_with(&primary);
    let mut replica = standby.connect("planned");
    assert_eq!(replica.rows(PLAN).len(), 4);
    replica.fails_with("25006", "SELECT rotate_partitions()");
    session.exec("SELECT rotate_partitions()");
    standby.catch_up_with(&primary);
    assert!(replica.rows(PLAN).is_empty());
    session.fails_with("25006", "BEGIN READ ONLY; SELECT rotate_partitions()");
}

#[test]
fn without_its_table_the_error_says_what_to_do() {
    let database = shared::database();
    let mut session = database.install();
    session.exec("DROP TABLE entity_values_ts CASCADE");
    for call in ["partition_plan()", "rotate_partitions()"] {
        let failure = session.fails_with("55000", &format!("SELECT {call}"));
        assert!(failure.hint.contains("setup()"), "{failure}");
    }
}
