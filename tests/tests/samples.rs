//! Samples over time: only what happened, whatever becomes of the counters of the server, and nothing that stops anybody.

use cluster_tests::readings::stage;
use cluster_tests::samples::{nothing_absurd, old_day, sample, state};
use cluster_tests::{Cluster, Database, NULL, SOON, Session, Stop, eventually, shared, workers};

/// A table with a key and some rows.
fn make_table(session: &mut Session, name: &str, rows: i64) {
    session.exec(&format!(
        "CREATE TABLE public.{name} (n integer PRIMARY KEY, v integer);
         INSERT INTO public.{name} SELECT n, n FROM generate_series(1, {rows}) AS n"
    ));
}

/// Rows inserted and sequential scans of a table, in all samples.
fn sums(session: &mut Session, table: &str) -> [i64; 2] {
    let row = session
        .rows(&format!(
            "SELECT coalesce(sum(rows_inserted), 0), coalesce(sum(scans), 0) FROM telemetry.relation_samples
             WHERE relation = 'public.{table}'"
        ))
        .swap_remove(0);
    [0, 1].map(|column| row[column].parse().expect("a number"))
}

#[test]
fn what_happened_between_two_looks_is_written_and_nothing_else() {
    let database = shared::database();
    let mut session = database.install();
    make_table(&mut session, "used", 100);
    make_table(&mut session, "idle", 100);
    sample(&mut session);
    assert_eq!(state(&mut session, "relations"), "began");
    assert_eq!(
        sums(&mut session, "used"),
        [0, 0],
        "what was before counts for nothing"
    );

    session.exec("SELECT count(*) FROM public.used; INSERT INTO public.used VALUES (101, 1), (102, 2)");
    session.exec("UPDATE public.used SET v = 0 WHERE n = 1");
    sample(&mut session);
    assert_eq!(state(&mut session, "relations"), "sampled");
    assert_eq!(sums(&mut session, "used"), [2, 1]);
    assert_eq!(sums(&mut session, "idle"), [0, 0]);
    assert_eq!(
        session.number("SELECT count(*) FROM relation_samples WHERE relation LIKE 'public.idle%'"),
        0
    );
    let index = session
        .rows("SELECT scans, table_name, is_index FROM relation_samples WHERE relation = 'public.used_pkey'");
    assert_eq!(index, [["1", "public.used", "t"].map(str::to_owned)]);

    // A table that is new begins with nothing.
    make_table(&mut session, "fresh", 10);
    sample(&mut session);
    assert_eq!(sums(&mut session, "fresh")[0], 10);
    // The views add up, and say how much of the hour they know.
    let usage = session.rows(
        "SELECT rows_inserted, rows_updated, hot_ratio, index_scans, observed_seconds > 0, observed_seconds < 60, bytes > 0,
                growth_day_bytes
         FROM table_usage WHERE table_name = 'public.used'",
    );
    assert_eq!(
        usage,
        [["2", "1", "1", "1", "t", "t", "t", NULL].map(str::to_owned)]
    );
    let hits = session.rows(
        "SELECT scope, blocks_hit > 0, hit_ratio FROM cache_hit WHERE name IN ('public.used', 'public.idle', current_database()) ORDER BY name",
    );
    assert_eq!(hits[1], ["table", "f", NULL], "nobody asked for a page of it");
    assert_eq!(hits[2][..2], ["table", "t"].map(str::to_owned));
    assert_eq!((&*hits[0][0], &*hits[0][1]), ("database", "t"));
    nothing_absurd(&mut session);
    session.fails_with("22004", "SELECT * FROM cache_hit_rows(NULL)");
    session.fails_with("22023", "SELECT * FROM slow_queries_rows('-1 hour')");
}

#[test]
fn counters_that_are_reset_give_no_false_reading() {
    let database = shared::database();
    let mut session = database.install();
    make_table(&mut session, "reset", 1000);
    sample(&mut session);
    session.exec("INSERT INTO public.reset VALUES (1001, 1)");
    sample(&mut session);
    session.exec("SELECT pg_stat_reset(), pg_stat_reset_shared('wal'), pg_stat_reset_shared('bgwriter')");
    session.exec("INSERT INTO public.reset VALUES (1002, 1), (1003, 1)");
    sample(&mut session);
    assert_eq!(sums(&mut session, "reset")[0], 3);
    session.exec("INSERT INTO public.reset VALUES (1004, 1)");
    sample(&mut session);
    assert_eq!(sums(&mut session, "reset")[0], 4);
    nothing_absurd(&mut session);
}

#[test]
fn a_crash_and_a_copy_begin_anew_and_a_restart_does_not() {
    let cluster = Cluster::builder().start();
    let database = cluster.create_database("crashed");
    let mut session = database.install();
    make_table(&mut session, "written", 1000);
    sample(&mut session);
    session.exec("INSERT INTO public.written VALUES (1001, 1)");
    sample(&mut session);
    assert_eq!(sums(&mut session, "written")[0], 1);

    drop(session);
    cluster.restart(Stop::Fast);
    let mut session = database.connect();
    session.exec("INSERT INTO public.written VALUES (1002, 1)");
    sample(&mut session);
    assert_eq!(state(&mut session, "relations"), "sampled");
    assert_eq!(sums(&mut session, "written")[0], 2);

    // The samples are safe, and the counters begin with nothing.
    session.exec("CHECKPOINT");
    drop(session);
    cluster.crash();
    cluster.start();
    let mut session = database.connect();
    session.exec("INSERT INTO public.written VALUES (1003, 1)");
    sample(&mut session);
    for source in ["relations", "server"] {
        assert_eq!(state(&mut session, source), "began", "{source}");
    }
    assert_eq!(sums(&mut session, "written")[0], 2);
    session.exec("INSERT INTO public.written VALUES (1004, 1)");
    sample(&mut session);
    assert_eq!(sums(&mut session, "written")[0], 3);
    nothing_absurd(&mut session);

    // A copy has its own counters, and finds those of another database.
    drop(session);
    cluster
        .connect("postgres")
        .exec("CREATE DATABASE copied TEMPLATE crashed");
    let mut copy = cluster.connect("copied");
    sample(&mut copy);
    assert_eq!(state(&mut copy, "relations"), "began");
    sample(&mut copy);
    nothing_absurd(&mut copy);
}

#[test]
fn a_standby_shows_the_samples_and_begins_anew_when_promoted() {
    let primary = Cluster::builder()
        .preload()
        .set("pg_telemetry.sample_interval", 1)
        .start();
    let database = primary.create_database("moved");
    let mut session = database.install();
    make_table(&mut session, "kept", 500);
    let sampled = "SELECT count(*) FROM sample_runs WHERE source = 'relations' AND state = 'sampled'";
    eventually(SOON, "the keeper takes samples", || {
        match session.number(sampled) {
            0 | 1 => Err("none"),
            _ => Ok(()),
        }
    });
    let standby = primary.standby();
    standby.catch_up_with(&primary);
    let mut replica = standby.connect("moved");
    replica.exec("SET search_path = telemetry");
    for view in [
        "slow_queries",
        "cache_hit",
        "table_usage",
        "tenant_usage",
        "index_health",
    ] {
        replica.rows(&format!("SELECT * FROM {view}"));
    }
    assert!(replica.is_true("SELECT bool_and(sampled_at > now() - interval '1 hour') FROM table_usage"));
    assert!(replica.number("SELECT count(*) FROM table_usage WHERE bytes > 0") > 10);
    let failure = replica.fails_with("25006", "SELECT take_samples()");
    assert!(failure.to_string().contains("recovery"), "{failure}");

    primary.stop(Stop::Immediate);
    standby.promote();
    workers::wait_for_start(&standby, "moved");
    let began = "SELECT count(*) FROM sample_runs WHERE source = 'relations' AND state = 'began'";
    eventually(SOON, "counting begins anew", || match replica.number(began) {
        0 | 1 => Err("not yet"),
        _ => Ok(()),
    });
    let seen = replica.number(sampled);
    eventually(SOON, "samples go on", || {
        let now = replica.number(sampled);
        if now > seen + 1 { Ok(()) } else { Err(now) }
    });
    nothing_absurd(&mut replica);
}

#[test]
fn objects_that_go_and_objects_that_are_locked_stop_nobody() {
    let database = shared::database();
    let mut session = database.install();
    make_table(&mut session, "dropped", 10);
    make_table(&mut session, "locked", 10);
    sample(&mut session);
    session.exec("INSERT INTO public.dropped VALUES (11, 1); INSERT INTO public.locked VALUES (11, 1)");
    session.exec("SELECT pg_stat_force_next_flush()");
    session.exec("DROP TABLE public.dropped");
    let mut holder = database.connect();
    holder.exec("BEGIN; LOCK TABLE public.locked, telemetry.entity_values_ingest IN ACCESS EXCLUSIVE MODE");
    session.exec("SET statement_timeout = '20s'; SET lock_timeout = '100ms'");
    sample(&mut session);
    assert_eq!(state(&mut session, "relations"), "sampled");
    assert_eq!(sums(&mut session, "locked")[0], 1);
    assert_eq!(sums(&mut session, "dropped")[0], 0);
    assert_eq!(
        session.number("SELECT count(*) FROM size_samples WHERE relation = 'public.locked' AND bytes > 0"),
        2
    );
    assert!(session.is_true(
        "SELECT message LIKE '%entity_values_ingest is locked' FROM sample_runs WHERE source = 'tenants' ORDER BY sampled_at DESC LIMIT 1"
    ));
    for view in [
        "slow_queries",
        "cache_hit",
        "table_usage",
        "tenant_usage",
        "index_health",
    ] {
        session.rows(&format!("SELECT * FROM {view}"));
    }
    holder.exec("ROLLBACK");
    // Somebody at work on the samples themselves: the views answer, and say nothing.
    holder.exec(
        "BEGIN; LOCK TABLE telemetry.relation_samples, telemetry.statement_samples IN ACCESS EXCLUSIVE MODE",
    );
    assert!(session.rows("SELECT * FROM table_usage").is_empty());
    assert!(
        session.text("SELECT hint FROM slow_queries").contains("locked")
            || session.text("SELECT state FROM slow_queries").contains("locked")
    );
    holder.exec("ROLLBACK");
}

#[test]
fn a_source_that_fails_leaves_the_others_alone() {
    let database = shared::database();
    let mut session = database.install();
    sample(&mut session);
    session.exec("ALTER TABLE relation_samples ADD CONSTRAINT none CHECK (scans < 0) NOT VALID");
    make_table(&mut session, "unwritten", 10);
    sample(&mut session);
    assert_eq!(state(&mut session, "relations"), "failed");
    assert_eq!(state(&mut session, "server"), "sampled");
    let message = session.text("SELECT message FROM sample_runs WHERE state = 'failed'");
    assert!(message.ends_with("(23514)"), "{message}");
    // What was not written then is in the next sample.
    session.exec("ALTER TABLE relation_samples DROP CONSTRAINT none");
    sample(&mut session);
    assert_eq!(sums(&mut session, "unwritten")[0], 10);
}

/// Partitions of a table of samples.
fn days(session: &mut Session, table: &str) -> i64 {
    session.number(&format!(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'telemetry.{table}'::regclass"
    ))
}

#[test]
fn days_go_by_age_and_by_size_and_nothing_else_does() {
    let cluster = Cluster::builder().set("pg_telemetry.sample_keep", "10d").start();
    let database = cluster.create_database("old");
    let mut session = database.install();
    sample(&mut session);
    let usual = days(&mut session, "relation_samples");
    for ago in [2, 5, 11] {
        old_day(&mut session, "relation_samples", ago);
        old_day(&mut session, "sample_runs", ago);
    }
    let others = "SELECT count(*) FROM pg_class WHERE relname !~ '_old11' AND relnamespace <> 'pg_toast'::regnamespace";
    let before = session.number(others);
    sample(&mut session);
    assert_eq!(
        days(&mut session, "relation_samples"),
        usual + 2,
        "the one of 11 days ago is gone"
    );
    assert_eq!(days(&mut session, "sample_runs"), usual + 2);
    assert_eq!(session.number(others), before);

    session.exec(
        "INSERT INTO relation_samples SELECT now() - interval '5 days', 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, false, repeat('x', 100), 'r', 't'
         FROM generate_series(1, 12000)",
    );
    cluster.set_and_reload("pg_telemetry.sample_max_size", "2MB");
    sample(&mut session);
    assert_eq!(
        days(&mut session, "relation_samples"),
        usual + 1,
        "the oldest was enough"
    );
    assert_eq!(state(&mut session, "relations"), "sampled");

    // Today's own: no more of them, and no gap in what they mean.
    session.exec(
        "INSERT INTO relation_samples SELECT now(), 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, false, repeat('x', 100), 'r', 't'
         FROM generate_series(1, 20000)",
    );
    sample(&mut session);
    assert_eq!(state(&mut session, "relations"), "full");
    assert_eq!(state(&mut session, "server"), "sampled");
    assert_eq!(
        days(&mut session, "relation_samples"),
        usual,
        "nothing of the past is left"
    );
    cluster.set_and_reload("pg_telemetry.sample_max_size", "-1");
    sample(&mut session);
    assert_eq!(state(&mut session, "relations"), "sampled");
}

#[test]
fn a_day_that_is_read_is_dropped_later() {
    let database = shared::database();
    let mut session = database.install();
    sample(&mut session);
    old_day(&mut session, "relation_samples", 100);
    let usual = days(&mut session, "relation_samples");
    let mut reader = database.connect();
    reader.exec("BEGIN; SELECT count(*) FROM telemetry.relation_samples");
    sample(&mut session);
    assert_eq!(days(&mut session, "relation_samples"), usual);
    reader.exec("COMMIT");
    sample(&mut session);
    assert_eq!(days(&mut session, "relation_samples"), usual - 1);
}

fn tenants(session: &mut Session) -> Vec<Vec<String>> {
    session.rows("SELECT place, tenant_id, rows_estimate, round(share_ratio::numeric, 2), bytes_estimate > 0 FROM tenant_usage ORDER BY 1, 2")
}

#[test]
fn tenants_are_told_apart_wherever_their_readings_are() {
    let database = shared::database();
    let mut session = database.install();
    let temperature = session.number("SELECT register_attribute(0, 'temperature', 'number')");
    stage(&mut session, "entity_values_ingest_durable", temperature, 1, 300);
    session.exec("SELECT stage_flush()");
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)
         SELECT 7, n, {temperature}, n FROM generate_series(1, 100) AS n"
    ));
    sample(&mut session);
    let found = tenants(&mut session);
    let row = |place: &str, tenant: &str, rows: &str| {
        [place, tenant, rows, "1.00", "t"].map(str::to_owned).to_vec()
    };
    assert_eq!(found, [row("facts", "1", "300"), row("staging", "7", "100")]);

    session.exec("SELECT stage_flush()");
    // A partition that somebody else has made does not stop the others.
    session.exec("CREATE TABLE public.theirs PARTITION OF entity_values_ts FOR VALUES FROM ('2001-01-01') TO ('2001-01-02')");
    sample(&mut session);
    assert_eq!(state(&mut session, "tenants"), "sampled");
    let found = tenants(&mut session);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0], ["facts", "1", "300", "0.75", "t"]);
    assert_eq!(found[1], ["facts", "7", "100", "0.25", "t"]);
    assert_eq!(
        session.number("SELECT count(rows_day_ago_estimate) FROM tenant_usage"),
        0
    );
}

#[test]
fn only_who_watches_may_see_them_and_only_who_administers_may_take_them() {
    let database: Database = shared::database();
    let mut session = database.install();
    sample(&mut session);
    let monitor = database.create_login(Some("pg_monitor"));
    let admin = database.create_login(Some("telemetry_admin"));
    let reader = database.create_login(Some("telemetry_reader"));
    for view in [
        "slow_queries",
        "cache_hit",
        "table_usage",
        "tenant_usage",
        "index_health",
    ] {
        let all = format!("SELECT * FROM telemetry.{view}");
        database.connect_as(&monitor).rows(&all);
        database.connect_as(&admin).rows(&all);
        database.connect_as(&reader).fails_with("42501", &all);
    }
    database
        .connect_as(&admin)
        .exec("SELECT telemetry.take_samples()");
    database
        .connect_as(&monitor)
        .fails_with("42501", "SELECT telemetry.take_samples()");
    session.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
    session.fails_with("25000", "SELECT take_samples()");
    session.exec("ROLLBACK");
    let mut other = database.connect();
    other.exec("BEGIN; SELECT telemetry.take_samples()");
    session.fails_with("55P03", "SELECT take_samples()");
    other.exec("ROLLBACK");
    session.exec("SELECT take_samples()");
}
