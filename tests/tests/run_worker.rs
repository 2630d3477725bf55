//! run_worker(): a session does what a worker would, where nothing is preloaded.

use std::time::{Duration, Instant};

use cluster_tests::alerts::{evaluate_until, rows, tune};
use cluster_tests::old_day::{EACH, OldDay};
use cluster_tests::readings::{attribute, stage};
use cluster_tests::{Cluster, NULL, SOON, Session, eventually, shared, within};

/// How a session is set up, as far as workers set themselves up otherwise, and which locks it holds.
const SET_UP: &str =
    "SELECT current_user, session_user, current_setting('search_path'), current_setting('lock_timeout'),
     current_setting('statement_timeout'), current_setting('timezone'), current_setting('default_tablespace'),
     current_setting('synchronous_commit'), current_setting('jit'), current_setting('row_security'),
     current_setting('idle_in_transaction_session_timeout'), current_setting('application_name'),
     (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'object')";

fn call(session: &mut Session, worker: &str) {
    session.exec(&format!("CALL telemetry.run_worker('{worker}', '0')"));
}

#[test]
fn the_flusher_flushes_and_leaves_the_session_as_it_was() {
    let database = shared::database();
    let mut session = database.install();
    let admin = database.create_login(Some("telemetry_admin"));
    let mut caller = database.connect_as(&admin);
    caller.exec(
        "SET lock_timeout = '7s'; SET timezone = 'Asia/Kolkata'; SET search_path = public; SET jit = on",
    );
    let before = caller.rows(SET_UP);
    let id = attribute(&mut session, "temperature", "number");
    for round in 1..=3 {
        stage(&mut session, "entity_values_ingest", id, 1, 100);
        call(&mut caller, "flusher");
        assert_eq!(
            session.number("SELECT count(*) FROM entity_values_ts"),
            100 * round
        );
        assert_eq!(caller.rows(SET_UP), before);
    }
    let status = "SELECT state, runs_total, last_error FROM worker_status WHERE worker = 'flusher 1' AND task = 'flush'";
    assert_eq!(session.rows(status), [["scheduled", "3", NULL]]);
    // The caller has no rights on the tables, neither before nor after.
    caller.fails_with("42501", "SELECT * FROM telemetry.flush_state");
}

#[test]
fn for_as_long_as_was_said() {
    let database = shared::database();
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    let began = Instant::now();
    let worker = database.background_sql("CALL telemetry.run_worker('flusher', '3 s')");
    for round in 1..=3 {
        stage(&mut session, "entity_values_ingest", id, 1, 10);
        eventually(Duration::from_secs(2), "the flush", || {
            match session.number("SELECT count(*) FROM entity_values_ts") {
                found if found == 10 * round => Ok(()),
                found => Err(found),
            }
        });
    }
    worker.join().expect("it ends well");
    assert!(began.elapsed() >= Duration::from_secs(3));
    // It holds no snapshot and no transaction while it waits, and shows what was called.
    let worker = database.background_sql("CALL telemetry.run_worker('keeper', '2 s')");
    let seen = "SELECT state, query, backend_xmin IS NULL AND backend_xid IS NULL AND xact_start IS NULL FROM pg_stat_activity
                WHERE query LIKE 'CALL telemetry.run_worker%' AND datname = current_database()";
    eventually(SOON, "it waits between two tasks", || match session.rows(seen) {
        rows if rows == [["active", "CALL telemetry.run_worker('keeper', '2 s')", "t"]] => Ok(()),
        rows => Err(rows),
    });
    worker.join().expect("it ends well");
    // Alerts, too, which then have a memory.
    assert_eq!(
        session.text("SELECT evaluated_by FROM alert_evaluations"),
        "run_worker()"
    );
    let tasks = "SELECT bool_and(state = 'scheduled'), count(*) FILTER (WHERE last_success_at IS NULL), min(last_error)
                 FROM worker_status WHERE worker = 'keeper'";
    assert_eq!(session.rows(tasks), [["t", "0", NULL]]);
}

#[test]
fn the_janitor_seals_deletes_rewrites_builds_detaches_and_drops() {
    let mut day = OldDay::new(Cluster::builder());
    let session = &mut day.session;
    session.exec("SELECT set_retention('30 days', 1); SELECT set_retention('90 days')");
    session.exec("SELECT add_fact_index('{tenant_id, value_num}', index_name => 'by_value')");
    session.exec("SELECT promote_attribute(1, 'temperature', true)");
    session.exec("SELECT reindex_facts('entity_values_ts_series_idx')");
    session.exec("CALL run_worker('janitor', '12 s')");
    assert_eq!(
        session.rows("SELECT * FROM partition_plan()"),
        Vec::<Vec<String>>::new()
    );
    assert_eq!(day.of_tenant(1), 0);
    assert_eq!(day.of_tenant(2), EACH);
    assert_ne!(day.state("rewritten_at"), "", "its room was given back");
    day.holds_together();
    let session = &mut day.session;
    assert_eq!(
        session.rows("SELECT index_name, is_complete, to_rebuild FROM fact_indexes WHERE index_name IN ('by_value', 'entity_values_ts_series_idx') ORDER BY 1"),
        [["by_value", "t", "0"], ["entity_values_ts_series_idx", "t", "0"]]
    );
    assert_eq!(session.rows("SELECT phase FROM attribute_builds"), [["done"]]);
    // And now all of it goes.
    session.exec("SELECT set_retention('20 days')");
    session.exec("CALL run_worker('janitor', '6 s')");
    assert_eq!(
        day.session.rows("SELECT * FROM partition_plan()"),
        Vec::<Vec<String>>::new()
    );
    assert_eq!(
        day.session
            .text(&format!("SELECT to_regclass('{}')", day.partition)),
        NULL
    );
}

#[test]
fn what_fails_is_said_by_the_call_and_by_worker_status() {
    let database = shared::database();
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    session.exec(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no disk' USING ERRCODE = '53100'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON entity_values_ts FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    stage(&mut session, "entity_values_ingest", id, 1, 5);
    let status = "SELECT state, errors_total > 0, consecutive_errors > 0, last_sqlstate FROM worker_status WHERE task = 'flush'";
    for _ in 0..2 {
        let failure = session.fails_with("53100", "CALL run_worker('flusher', '0')");
        assert!(
            failure.message.contains("task flush") && failure.message.contains("no disk"),
            "{failure}"
        );
        assert!(failure.hint.contains("worker_status"), "{failure}");
        assert_eq!(session.rows(status), [["backoff", "t", "t", "53100"]]);
    }
    tune(&mut session, "flush_failing", "warn = 1, for_duration = '0'");
    let failing = evaluate_until(&mut session, "flush_failing", "firing");
    assert!(failing.detail.contains("no disk"), "{failing:?}");
    session.exec("DROP TRIGGER refuse ON entity_values_ts");
    call(&mut session, "flusher");
    assert_eq!(session.rows(status), [["scheduled", "t", "f", "53100"]]);
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ts"), 5);
    // Nobody calls it any more.
    session.exec("UPDATE worker_runs SET seen_at = seen_at - interval '5 minutes'");
    let missing = "SELECT state, detail, hint LIKE '%cron.job_run_details%' FROM worker_status WHERE worker = 'flusher 1' AND task IS NULL";
    assert_eq!(
        session.rows(missing),
        [[
            "missing",
            "nobody has called run_worker() for it for minutes",
            "t"
        ]]
    );
    // Which is an alert, as it is with workers of the server's own.
    tune(&mut session, "worker_missing", "for_duration = '0'");
    session.exec("DELETE FROM worker_runs WHERE worker <> 'flusher 1'");
    let missing = evaluate_until(&mut session, "worker_missing", "firing");
    assert!(missing.detail.contains("run_worker()"), "{missing:?}");
    session.exec("DELETE FROM worker_runs");
    session.exec("SELECT evaluate_alerts()");
    assert!(
        rows(&mut session, "worker_missing").is_empty(),
        "nobody is expected to work"
    );
    assert_eq!(
        session.column("SELECT DISTINCT state FROM worker_status"),
        ["not preloaded"]
    );
}

#[test]
fn refused_and_needless_calls() {
    let database = shared::database();
    let mut session = database.install();
    for (code, sql) in [
        ("22023", "CALL run_worker('launcher')"),
        ("22004", "CALL run_worker(NULL)"),
        ("22004", "CALL run_worker('keeper', NULL)"),
        ("22023", "CALL run_worker('keeper', '-1 s')"),
        ("25001", "BEGIN; CALL run_worker('keeper', '0'); COMMIT"),
        (
            "25001",
            "DO $$ BEGIN CALL telemetry.run_worker('keeper', '0'); END $$",
        ),
    ] {
        let failure = session.fails_with(code, sql);
        assert!(!failure.hint.is_empty() || code.starts_with("22"), "{failure}");
        session = database.connect();
    }
    session.exec("SET default_transaction_read_only = on");
    session.fails_with("25006", "CALL run_worker('keeper', '0')");
    session.exec("SET default_transaction_read_only = off");
    let nobody = database.create_login(None);
    database
        .connect_as(&nobody)
        .fails("CALL telemetry.run_worker('keeper')");
    // One at a time; the second does nothing, and does not wait.
    let first = database.background_sql("CALL telemetry.run_worker('janitor', '3 s')");
    let at_it = "SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND mode = 'ExclusiveLock'
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    eventually(SOON, "the first is at it", || match session.number(at_it) {
        1 => Ok(()),
        found => Err(found),
    });
    within(Duration::from_secs(2), "the second", || {
        session.exec("CALL run_worker('janitor', '10 s')")
    });
    first.join().expect("it ends well");
    assert_eq!(session.number(at_it), 0);
}

#[test]
fn where_it_is_preloaded_or_stopped_nothing_is_done() {
    let database = shared::database_with_workers();
    let mut session = database.install();
    within(SOON, "a needless call", || {
        session.exec("CALL run_worker('keeper', '60 s')")
    });
    assert_eq!(session.number("SELECT count(*) FROM worker_runs"), 0);

    let cluster = Cluster::builder()
        .set("pg_telemetry.background_workers", "off")
        .start();
    let database = cluster.create_database("stopped");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest", id, 1, 5);
    call(&mut session, "flusher");
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ts"), 0);
    cluster.set_and_reload("pg_telemetry.background_workers", "on");
    let worker = database.background_sql("CALL run_worker('flusher', '60 s')");
    eventually(SOON, "the flush", || {
        match session.number("SELECT count(*) FROM entity_values_ts") {
            5 => Ok(()),
            found => Err(found),
        }
    });
    // Everything of pg_telemetry shall stand still.
    cluster.set_and_reload("pg_telemetry.background_workers", "off");
    within(SOON, "the end of the call", || worker.join()).expect("it ends well");
}

#[test]
fn cancelled_and_terminated_it_ends_and_nothing_stays_behind() {
    let database = shared::database();
    let mut session = database.install();
    let admin = database.create_login(Some("telemetry_admin"));
    for (worker, in_a_statement) in [
        ("flusher", false),
        ("keeper", false),
        ("janitor", false),
        ("janitor", true),
    ] {
        let holder = in_a_statement.then(|| {
            session.exec("SELECT add_fact_index('{value_int}')");
            let mut holder = database.connect();
            holder.exec("BEGIN; INSERT INTO entity_values_ts SELECT 1, 1, now(), NULL, 1, NULL, 1, NULL");
            holder
        });
        let mut caller = database.connect_as(&admin);
        let before = caller.rows(SET_UP);
        let pid = caller.pid();
        let caller = std::thread::spawn({
            let sql = format!("CALL telemetry.run_worker('{worker}', '60 s')");
            move || (caller.try_exec(&sql), caller)
        });
        let busy = match in_a_statement {
            // It looks for three seconds who is in the way; the cancel comes while it runs something.
            true => format!(
                "SELECT query LIKE 'CALL%' AND wait_event IS DISTINCT FROM 'Extension' FROM pg_stat_activity WHERE pid = {pid}"
            ),
            false => format!(
                "SELECT query LIKE 'CALL%' AND wait_event = 'Extension' FROM pg_stat_activity WHERE pid = {pid}"
            ),
        };
        eventually(SOON, "it runs", || {
            if session.text(&busy) == "t" {
                Ok(())
            } else {
                Err(())
            }
        });
        session.exec(&format!("SELECT pg_cancel_backend({pid})"));
        let (outcome, mut caller) = within(SOON, "the end", || caller.join().expect("no panic"));
        assert_eq!(outcome.expect_err("it was cancelled").code, "57014", "{worker}");
        assert_eq!(caller.rows(SET_UP), before);
        caller.fails_with("42501", "SELECT * FROM telemetry.flush_state");
        drop(holder);
    }
    let mut caller = database.connect_as(&admin);
    let pid = caller.pid();
    let caller = std::thread::spawn(move || caller.try_exec("CALL telemetry.run_worker('flusher', '60 s')"));
    let runs = format!("SELECT query LIKE 'CALL%' FROM pg_stat_activity WHERE pid = {pid}");
    eventually(SOON, "it runs", || {
        if session.text(&runs) == "t" {
            Ok(())
        } else {
            Err(())
        }
    });
    session.exec(&format!("SELECT pg_terminate_backend({pid})"));
    assert!(
        within(SOON, "the end", || caller.join())
            .expect("no panic")
            .is_err()
    );
    call(&mut session, "flusher");
}

#[test]
fn on_a_standby_it_is_refused_and_after_a_crash_it_goes_on() {
    let cluster = Cluster::builder().start();
    let database = cluster.create_database("fleet");
    let mut session = database.install();
    call(&mut session, "keeper");
    let standby = cluster.standby();
    standby.catch_up_with(&cluster);
    let mut replica = standby.connect("fleet");
    replica.fails_with("25006", "CALL run_worker('keeper', '0')");
    let states = "SELECT DISTINCT state FROM worker_status";
    assert_eq!(replica.column(states), ["standby"]);
    let id = attribute(&mut session, "temperature", "number");
    let worker = database.background_sql("CALL run_worker('flusher', '60 s')");
    stage(&mut session, "entity_values_ingest_durable", id, 1, 50);
    cluster.kill_process(session.pid());
    assert!(worker.join().is_err());
    let mut session = database.connect();
    call(&mut session, "flusher");
    call(&mut session, "keeper");
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ts"), 50);
    assert_eq!(session.column("SELECT kind FROM crash_history"), ["crash"]);
}
