//! Rotation where things are not as usual: other calendars, schemas and roles, a restored database, a standby.

use cluster_tests::readings::attribute;
use cluster_tests::{Cluster, Session};

/// What has to be run by itself, as somebody without workers runs it.
fn run_statements(session: &mut Session) {
    for statement in session.column("SELECT statement FROM partition_plan() WHERE statement IS NOT NULL") {
        session.exec(&statement);
    }
}

/// A reading that came in at each of these times.
fn stage(session: &mut Session, times: &[&str]) {
    let id = attribute(session, "temperature", "number");
    for time in times {
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
             VALUES (1, 1, '{time}', {id}, 0)"
        ));
    }
    assert_eq!(session.number("SELECT stage_flush()"), times.len() as i64);
}

#[test]
fn leap_days_ends_of_years_and_weeks_are_those_of_utc() {
    let cluster = Cluster::builder()
        .set("pg_telemetry.accept_past", "2000d")
        .start();
    for (number, (interval, expected)) in [
        ("day", ["2024-02-29 to 2024-03-01", "2024-12-31 to 2025-01-01"]),
        ("week", ["2024-02-26 to 2024-03-04", "2024-12-30 to 2025-01-06"]),
        ("month", ["2024-02-01 to 2024-03-01", "2024-12-01 to 2025-01-01"]),
        ("year", ["2024-01-01 to 2025-01-01", "2024-01-01 to 2025-01-01"]),
    ]
    .into_iter()
    .enumerate()
    {
        cluster.set_and_reload("pg_telemetry.partition_interval", interval);
        let database = cluster.create_database(&format!("calendar_{number}"));
        database.install().exec(&format!(
            "ALTER DATABASE {} SET timezone = 'Australia/Lord_Howe'",
            database.quoted_name()
        ));
        let mut session = database.connect();
        // Over there the one is in March, and the other in another year already.
        stage(
            &mut session,
            &["2024-02-29 23:59:59.999999+00", "2024-12-31 23:59:59.999999+00"],
        );
        session.exec("SET timezone = UTC");
        for (time, expected) in ["2024-02-29 23:59:59+00", "2024-12-31 23:59:59+00"]
            .into_iter()
            .zip(expected)
        {
            let bounds = session.text(&format!(
                "SELECT starts_at::date || ' to ' || ends_at::date FROM partition_health
                 WHERE starts_at <= '{time}' AND ends_at > '{time}' AND parent = 'facts' AND partition IS NOT NULL"
            ));
            assert_eq!(bounds, expected, "{interval}");
        }
    }
}

#[test]
fn in_a_schema_with_an_odd_name_by_an_administrator_who_is_no_superuser() {
    let cluster = Cluster::builder()
        .set("pg_telemetry.accept_past", "1000d")
        .start();
    let database = cluster.create_database("Odd names");
    let mut session = database.connect();
    session.exec(
        "CREATE SCHEMA \"My Telemetry-1\"; CREATE EXTENSION pg_telemetry SCHEMA \"My Telemetry-1\";
         ALTER DATABASE \"Odd names\" SET search_path = \"My Telemetry-1\", public",
    );
    let mut session = database.connect();
    let times = session.column("SELECT now() - n * interval '10 days' FROM unnest(ARRAY[0, 4, 5, 6]) n");
    stage(
        &mut session,
        &times.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    session.exec("UPDATE partition_state SET made_late = false; SELECT set_retention('45 days')");
    session.exec(
        "CREATE ROLE \"An Administrator\" LOGIN; GRANT telemetry_admin TO \"An Administrator\";
         GRANT USAGE ON SCHEMA \"My Telemetry-1\" TO \"An Administrator\"",
    );
    cluster.set_and_reload("pg_telemetry.accept_past", "1h");
    let mut admin = database.connect_as("An Administrator");
    let plan = "SELECT action, count(*) FROM partition_plan() GROUP BY 1 ORDER BY 1";
    assert_eq!(admin.rows(plan), [["detach", "2"], ["seal", "1"]]);
    admin.exec("SELECT rotate_partitions()");
    assert_eq!(
        admin.rows(plan),
        [["detach", "2"], ["seal", "1"]],
        "what goes is not sealed"
    );
    // What has to be run by itself belongs to who owns the tables.
    let statement = admin.text("SELECT statement FROM partition_plan() WHERE action = 'detach' LIMIT 1");
    admin.fails_with("42501", &statement);
    session.exec("GRANT telemetry_owner TO \"An Administrator\"");
    run_statements(&mut admin);
    admin.exec("SELECT rotate_partitions()");
    run_statements(&mut admin);
    admin.exec("SELECT rotate_partitions()");
    assert_eq!(admin.rows(plan), Vec::<Vec<String>>::new());
    let left = "SELECT seal, rows_estimate FROM partition_health WHERE parent = 'facts' AND ends_at < now() AND partition IS NOT NULL";
    assert_eq!(admin.rows(left), [["sealed", "1"]]);
}

#[test]
fn dumped_restored_and_rotated_the_next_day() {
    let cluster = Cluster::builder()
        .set("pg_telemetry.accept_past", "1000d")
        .start();
    let database = cluster.create_database("before");
    let mut session = database.install();
    let times = session.column("SELECT now() - n * interval '10 days' FROM generate_series(3, 5) n");
    stage(
        &mut session,
        &times.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    session.exec("SELECT set_retention('45 days'); UPDATE partition_state SET made_late = false");
    cluster.set_and_reload("pg_telemetry.accept_past", "1h");
    session.exec("SELECT rotate_partitions()");
    run_statements(&mut session);
    // One is detached and about to be dropped, the others are sealed.
    let left = "SELECT leaves_as, seal <> 'open' FROM partition_state WHERE ends_at < now() - interval '20 days' ORDER BY starts_at";
    assert_eq!(session.rows(left).len(), 3);
    database
        .tool("pg_dump", ["-d", "before", "-Fc", "-f", "before.dump"], "")
        .success();
    cluster.clock().set_ahead(24 * 3600);
    let copy = cluster.create_database("after");
    copy.tool("pg_restore", ["-d", "after", "before.dump"], "")
        .success();
    copy.connect()
        .exec("ALTER DATABASE after SET search_path = telemetry, public");
    let mut session = copy.connect();
    let rows =
        session.rows("SELECT action, outcome FROM rotate_partitions() WHERE action <> 'seal' ORDER BY 1");
    assert_eq!(rows[0], ["create", "done"], "{rows:?}");
    assert!(
        rows.contains(&vec!["drop".to_owned(), "done".to_owned()]),
        "{rows:?}"
    );
    for _ in 0..2 {
        run_statements(&mut session);
        session.exec("SELECT rotate_partitions()");
    }
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ts"), 2);
    let agree = "SELECT count(*) FILTER (WHERE relation_oid = to_regclass(partition)), count(*),
                        (SELECT count(*) FROM pg_inherits WHERE inhparent = 'entity_values_ts'::regclass) FROM partition_state";
    let row = session.rows(agree).swap_remove(0);
    assert!(row.iter().all(|count| *count == row[0]), "{row:?}");
    let covered = "SELECT covered_until > now() + interval '4 days' FROM partition_health WHERE parent = 'facts' AND partition IS NULL";
    assert!(session.is_true(covered));
}

#[test]
fn a_standby_sees_what_was_sealed_detached_and_reopened() {
    let primary = Cluster::builder()
        .set("pg_telemetry.accept_past", "1000d")
        .start();
    let database = primary.create_database("seen");
    let mut session = database.install();
    let times = session
        .column("SELECT date_trunc('day', now()) - n * interval '10 days' FROM generate_series(3, 5) n");
    stage(
        &mut session,
        &times.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    session.exec("SELECT set_retention('45 days'); UPDATE partition_state SET made_late = false");
    let standby = primary.standby();
    standby.catch_up_with(&primary);
    let mut replica = standby.connect("seen");
    let periods =
        "SELECT count(*) FROM ingested_periods(now() - interval '35 days', now() - interval '34 days')";
    let oldest = "SELECT max(now()::date - starts_at::date) FROM ingested_periods(now() - interval '35 days', now() - interval '34 days')";
    assert_eq!(replica.number(periods), 1);
    assert_eq!(replica.text(oldest), "50");
    primary.set_and_reload("pg_telemetry.accept_past", "1h");
    for _ in 0..3 {
        session.exec("SELECT rotate_partitions()");
        run_statements(&mut session);
    }
    standby.catch_up_with(&primary);
    // The same session, which knew it otherwise.
    assert_eq!(replica.text(oldest), "0");
    let seals = "SELECT seal, count(*) FROM partition_health WHERE parent = 'facts' AND ends_at < now() AND partition IS NOT NULL GROUP BY 1";
    assert_eq!(replica.rows(seals), [["sealed", "2"]]);
    replica.fails_with("25006", "SELECT rotate_partitions()");
    primary.set_and_reload("pg_telemetry.accept_past", "1000d");
    let late = session.text("SELECT date_trunc('day', now()) - interval '40 days'");
    stage(&mut session, &[&late]);
    standby.catch_up_with(&primary);
    assert_eq!(replica.text(oldest), "40");
}

#[test]
fn a_hundred_years_are_planned_and_not_made() {
    let cluster = Cluster::builder().start();
    let database = cluster.create_database("century");
    let mut session = database.install();
    session.exec("SET timezone = UTC");
    cluster.set_and_reload("pg_telemetry.partition_interval", "year");
    cluster.set_and_reload("pg_telemetry.premake", 100);
    let there = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'entity_values_ts'::regclass";
    let before = session.number(there);
    let planned = session.rows(
        "SELECT count(*) >= 100, bool_and(before IS NULL OR before = starts_at),
                max(ends_at) > now() + interval '99 years',
                -- The first goes on from the days that there are. A leap year has a day more, but for 2100.
                bool_and(before IS NULL OR ends_at - starts_at = interval '365 days' + CASE
                    WHEN extract(year FROM starts_at)::integer % 4 = 0 AND extract(year FROM starts_at) <> 2100 THEN interval '1 day'
                    ELSE interval '0' END)
         FROM (SELECT starts_at, ends_at, lag(ends_at) OVER (ORDER BY starts_at) AS before
               FROM partition_plan()
               WHERE action = 'create' AND starts_at > now() AND partition LIKE '%entity_values_ts_%') AS p",
    );
    assert_eq!(planned, [["t"; 4]]);
    assert_eq!(session.number(there), before);
}
