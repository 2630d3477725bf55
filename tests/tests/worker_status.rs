//! What workers may do, what they show, and what they make of errors.

use std::sync::Arc;

use cluster_tests::readings::{attribute, stage, wait_for_facts};
use cluster_tests::{Cluster, NULL, SOON, Session, eventually, shared, workers};

#[test]
fn of_a_server_that_is_well_nothing_is_missing() {
    let (_database, mut session) = workers::running();
    eventually(SOON, "every task has a state that is well", || {
        let found = session.rows(
            "SELECT worker, task, state FROM worker_status
             WHERE state NOT IN ('running', 'sleeping', 'waiting', 'on demand')",
        );
        if found.is_empty() { Ok(()) } else { Err(found) }
    });
}

#[test]
fn writes_of_workers_show_in_the_statistics() {
    let (_database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    wait_for_facts(&mut session, 10);
    for (what, relation) in [
        ("n_tup_ins", "entity_values_ts_p%"),
        ("n_tup_del", "entity_values_ingest"),
    ] {
        let counted = format!("SELECT sum({what}) FROM pg_stat_user_tables WHERE relname LIKE '{relation}'");
        eventually(SOON, &format!("{what} of {relation}"), || {
            match session.number(&counted) {
                10 => Ok(()),
                other => Err(other),
            }
        });
    }
}

#[test]
fn code_of_users_runs_as_owner_of_the_tables_and_cannot_break_out() {
    let (_database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    session.exec(
        "CREATE TABLE seen (who name, broke_out boolean);
         GRANT INSERT ON seen TO telemetry_owner;
         CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
         DECLARE
             broke_out boolean := false;
         BEGIN
             BEGIN
                 SET ROLE postgres;
                 broke_out := true;
             EXCEPTION WHEN insufficient_privilege THEN NULL;
             END;
             BEGIN
                 RESET ROLE;
                 broke_out := broke_out OR current_user <> 'telemetry_owner';
             EXCEPTION WHEN insufficient_privilege THEN NULL;
             END;
             BEGIN
                 CREATE TEMP TABLE outlives_the_task ();
                 broke_out := true;
             EXCEPTION WHEN insufficient_privilege THEN NULL;
             END;
             INSERT INTO telemetry.seen VALUES (current_user, broke_out);
             RETURN NEW;
         END $$;
         CREATE TRIGGER look BEFORE INSERT ON entity_values_ts FOR EACH ROW EXECUTE FUNCTION look()",
    );
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    wait_for_facts(&mut session, 10);
    let seen = session.rows("SELECT DISTINCT who, broke_out FROM seen");
    assert_eq!(seen, [["telemetry_owner", "f"]]);
}

#[test]
fn idle_workers_hold_no_snapshot_and_no_lock() {
    let (database, mut session) = workers::running();
    let held = format!(
        "SELECT count(*) FROM pg_stat_activity a
         WHERE a.backend_type LIKE 'pg_telemetry %' AND a.datname = '{}'
           AND (a.backend_xmin IS NOT NULL OR EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.relation IS NOT NULL))",
        database.name()
    );
    eventually(SOON, "workers are idle without a snapshot", || {
        match session.number(&held) {
            0 => Ok(()),
            some => Err(some),
        }
    });
}

#[test]
fn a_failing_task_is_recorded_backs_off_and_stops_no_other() {
    let (database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    session.exec(
        "CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE 'no space left on the moon' USING ERRCODE = 'disk_full'; END $$;
         CREATE TRIGGER disk_is_full BEFORE INSERT ON entity_values_ts
             FOR EACH ROW EXECUTE FUNCTION disk_is_full()",
    );
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    let of_task = |session: &mut Session, worker: &str, task: &str, columns: &str| {
        let rows =
            format!("SELECT {columns} FROM worker_status WHERE worker = '{worker}' AND task = '{task}'");
        session
            .rows(&rows)
            .pop()
            .unwrap_or_else(|| panic!("no row for {worker}, {task}"))
    };
    let flush = eventually(SOON, "the second error of the flush is recorded", || {
        let columns = "state, consecutive_errors > 1, backoff_until > now(), last_sqlstate, last_error, hint";
        let row = of_task(&mut session, "flusher 1", "flush", columns);
        if row[..3] == ["backoff", "t", "t"] {
            Ok(row)
        } else {
            Err(row)
        }
    });
    assert_eq!(flush[3..5], ["53100", "no space left on the moon"], "{flush:?}");
    assert!(flush[5].contains("backoff_until"), "{flush:?}");
    let premade = of_task(&mut session, "keeper", "rotate", "errors_total, runs_total > 0");
    assert_eq!(premade, ["0", "t"]);
    let logged = database.log().lines_with("no space left on the moon");
    assert!(logged.len() <= 3, "the log is flooded: {logged:#?}");
    session.exec("DROP TRIGGER disk_is_full ON entity_values_ts");
    wait_for_facts(&mut session, 10);
    eventually(SOON, "the flush is well again", || {
        let columns = "consecutive_errors, last_sqlstate, backoff_until";
        let row = of_task(&mut session, "flusher 1", "flush", columns);
        if row == ["0", "53100", NULL] {
            Ok(())
        } else {
            Err(row)
        }
    });
}

#[test]
fn a_missing_table_is_said_and_waited_for() {
    let (database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    session.exec("ALTER TABLE entity_values_ingest RENAME TO hidden");
    let flush = "SELECT state, detail FROM worker_status WHERE worker = 'flusher 1' AND task = 'flush'";
    eventually(SOON, "the flush waits for the table", || {
        let row = session.rows(flush).swap_remove(0);
        if row[0] == "waiting" && row[1].contains("entity_values_ingest") {
            Ok(())
        } else {
            Err(row)
        }
    });
    session.exec("ALTER TABLE hidden RENAME TO entity_values_ingest");
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    wait_for_facts(&mut session, 10);
    let errors = workers::complaints(database.log());
    assert!(errors.len() <= 1, "the log is flooded: {errors:#?}");
}

#[test]
fn every_expected_worker_and_task_is_a_row() {
    let (_database, mut session) = workers::running();
    for row in [
        "launcher ",
        "flusher 1 ",
        "flusher 1 flush",
        "keeper ",
        "keeper rotate",
        "janitor vacuum_staging",
    ] {
        let rows = session.column("SELECT concat(worker, ' ', task) FROM worker_status");
        assert!(rows.iter().any(|seen| seen == row), "no {row:?} in {rows:#?}");
    }
    eventually(SOON, "the flush succeeds every 100 ms", || {
        let row = session
            .rows(
                "SELECT state, pid = (SELECT f.pid FROM worker_status f WHERE f.worker = 'flusher 1' AND f.task IS NULL),
                        last_success_at > now() - interval '5 s', expected_every, runs_total > 2, errors_total,
                        library_version = sql_version
                 FROM worker_status WHERE worker = 'flusher 1' AND task = 'flush'",
            )
            .swap_remove(0);
        let well = ["running", "sleeping"].contains(&row[0].as_str())
            && row[2..] == ["t", "00:00:00.1", "t", "0", "t"];
        if well { Ok(()) } else { Err(row) }
    });
}

#[test]
fn without_preload_worker_status_says_so() {
    let database = shared::database();
    let mut session = database.install();
    let rows = session.rows("SELECT worker, state, hint FROM worker_status");
    assert!(rows.len() >= 4, "{rows:?}");
    for row in &rows {
        assert_eq!(row[1], "not preloaded", "{rows:?}");
    }
    assert!(
        rows.iter().any(|row| row[2].contains("shared_preload_libraries")),
        "{rows:?}"
    );
}

#[test]
fn workers_ignore_the_settings_of_database_and_role() {
    let (database, mut session) = workers::running();
    let name = database.quoted_name();
    for setting in [
        "search_path = public",
        "statement_timeout = '1ms'",
        "lock_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "DateStyle = 'SQL, DMY'",
        "IntervalStyle = 'sql_standard'",
        "TimeZone = 'Pacific/Kiritimati'",
        "standard_conforming_strings = off",
        "quote_all_identifiers = on",
        "row_security = off",
        "session_replication_role = replica",
        "jit_above_cost = 0",
        "enable_partition_pruning = off",
        "bytea_output = 'escape'",
        "extra_float_digits = -15",
    ] {
        session.exec(&format!("ALTER DATABASE {name} SET {setting}"));
    }
    let flusher = workers::flusher(database.cluster(), database.name());
    session.exec(&format!("SELECT pg_terminate_backend({flusher})"));
    eventually(SOON, "another flusher", || {
        match workers::flusher(database.cluster(), database.name()) {
            now if now != flusher => Ok(()),
            now => Err(now),
        }
    });
    // This session has its settings from before.
    let id = attribute(&mut session, "temperature", "number");
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         SELECT 1, n, now() - n * interval '1 day', {id}, 0.1 + n FROM generate_series(1, 5) n"
    ));
    wait_for_facts(&mut session, 5);
    assert_eq!(
        session.number("SELECT count(*) FROM entity_values_ts WHERE value_num = 0.1 + entity_id"),
        5
    );
}

#[test]
fn several_clusters_do_not_get_in_each_others_way() {
    let clusters: Vec<Arc<Cluster>> = (0..2).map(|_| Cluster::builder().preload().start()).collect();
    for cluster in &clusters {
        let database = cluster.create_database("same_name");
        let mut session = database.install();
        let id = attribute(&mut session, "temperature", "number");
        stage(&mut session, "entity_values_ingest", id, 1, 10);
        wait_for_facts(&mut session, 10);
    }
}
