//! Samples of statements: wherever pg_stat_statements is, whatever it says, and when it forgets.

use cluster_tests::samples::{nothing_absurd, sample};
use cluster_tests::{Cluster, NULL, Session, shared};

#[test]
fn statements_are_read_wherever_they_are_kept_and_never_reset() {
    let cluster = Cluster::builder()
        .set("shared_preload_libraries", "pg_stat_statements")
        .set("pg_stat_statements.max", 5000)
        .start();
    let database = cluster.create_database("statements");
    let mut session = database.install();
    let told = |session: &mut Session| {
        sample(session);
        session
            .rows("SELECT state, coalesce(hint, '') FROM slow_queries WHERE calls IS NULL")
            .pop()
            .unwrap_or_default()
    };
    assert_eq!(
        session.text("SELECT state FROM slow_queries"),
        "no samples",
        "before the first look"
    );
    assert_eq!(told(&mut session)[0], "not installed");

    // Later, in a schema that not everybody may use.
    session.exec("CREATE SCHEMA \"Elsewhere\"; CREATE EXTENSION pg_stat_statements SCHEMA \"Elsewhere\"");
    let row = told(&mut session);
    assert_eq!(row[0], "not readable");
    let grant = row[1].rsplit(": ").next().expect("a statement");
    assert_eq!(grant, "GRANT USAGE ON SCHEMA \"Elsewhere\" TO pg_read_all_stats");
    session.exec(grant);
    assert_eq!(told(&mut session)[0], "began");

    for _ in 0..7 {
        session.exec("SELECT count(*), 'the slow one' FROM pg_class");
    }
    let calls = "SELECT sum(calls) FROM slow_queries WHERE query LIKE '%pg_class' AND user_name = 'postgres' AND state = 'sampled'";
    assert!(told(&mut session).is_empty());
    assert_eq!(session.number(calls), 7);
    assert!(session.is_true(
        "SELECT bool_and(exec_ms > 0 AND abs(mean_ms * calls - exec_ms) < 0.001 AND rows_per_call = 1 AND stddev_ms >= 0)
         FROM slow_queries WHERE query LIKE '%pg_class'"
    ));
    let entries = session.number("SELECT count(*) FROM \"Elsewhere\".pg_stat_statements");
    assert!(entries > 5, "somebody reset it: {entries}");

    // Somebody else does.
    session.exec("SELECT \"Elsewhere\".pg_stat_statements_reset()");
    for _ in 0..3 {
        session.exec("SELECT count(*), 'the slow one' FROM pg_class");
    }
    sample(&mut session);
    assert_eq!(session.number(calls), 10);

    // Beyond 500, one row stands for the rest; texts are kept once.
    for columns in 1..=520 {
        session.exec(&format!("SELECT {} 1", "1,".repeat(columns)));
    }
    sample(&mut session);
    let at = "sampled_at = (SELECT max(sampled_at) FROM statement_samples)";
    assert_eq!(
        session.number(&format!("SELECT count(*) FROM statement_samples WHERE {at}")),
        501
    );
    assert!(
        session.number(&format!(
            "SELECT calls FROM statement_samples WHERE queryid IS NULL AND {at}"
        )) >= 20
    );
    assert_eq!(
        session.text("SELECT query FROM slow_queries WHERE queryid IS NULL"),
        "(all others)"
    );
    assert_eq!(
        session.number("SELECT count(*) - count(DISTINCT queryid) FROM statement_texts"),
        0
    );
    session.exec("CREATE ROLE with_secret PASSWORD 'do not keep'");
    sample(&mut session);
    assert_eq!(
        session.number("SELECT count(*) FROM statement_texts WHERE query LIKE '%do not keep%'"),
        0
    );
    nothing_absurd(&mut session);

    // Texts are for who may read them; figures for whoever watches.
    let monitor = database.create_login(Some("pg_monitor"));
    let admin = database.create_login(Some("telemetry_admin"));
    let texts = "SELECT count(query) FROM telemetry.slow_queries WHERE queryid IS NOT NULL";
    assert!(database.connect_as(&monitor).number(texts) > 100);
    let mut admin = database.connect_as(&admin);
    assert_eq!(admin.number(texts), 0);
    assert!(admin.number("SELECT count(*) FROM telemetry.slow_queries") > 100);
    admin.fails_with("42501", "SELECT * FROM telemetry.statement_texts");

    session.exec("DROP EXTENSION pg_stat_statements");
    assert_eq!(told(&mut session)[0], "not installed");
    assert_eq!(session.number(calls), 10, "what was sampled stays");
}

#[test]
fn statements_that_are_not_loaded_are_told_so() {
    let database = shared::database();
    let mut session = database.install();
    session.exec("CREATE EXTENSION pg_stat_statements SCHEMA public");
    sample(&mut session);
    let row = session.rows("SELECT state, hint LIKE '%shared_preload_libraries%' FROM slow_queries");
    assert_eq!(row, [["not loaded", "t"].map(str::to_owned)]);
}

/// What is said in place of figures, or beside them: state and hint.
fn told(session: &mut Session) -> Vec<Vec<String>> {
    session.rows("SELECT state, hint FROM slow_queries WHERE calls IS NULL")
}

#[test]
fn statements_that_were_evicted_are_told_and_never_show_too_much() {
    const MOST: usize = 100;
    let cluster = Cluster::builder()
        .set("shared_preload_libraries", "pg_stat_statements")
        .set("pg_stat_statements.max", MOST)
        .start();
    let database = cluster.create_database("crowded");
    let mut session = database.install();
    session.exec("CREATE EXTENSION pg_stat_statements SCHEMA public");
    let known = |session: &mut Session| {
        session.exec("SELECT count(*), 'the known one' FROM pg_class");
    };
    sample(&mut session);
    for _ in 0..7 {
        known(&mut session);
    }
    sample(&mut session);
    assert!(told(&mut session).is_empty(), "there was room for all of them");
    let calls = "SELECT coalesce(sum(calls), 0) FROM slow_queries WHERE query LIKE '%pg_class' AND user_name = 'postgres'";
    assert_eq!(session.number(calls), 7);

    // It is forgotten and comes back, again and again, between two looks and with them.
    let mut ran = 7;
    for round in 0..4 {
        for columns in 1..=MOST * 2 {
            session.exec(&format!("SELECT {}{round}", "1,".repeat(columns)));
            if columns % MOST == 0 {
                known(&mut session);
                ran += 1;
            }
        }
        if round % 2 == 1 {
            sample(&mut session);
        }
    }
    let evictions = session.number("SELECT dealloc FROM public.pg_stat_statements_info");
    assert!(evictions > 10, "{evictions}");
    let shown = session.number(calls);
    assert!((7..=ran).contains(&shown), "{shown} of {ran}");
    let row = told(&mut session).swap_remove(0);
    assert_eq!(row[0], "evicted");
    assert!(
        row[1].contains("Raise pg_stat_statements.max from 100") && row[1].contains(" times"),
        "{row:?}"
    );
    let noted = session.number("SELECT sum(evictions) FROM sample_runs WHERE source = 'statements'");
    assert!((10..=evictions).contains(&noted), "{noted} of {evictions}");
    nothing_absurd(&mut session);
    // Each mean is one that a call can have taken.
    assert!(
        session.is_true("SELECT bool_and(mean_ms > 0 AND mean_ms < 10000) FROM slow_queries WHERE calls > 0")
    );

    // After a reset it counts from nothing, and nothing is noted twice.
    session.exec("SELECT public.pg_stat_statements_reset()");
    sample(&mut session);
    let again = session.number("SELECT sum(evictions) FROM sample_runs WHERE source = 'statements'");
    let left = session.number("SELECT dealloc FROM public.pg_stat_statements_info");
    assert!(again - noted <= left + 1, "{noted}, {again} and {left}");
    // Where none were evicted, nothing is said of it.
    assert_eq!(
        session.text("SELECT count(*) FROM slow_queries_rows('1 millisecond') WHERE state = 'evicted'"),
        "0"
    );
}

/// pg_stat_statements as it would answer, from a table.
fn pretend(session: &mut Session, since: &str) {
    session.exec(&format!(
        "CREATE EXTENSION pg_stat_statements SCHEMA public;
         ALTER EXTENSION pg_stat_statements DROP VIEW public.pg_stat_statements;
         ALTER EXTENSION pg_stat_statements DROP FUNCTION public.pg_stat_statements(boolean);
         DROP VIEW public.pg_stat_statements; DROP FUNCTION public.pg_stat_statements(boolean);
         CREATE TABLE public.entry AS
             SELECT 10::oid AS userid, d.oid AS dbid, true AS toplevel, 42::bigint AS queryid, 'SELECT 42'::text AS query,
                    2::bigint AS calls, 2::bigint AS rows, 4::double precision AS total_exec_time,
                    0::double precision AS total_plan_time, 2::double precision AS max_exec_time,
                    2::double precision AS mean_exec_time, 0::double precision AS stddev_exec_time, 0::bigint AS shared_blks_hit,
                    0::bigint AS shared_blks_read, 0::bigint AS temp_blks_read, 0::bigint AS temp_blks_written, 0::numeric AS wal_bytes
                    {since}
             FROM pg_database d WHERE d.datname = current_database();
         CREATE VIEW public.pg_stat_statements AS SELECT * FROM public.entry;
         CREATE FUNCTION public.pg_stat_statements(showtext boolean) RETURNS SETOF public.entry
             LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM public.entry'"
    ));
    sample(session);
    sample(session);
    assert_eq!(seen(session), [NULL, NULL], "it had run before the first look");
}

/// Calls and time of the statement in all samples.
fn seen(session: &mut Session) -> Vec<String> {
    session
        .rows("SELECT sum(calls), sum(exec_ms) FROM statement_samples WHERE queryid = 42")
        .swap_remove(0)
}

/// Everything that is counted has grown since the last look, and yet it is not the same entry any more.
#[test]
fn an_entry_that_is_a_new_one_is_told_by_its_longest_call_or_its_birth() {
    const TIMES: &str = "SET calls = 3, rows = 3, total_exec_time = 5, mean_exec_time = 5 / 3.0";
    let cluster = Cluster::builder()
        .set("shared_preload_libraries", "pg_stat_statements")
        .start();
    for (name, since, change) in [
        ("longest", "", "max_exec_time = 1.9"),
        (
            "birth",
            ", now() - interval '1 hour' AS stats_since",
            "stats_since = now()",
        ),
    ] {
        let database = cluster.create_database(name);
        let mut session = database.install();
        pretend(&mut session, since);
        session.exec(&format!("UPDATE public.entry {TIMES}, {change}"));
        sample(&mut session);
        assert_eq!(seen(&mut session), ["3", "5"], "{name}: since it was made");
        session.exec("UPDATE public.entry SET calls = 4, rows = 4, total_exec_time = 9, max_exec_time = 4");
        sample(&mut session);
        assert_eq!(seen(&mut session), ["4", "9"], "{name}: the same entry goes on");
        nothing_absurd(&mut session);
    }
}
