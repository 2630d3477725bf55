//! When workers start, stop and come back. Standbys and versions have files of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster_tests::readings::{DOORS, attribute, everywhere, facts, stage};
use cluster_tests::{
    Background, Cluster, Database, SOON, Session, Stop, eventually, shared, within, workers,
};

/// DROP, RENAME and CREATE … TEMPLATE of a database with workers in it.
const DATABASE_DDL: Duration = Duration::from_secs(2);
const FAST_SHUTDOWN: Duration = Duration::from_secs(3);

/// Workers have moved everything.
#[track_caller]
fn wait_for_facts(session: &mut Session, rows: i64) {
    eventually(SOON, &format!("{rows} facts"), || match facts(session) {
        seen if seen == (rows, rows) => Ok(()),
        seen => Err(seen),
    });
}

/// A database whose workers run, on a server of its own: what workers log does not name the database.
fn running() -> (Database, Session) {
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("ours");
    let session = database.install();
    workers::wait_for_start(&cluster, "ours");
    (database, session)
}

/// A session that stages rows without pause.
struct Writer {
    stop: Arc<AtomicBool>,
    session: Background<i64>,
}

impl Writer {
    const BATCH: i64 = 50;

    /// Between two batches, so that workers keep up with it.
    const PAUSE: Duration = Duration::from_millis(5);

    fn start(database: &Database, attribute_id: i64, first: i64) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let session = database.background(move |session| {
            let mut next = first;
            while !stopped.load(Ordering::Relaxed) {
                let batch = format!(
                    "INSERT INTO telemetry.entity_values_ingest_durable (tenant_id, entity_id, attribute_id, value_num)
                     SELECT 1, n, {attribute_id}, 0 FROM generate_series({next}, {next} + {} - 1) n",
                    Writer::BATCH
                );
                if session.try_exec(&batch).is_err() {
                    break;
                }
                next += Writer::BATCH;
                std::thread::sleep(Writer::PAUSE);
            }
            next - first
        });
        Writer { stop, session }
    }

    /// How many rows were committed, and their commit acknowledged.
    fn finish(self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        self.session.join()
    }
}

/// Makes every row take a second on its way into facts, stages some, and waits until the flush is held up by them.
fn slow_down(session: &mut Session, flusher: i32) {
    let id = attribute(session, "temperature", "number");
    session.exec(
        "CREATE FUNCTION take_a_second() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_catalog.pg_sleep(1); RETURN NEW; END $$;
         CREATE TRIGGER take_a_second BEFORE INSERT ON entity_values_ts
             FOR EACH ROW EXECUTE FUNCTION take_a_second()",
    );
    stage(session, "entity_values_ingest_durable", id, 1, 50);
    let asleep = format!("SELECT wait_event FROM pg_stat_activity WHERE pid = {flusher}");
    eventually(SOON, "the flush takes its time", || match session.text(&asleep) {
        event if event == "PgSleep" => Ok(()),
        event => Err(event),
    });
}

// --- start

#[test]
fn workers_start_by_themselves_in_any_database_with_the_extension() {
    let cluster = Cluster::builder().preload().start();
    for name in ["one", "Another Name", "größe"] {
        let database = cluster.create_database(name);
        let mut session = database.install();
        let id = attribute(&mut session, "temperature", "number");
        for (door, first) in DOORS.into_iter().zip([1, 101]) {
            stage(&mut session, door, id, first, first + 99);
        }
        wait_for_facts(&mut session, 200);
    }
}

#[test]
fn no_worker_runs_where_the_extension_is_not() {
    let (database, _session) = running();
    let cluster = database.cluster();
    let without = cluster.create_database("without");
    let later = cluster.create_database("later");
    let _session = later.install();
    workers::wait_for_start(cluster, later.name());
    for name in [without.name(), "postgres", "template1"] {
        assert_eq!(workers::kinds(cluster, name), Vec::<String>::new());
    }
}

#[test]
fn workers_start_again_with_the_server() {
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("restarted");
    let id = attribute(&mut database.install(), "temperature", "number");
    workers::wait_for_start(&cluster, "restarted");
    for (round, how) in [Stop::Fast, Stop::Smart, Stop::Immediate].into_iter().enumerate() {
        cluster.restart(how);
        let mut session = database.connect();
        stage(
            &mut session,
            "entity_values_ingest",
            id,
            round as i64,
            round as i64,
        );
        wait_for_facts(&mut session, round as i64 + 1);
    }
}

#[test]
fn an_install_that_is_rolled_back_starts_nothing() {
    let (database, _session) = running();
    let cluster = database.cluster();
    let undone = cluster.create_database("undone");
    let mut session = undone.connect();
    session.exec("BEGIN; CREATE EXTENSION pg_telemetry; ROLLBACK");
    // When another install was noticed, so was this one.
    let later = cluster.create_database("later");
    let _session = later.install();
    workers::wait_for_start(cluster, later.name());
    assert_eq!(workers::kinds(cluster, undone.name()), Vec::<String>::new());
    session.exec("CREATE EXTENSION pg_telemetry");
    workers::wait_for_start(cluster, undone.name());
    assert_eq!(workers::complaints(&cluster.log()), Vec::<String>::new());
}

// --- DROP EXTENSION

#[test]
fn workers_stop_on_drop_extension_without_complaint() {
    let (database, mut session) = running();
    session.exec("DROP EXTENSION pg_telemetry");
    workers::wait_for_end(database.cluster(), database.name());
    assert_eq!(workers::complaints(database.log()), Vec::<String>::new());
}

#[test]
fn a_drop_that_is_rolled_back_changes_nothing() {
    let (database, mut session) = running();
    let id = attribute(&mut session, "temperature", "number");
    session.exec("BEGIN; DROP EXTENSION pg_telemetry; ROLLBACK");
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    wait_for_facts(&mut session, 10);
    workers::wait_for_start(database.cluster(), database.name());
}

#[test]
fn a_drop_in_mid_flush_loses_nothing() {
    let (database, mut session) = running();
    let id = attribute(&mut session, "temperature", "number");
    let writer = Writer::start(&database, id, 1);
    let flushed = |session: &mut Session, more_than: i64| {
        eventually(SOON, "the flush goes on", || match facts(session).0 {
            rows if rows > more_than => Ok(rows),
            rows => Err(rows),
        })
    };
    let mut rows = flushed(&mut session, 0);
    for _ in 0..5 {
        session.exec("DROP EXTENSION pg_telemetry");
        session.exec("CREATE EXTENSION pg_telemetry SCHEMA telemetry");
        rows = flushed(&mut session, rows);
    }
    let written = writer.finish();
    wait_for_facts(&mut session, written);
    assert_eq!(workers::complaints(database.log()), Vec::<String>::new());
}

#[test]
fn a_drop_waits_for_the_flush_that_is_under_way() {
    let (database, mut session) = running();
    let id = attribute(&mut session, "temperature", "number");
    let mut blocker = database.connect();
    blocker.exec("BEGIN; LOCK entity_values_ts");
    stage(&mut session, "entity_values_ingest_durable", id, 1, 10);
    let waits = |session: &mut Session, pid: i32, what: &str| {
        let waiting = format!("SELECT locktype FROM pg_locks WHERE pid = {pid} AND NOT granted");
        eventually(SOON, what, || match session.column(&waiting).pop() {
            Some(locktype) => Ok(locktype),
            None => Err("it does not wait"),
        })
    };
    let flusher = workers::flusher(database.cluster(), "ours");
    waits(&mut session, flusher, "the flush waits for the table");
    let drop = database.background_sql("DROP EXTENSION pg_telemetry");
    let waited_for = waits(&mut session, drop.pid(), "DROP EXTENSION waits for the flush");
    assert_eq!(waited_for, "object");
    blocker.exec("COMMIT");
    drop.join().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(everywhere(&mut session), (10, 10));
    workers::wait_for_end(database.cluster(), "ours");
}

#[test]
fn a_hundred_creates_and_drops_leave_nothing_behind() {
    let (database, mut session) = running();
    for _ in 0..100 {
        session.exec("DROP EXTENSION pg_telemetry");
        session.exec("CREATE EXTENSION pg_telemetry SCHEMA telemetry");
    }
    workers::wait_for_start(database.cluster(), database.name());
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    wait_for_facts(&mut session, 10);
    session.exec("DROP EXTENSION pg_telemetry");
    workers::wait_for_end(database.cluster(), database.name());
    assert_eq!(workers::complaints(database.log()), Vec::<String>::new());
}

// --- databases

#[test]
fn a_database_with_workers_can_be_dropped() {
    let (database, session) = running();
    drop(session);
    let mut elsewhere = database.cluster().connect("postgres");
    within(DATABASE_DDL, "DROP DATABASE", || {
        elsewhere.exec(&format!("DROP DATABASE {}", database.quoted_name()))
    });
    assert_eq!(
        workers::kinds(database.cluster(), database.name()),
        Vec::<String>::new()
    );
    assert_eq!(workers::complaints(database.log()), Vec::<String>::new());
}

#[test]
fn a_database_can_be_dropped_during_a_slow_flush() {
    let (database, mut session) = running();
    slow_down(&mut session, workers::flusher(database.cluster(), "ours"));
    drop(session);
    let mut elsewhere = database.cluster().connect("postgres");
    within(DATABASE_DDL, "DROP DATABASE", || {
        elsewhere.exec("DROP DATABASE ours")
    });
}

#[test]
fn a_database_with_workers_can_be_a_template() {
    let (database, mut session) = running();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest_durable", id, 1, 10);
    wait_for_facts(&mut session, 10);
    drop(session);
    let cluster = database.cluster();
    let copy = format!("{}_copy", database.name());
    let mut elsewhere = cluster.connect("postgres");
    within(DATABASE_DDL, "CREATE DATABASE … TEMPLATE", || {
        elsewhere.exec(&format!(
            "CREATE DATABASE {copy} TEMPLATE {}",
            database.quoted_name()
        ))
    });
    workers::wait_for_start(cluster, database.name());
    workers::wait_for_start(cluster, &copy);
    let mut in_copy = cluster.connect(&copy);
    in_copy.exec("SET search_path = telemetry");
    stage(&mut in_copy, "entity_values_ingest", id, 11, 20);
    wait_for_facts(&mut in_copy, 20);
    assert_eq!(facts(&mut database.connect()), (10, 10));
    drop(in_copy);
    within(DATABASE_DDL, "DROP DATABASE", || {
        elsewhere.exec(&format!("DROP DATABASE {copy}"))
    });
}

#[test]
fn a_database_with_workers_can_be_renamed() {
    let (database, mut session) = running();
    let id = attribute(&mut session, "temperature", "number");
    drop(session);
    let cluster = database.cluster();
    let renamed = format!("{} \"new\" name", database.name());
    let quoted = format!("\"{}\"", renamed.replace('"', "\"\""));
    let mut elsewhere = cluster.connect("postgres");
    within(DATABASE_DDL, "RENAME", || {
        elsewhere.exec(&format!(
            "ALTER DATABASE {} RENAME TO {quoted}",
            database.quoted_name()
        ))
    });
    workers::wait_for_start(cluster, &renamed);
    let mut session = cluster.connect(&renamed);
    session.exec("SET search_path = telemetry");
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    wait_for_facts(&mut session, 10);
    drop(session);
    within(DATABASE_DDL, "DROP DATABASE", || {
        elsewhere.exec(&format!("DROP DATABASE {quoted}"))
    });
}

#[test]
fn a_database_with_workers_can_be_moved() {
    let (database, mut session) = running();
    let id = attribute(&mut session, "temperature", "number");
    drop(session);
    let mut elsewhere = database.cluster().connect("postgres");
    elsewhere.exec("SET allow_in_place_tablespaces = on");
    elsewhere.exec("CREATE TABLESPACE elsewhere LOCATION ''");
    within(DATABASE_DDL, "SET TABLESPACE", || {
        elsewhere.exec("ALTER DATABASE ours SET TABLESPACE elsewhere")
    });
    let mut session = database.connect();
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    wait_for_facts(&mut session, 10);
    drop(session);
    elsewhere.exec("ALTER DATABASE ours SET TABLESPACE pg_default");
}

#[test]
fn who_may_not_drop_a_database_cannot_stop_its_workers() {
    let (database, _session) = running();
    let cluster = database.cluster();
    let before = workers::flusher(cluster, "ours");
    cluster.connect("postgres").exec("CREATE ROLE nobody LOGIN");
    let mut nobody = cluster.connect_as("nobody", "postgres");
    for (sql, code) in [
        ("DROP DATABASE ours", "42501"),
        ("DROP DATABASE ours WITH (FORCE)", "42501"),
        ("ALTER DATABASE ours RENAME TO theirs", "42501"),
        ("ALTER DATABASE ours SET TABLESPACE pg_default", "42501"),
        ("CREATE DATABASE theirs TEMPLATE ours", "42501"),
    ] {
        nobody.fails_with(code, sql);
    }
    assert_eq!(workers::flusher(cluster, "ours"), before);
}

#[test]
fn a_drop_that_fails_brings_the_workers_back() {
    let (database, mut session) = running();
    let id = attribute(&mut session, "temperature", "number");
    let mut elsewhere = database.cluster().connect("postgres");
    // `session` is connected, so PostgreSQL itself refuses.
    elsewhere.fails_with("55006", &format!("DROP DATABASE {}", database.quoted_name()));
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    wait_for_facts(&mut session, 10);
}

#[test]
fn other_databases_never_wait_for_workers() {
    let (database, mut session) = running();
    let id = attribute(&mut session, "temperature", "number");
    let writer = Writer::start(&database, id, 1);
    let mut elsewhere = database.cluster().connect("postgres");
    let name = format!("{}_neighbour", database.name());
    for sql in [
        format!("CREATE DATABASE {name} TEMPLATE template1"),
        format!("ALTER DATABASE {name} RENAME TO {name}_2"),
        format!("CREATE DATABASE {name} TEMPLATE {name}_2"),
        format!("DROP DATABASE {name}"),
        format!("DROP DATABASE {name}_2"),
    ] {
        // The launcher may be looking into the new database just now; PostgreSQL waits up to 5 s for that to end.
        within(DATABASE_DDL, &sql, || elsewhere.exec(&sql));
    }
    let written = writer.finish();
    wait_for_facts(&mut session, written);
}

// --- death of a worker

#[test]
fn a_terminated_worker_comes_back() {
    let (database, mut session) = running();
    let id = attribute(&mut session, "temperature", "number");
    let cluster = database.cluster();
    for kind in ["flusher", "keeper"] {
        let before = workers::pids(cluster, database.name(), kind);
        assert_eq!(before.len(), 1, "{kind}");
        session.exec(&format!("SELECT pg_terminate_backend({})", before[0]));
        eventually(SOON, &format!("another {kind}"), || {
            let now = workers::pids(cluster, database.name(), kind);
            if now.len() == 1 && now != before {
                Ok(())
            } else {
                Err(now)
            }
        });
    }
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    wait_for_facts(&mut session, 10);
}

#[test]
fn a_terminated_launcher_comes_back() {
    let cluster = Cluster::builder().preload().start();
    let launcher = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_telemetry launcher'";
    let mut session = cluster.connect("postgres");
    let before = eventually(SOON, "a launcher", || {
        session.column(launcher).pop().ok_or("none")
    });
    session.exec(&format!("SELECT pg_terminate_backend({before})"));
    eventually(SOON, "another launcher", || match session.column(launcher) {
        now if now.len() == 1 && now[0] != before => Ok(()),
        now => Err(now),
    });
    let database = cluster.create_database("later");
    let _session = database.install();
    workers::wait_for_start(&cluster, "later");
}

#[test]
fn a_cancelled_task_is_tried_again() {
    let (database, mut session) = running();
    let id = attribute(&mut session, "temperature", "number");
    let flusher = workers::flusher(database.cluster(), database.name());
    // The flush waits for this lock; the row stays in staging when it is cancelled.
    let mut blocker = database.connect();
    blocker.exec("BEGIN; LOCK entity_values_ts");
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    eventually(SOON, "the flusher waits for the lock", || {
        let waiting = format!("SELECT count(*) FROM pg_locks WHERE pid = {flusher} AND NOT granted");
        if session.number(&waiting) > 0 {
            Ok(())
        } else {
            Err(())
        }
    });
    session.exec(&format!("SELECT pg_cancel_backend({flusher})"));
    blocker.exec("COMMIT");
    wait_for_facts(&mut session, 10);
}

#[test]
fn a_killed_worker_restarts_the_server_and_everything_resumes() {
    let cluster = Cluster::builder().preload().durable().start();
    let database = cluster.create_database("killed");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest", id, 1, 100);
    wait_for_facts(&mut session, 100);
    let flusher = workers::wait_for_start(&cluster, "killed");
    stage(&mut session, "entity_values_ingest_durable", id, 101, 200);
    cluster.kill_process(flusher);
    let mut session = database.connect();
    wait_for_facts(&mut session, 200);
    stage(&mut session, "entity_values_ingest", id, 201, 300);
    wait_for_facts(&mut session, 300);
}

#[test]
fn a_crashed_server_resumes_with_all_that_is_durable() {
    let cluster = Cluster::builder().preload().durable().start();
    let database = cluster.create_database("crashed");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    for round in 0..3 {
        let writer = Writer::start(&database, id, round * 1_000_000);
        let before = facts(&mut session).0;
        eventually(SOON, "the flush is under way", || {
            if facts(&mut session).0 > before {
                Ok(())
            } else {
                Err(())
            }
        });
        cluster.crash();
        let acknowledged = writer.finish();
        cluster.start();
        session = database.connect();
        let since = format!(
            "SELECT count(*) FROM entity_values_ts WHERE entity_id BETWEEN {first} AND {first} + {acknowledged} - 1",
            first = round * 1_000_000
        );
        eventually(SOON, "every acknowledged row is a fact", || {
            match session.number(&since) {
                rows if rows == acknowledged => Ok(()),
                rows => Err((rows, acknowledged)),
            }
        });
        let (rows, entities) = everywhere(&mut session);
        assert_eq!(rows, entities, "a row came twice");
    }
}

// --- shutdown

#[test]
fn a_fast_shutdown_in_mid_flush_is_quick_and_loses_nothing() {
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("stopped");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    workers::wait_for_start(&cluster, "stopped");
    // Far more than can be flushed within the time.
    for (door, first) in DOORS.into_iter().zip([1, 400_001]) {
        stage(&mut session, door, id, first, first + 399_999);
    }
    eventually(SOON, "the flush has begun", || {
        if facts(&mut session).0 > 0 {
            Ok(())
        } else {
            Err(())
        }
    });
    // The checkpoint of a stop depends on the machine; this leaves only our part of it.
    session.exec("CHECKPOINT");
    within(FAST_SHUTDOWN, "a fast shutdown", || cluster.stop(Stop::Fast));
    cluster.set("pg_telemetry.background_workers", "off");
    cluster.start();
    assert_eq!(everywhere(&mut database.connect()), (800_000, 800_000));
}

#[test]
fn a_fast_shutdown_does_not_wait_for_a_slow_flush() {
    let (database, mut session) = running();
    let cluster = database.cluster();
    slow_down(&mut session, workers::flusher(cluster, "ours"));
    session.exec("CHECKPOINT");
    within(FAST_SHUTDOWN, "a fast shutdown", || cluster.stop(Stop::Fast));
    cluster.set("pg_telemetry.background_workers", "off");
    cluster.start();
    assert_eq!(everywhere(&mut database.connect()), (50, 50));
}

#[test]
fn a_planned_stop_flushes_what_is_waiting() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.flush_interval", "60s")
        .start();
    let database = cluster.create_database("last_flush");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    workers::wait_for_start(&cluster, "last_flush");
    let flushes = "SELECT coalesce(sum(runs_total), 0) FROM worker_status WHERE task = 'flush'";
    eventually(SOON, "the first flush", || {
        if session.number(flushes) > 0 {
            Ok(())
        } else {
            Err(())
        }
    });
    for (door, first) in DOORS.into_iter().zip([1, 1001]) {
        stage(&mut session, door, id, first, first + 999);
    }
    assert_eq!(facts(&mut session).0, 0, "nothing was flushed before the stop");
    drop(session);
    cluster.stop(Stop::Fast);
    cluster.set("pg_telemetry.background_workers", "off");
    cluster.start();
    assert_eq!(facts(&mut database.connect()), (2000, 2000));
}

#[test]
fn a_smart_shutdown_does_not_wait_for_workers() {
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("smart");
    drop(database.install());
    workers::wait_for_start(&cluster, "smart");
    within(FAST_SHUTDOWN, "a smart shutdown without sessions", || {
        cluster.stop(Stop::Smart)
    });
}

// --- limits and modes

#[test]
fn missing_worker_slots_are_reported_and_not_fatal() {
    // One for the launcher, one for logical replication's launcher, none for us.
    let cluster = Cluster::builder()
        .preload()
        .set("max_worker_processes", 2)
        .start();
    let database = cluster.create_database("crowded");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    eventually(SOON, "worker_status names the shortage", || {
        let rows = session.rows("SELECT worker, state, detail, hint FROM worker_status");
        let named = rows
            .iter()
            .any(|row| row[1] == "missing" && row[3].contains("max_worker_processes"));
        if named { Ok(()) } else { Err(rows) }
    });
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    let warnings = cluster.log().lines_with("max_worker_processes");
    assert!(warnings.len() <= 2, "the log is flooded: {warnings:#?}");
    drop(session);
    cluster.set("max_worker_processes", 20);
    cluster.restart(Stop::Fast);
    let mut session = database.connect();
    stage(&mut session, "entity_values_ingest", id, 11, 20);
    wait_for_facts(&mut session, 20);
}

#[test]
fn pg_upgrade_mode_is_inert() {
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("upgraded");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    workers::wait_for_start(&cluster, "upgraded");
    drop(session);
    cluster.stop(Stop::Fast);
    let log = cluster.log_mark();
    cluster.start_with(&["-b"]);
    let mut session = database.connect();
    stage(&mut session, "entity_values_ingest_durable", id, 1, 10);
    // Nothing has to happen here, so wait for what would have: the launcher comes up with the server.
    for _ in 0..20 {
        let ours = "SELECT backend_type FROM pg_stat_activity WHERE backend_type LIKE 'pg_telemetry%'";
        assert_eq!(session.column(ours), Vec::<String>::new());
        session.exec("SELECT pg_sleep(0.02)");
    }
    assert_eq!(facts(&mut session).0, 0);
    assert_eq!(workers::complaints(&log), Vec::<String>::new());
    drop(session);
    cluster.restart(Stop::Fast);
    wait_for_facts(&mut database.connect(), 10);
}

// --- what workers may and what they show

#[test]
fn writes_of_workers_show_in_the_statistics() {
    let (_database, mut session) = running();
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
    let (_database, mut session) = running();
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
    let (database, mut session) = running();
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
    let (database, mut session) = running();
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
    let premade = of_task(&mut session, "keeper", "premake", "errors_total, runs_total > 0");
    assert_eq!(premade, ["0", "t"]);
    let logged = database.log().lines_with("no space left on the moon");
    assert!(logged.len() <= 3, "the log is flooded: {logged:#?}");
    session.exec("DROP TRIGGER disk_is_full ON entity_values_ts");
    wait_for_facts(&mut session, 10);
    eventually(SOON, "the flush is well again", || {
        let columns = "consecutive_errors, last_sqlstate, backoff_until";
        let row = of_task(&mut session, "flusher 1", "flush", columns);
        if row == ["0", "53100", cluster_tests::NULL] {
            Ok(())
        } else {
            Err(row)
        }
    });
}

#[test]
fn a_missing_table_is_said_and_waited_for() {
    let (database, mut session) = running();
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
    let (_database, mut session) = running();
    for row in [
        "launcher ",
        "flusher 1 ",
        "flusher 1 flush",
        "keeper ",
        "keeper premake",
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
    let (database, mut session) = running();
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
