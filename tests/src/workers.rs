//! The background workers as the server shows them.

use crate::cluster::Cluster;
use crate::database::Database;
use crate::log::LogMark;
use crate::readings::{attribute, stage};
use crate::session::Session;
use crate::wait::{SOON, eventually};

/// A database whose workers run, on a server of its own: what workers log does not name the database.
pub fn running() -> (Database, Session) {
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("ours");
    let session = database.install();
    wait_for_start(&cluster, "ours");
    (database, session)
}

/// Makes every row take a second on its way into facts, stages some, and waits until the flush is held up by them.
pub fn slow_down(session: &mut Session, flusher: i32) {
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

/// Process ids of one kind of worker ("flusher", "keeper", "janitor", …) in a database.
pub fn pids(cluster: &Cluster, database: &str, kind: &str) -> Vec<String> {
    cluster.connect("postgres").column(&format!(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_telemetry {kind}' AND datname = '{database}'"
    ))
}

/// Kinds of all workers in a database, the launcher and short-lived probes left out.
pub fn kinds(cluster: &Cluster, database: &str) -> Vec<String> {
    cluster.connect("postgres").column(&format!(
        "SELECT substr(backend_type, length('pg_telemetry ') + 1) FROM pg_stat_activity
         WHERE backend_type LIKE 'pg_telemetry %' AND backend_type <> 'pg_telemetry probe'
           AND datname = '{database}' ORDER BY 1"
    ))
}

/// Waits for the workers that always run, flusher and keeper; the flusher's process id.
#[track_caller]
pub fn wait_for_start(cluster: &Cluster, database: &str) -> i32 {
    eventually(SOON, &format!("flusher and keeper run in {database}"), || {
        let kinds = kinds(cluster, database);
        let both = ["flusher", "keeper"]
            .iter()
            .all(|kind| kinds.iter().any(|running| running == kind));
        if both { Ok(()) } else { Err(kinds) }
    });
    flusher(cluster, database)
}

/// The process id of the only flusher.
#[track_caller]
pub fn flusher(cluster: &Cluster, database: &str) -> i32 {
    eventually(SOON, &format!("one flusher runs in {database}"), || {
        match &pids(cluster, database, "flusher")[..] {
            [pid] => Ok(pid.parse().expect("a process id is a number")),
            other => Err(other.to_vec()),
        }
    })
}

/// Waits until no worker is left in a database.
#[track_caller]
pub fn wait_for_end(cluster: &Cluster, database: &str) {
    eventually(SOON, &format!("no worker runs in {database}"), || {
        match kinds(cluster, database) {
            none if none.is_empty() => Ok(()),
            some => Err(some),
        }
    });
}

/// What workers complained about, for a test in which none may. That one was told to end (57P01) is no complaint.
pub fn complaints(log: &LogMark) -> Vec<String> {
    let serious = |line: &String| {
        ["WARNING:", "ERROR:", "FATAL:", "PANIC:"]
            .iter()
            .any(|level| line.contains(level))
    };
    let lines = log
        .lines_with("pg_telemetry")
        .into_iter()
        .filter(|line| is_by_worker(line))
        .filter(serious);
    lines.filter(|line| !line.contains(" 57P01 ")).collect()
}

/// The harness has the server begin each line with the time, [pid] and the kind of process.
fn is_by_worker(line: &str) -> bool {
    line.split_once("] ")
        .is_some_and(|(_, rest)| rest.starts_with("pg_telemetry"))
}

/// Pauses flushing and waits until every flusher has noticed: a flush that has begun before may take what comes after.
#[track_caller]
pub fn pause(session: &mut Session) {
    session.exec("SELECT pause('for the test')");
    eventually(SOON, "flushing stands still", || {
        let states = session.column("SELECT state FROM worker_status WHERE task = 'flush'");
        if !states.is_empty() && states.iter().all(|state| state == "paused") {
            Ok(())
        } else {
            Err(states)
        }
    });
}
