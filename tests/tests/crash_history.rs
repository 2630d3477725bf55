//! After a crash or failover there is a row that says when it was and what was exposed; and only then.

use std::sync::Arc;

use cluster_tests::readings::{attribute, facts, stage, wait_for_facts};
use cluster_tests::{Cluster, Database, NULL, SOON, Session, Stop, eventually, workers};

const FAST: &str = "entity_values_ingest";

const CRASHES: &str =
    "SELECT kind, rows_last_seen, exposed_from <= exposed_until, exposed_until <= noticed_at,
                              last_seen_at <= exposed_until, timeline_after - timeline_before
                       FROM crash_history ORDER BY noticed_at";

#[track_caller]
fn wait_for_crashes(session: &mut Session, count: usize) -> Vec<Vec<String>> {
    eventually(SOON, &format!("{count} crashes are on record"), || {
        let rows = session.rows(CRASHES);
        if rows.len() == count { Ok(rows) } else { Err(rows) }
    })
}

/// Until the keeper has seen this many rows in the fast door.
#[track_caller]
fn wait_until_seen(session: &mut Session, rows: i64) {
    eventually(
        SOON,
        &format!("the keeper has seen {rows} rows"),
        || match session.text("SELECT coalesce(max(rows_waiting), -1) FROM flush_state") {
            seen if seen == rows.to_string() => Ok(()),
            seen => Err(seen),
        },
    );
}

fn database(cluster: &Arc<Cluster>) -> (Database, Session, i64) {
    let database = cluster.create_database("ours");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    (database, session, id)
}

#[test]
fn a_crash_is_on_record_with_its_window_and_a_clean_restart_is_not() {
    let cluster = Cluster::builder().preload().start();
    let (database, mut session, id) = database(&cluster);
    stage(&mut session, FAST, id, 1, 10);
    wait_for_facts(&mut session, 10);
    wait_until_seen(&mut session, 0);
    workers::pause(&mut session);
    let before = session.text("SELECT now()");
    stage(&mut session, FAST, id, 11, 510);
    wait_until_seen(&mut session, 500);
    let seen = session.text("SELECT now()");

    cluster.restart(Stop::Fast);
    let mut session = database.connect();
    wait_until_seen(&mut session, 500);
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ingest"), 500);

    cluster.crash();
    cluster.start();
    let mut session = database.connect();
    let rows = wait_for_crashes(&mut session, 1);
    assert_eq!(rows, [["crash", "500", "t", "t", "t", "0"]]);
    let window = format!(
        "SELECT exposed_from <= '{before}', exposed_until > '{seen}', exposed_until < noticed_at, bytes_last_seen >= 500 * 60,
                NOT rows_are_estimated
         FROM crash_history"
    );
    assert_eq!(session.rows(&window), [["t", "t", "t", "t", "t"]]);
    let logged = cluster.log().lines_with("the fast door was emptied by a crash");
    assert_eq!(logged.len(), 1, "{logged:#?}");

    // Nothing is staged any more, and the next crash says so.
    session.exec("SELECT resume()");
    stage(&mut session, FAST, id, 511, 520);
    wait_for_facts(&mut session, 20);
    wait_until_seen(&mut session, 0);
    let pid = session.pid();
    cluster.kill_process(pid);
    let mut session = database.connect();
    let rows = wait_for_crashes(&mut session, 2);
    assert_eq!(rows[1], ["crash", "0", "t", "t", "t", "0"]);
    // The memory of the server was new before the keeper was: what came in between was not lost.
    assert!(session.is_true("SELECT bool_and(exposed_until < noticed_at) FROM crash_history"));
    cluster.restart(Stop::Immediate);
    wait_for_crashes(&mut database.connect(), 3);
    cluster.restart(Stop::Fast);
    workers::wait_for_start(&cluster, database.name());
    std::thread::sleep(std::time::Duration::from_millis(1500));
    wait_for_crashes(&mut database.connect(), 3);
}

#[test]
fn without_preload_the_first_flush_notices_and_several_at_once_make_one_record() {
    let cluster = Cluster::builder().start();
    let (database, mut session, id) = database(&cluster);
    stage(&mut session, FAST, id, 1, 10);
    session.exec("SELECT stage_flush()");
    stage(&mut session, FAST, id, 11, 20);
    let seen = session.text("SELECT now()");
    cluster.restart(Stop::Fast);
    let mut session = database.connect();
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    assert_eq!(session.number("SELECT count(*) FROM crash_history"), 0);
    stage(&mut session, FAST, id, 21, 30);
    cluster.crash();
    cluster.start();
    let mut holder = database.connect();
    let flushing: Vec<_> = (0..6)
        .map(|_| database.background_sql("SELECT stage_flush(); SELECT stage_flush()"))
        .collect();
    holder.exec("BEGIN; SELECT stage_flush()");
    for session in flushing {
        session.join().expect("a flush does not fail for it");
    }
    holder.exec("COMMIT");
    let mut session = database.connect();
    session.exec("SELECT stage_flush()");
    let rows = session.rows(CRASHES);
    assert_eq!(rows, [["crash", "0", "t", "t", "t", "0"]]);
    assert!(session.is_true(&format!(
        "SELECT exposed_from > '{seen}' AND exposed_until > '{seen}' FROM crash_history"
    )));
    assert_eq!(facts(&mut session), (20, 20));
    // A rollback takes the record along, and the next flush makes it again.
    cluster.restart(Stop::Immediate);
    let mut session = database.connect();
    session.exec("BEGIN; SELECT stage_flush(); ROLLBACK");
    assert_eq!(session.number("SELECT count(*) FROM crash_history"), 1);
    session.exec("SELECT stage_flush()");
    assert_eq!(session.number("SELECT count(*) FROM crash_history"), 2);
}

#[test]
fn a_promoted_standby_says_so_and_shows_what_it_can_before() {
    let primary = Cluster::builder().preload().start();
    let (database, mut session, id) = database(&primary);
    stage(&mut session, FAST, id, 1, 10);
    wait_for_facts(&mut session, 10);
    wait_until_seen(&mut session, 0);
    workers::pause(&mut session);
    stage(&mut session, FAST, id, 11, 17);
    stage(&mut session, "entity_values_ingest_durable", id, 18, 20);
    wait_until_seen(&mut session, 7);
    let standby = primary.standby();
    standby.catch_up_with(&primary);
    let mut reader = standby.connect(database.name());
    assert_eq!(
        reader.rows("SELECT door, rows_waiting, exposed_rows, bytes IS NULL, paused_by FROM staging_backlog"),
        [
            ["fast", NULL, NULL, "t", "postgres"],
            ["durable", "3", "0", "f", "postgres"]
        ]
    );
    reader.exec("SELECT * FROM flush_stats; SELECT * FROM crash_history");
    for write in ["SELECT pause()", "SELECT resume()"] {
        let failure = reader.fails_with("25006", write);
        assert!(failure.hint.contains("primary"), "{failure}");
    }
    primary.crash();
    standby.promote();
    let mut session = standby.connect(database.name());
    let rows = wait_for_crashes(&mut session, 1);
    assert_eq!(rows, [["promotion", "7", "t", "t", "t", "1"]]);
    assert_eq!(
        session.number("SELECT stage_flush()"),
        0,
        "the pause survives a failover"
    );
    session.exec("SELECT resume()");
    wait_for_facts(&mut session, 13);
}

#[test]
fn copies_and_restored_dumps_are_no_crash() {
    let cluster = Cluster::builder().preload().start();
    let (database, mut session, id) = database(&cluster);
    stage(&mut session, FAST, id, 1, 10);
    wait_for_facts(&mut session, 10);
    wait_until_seen(&mut session, 0);
    let epoch = session.text("SELECT epoch FROM flush_state");
    drop(session);
    let dump = cluster.scratch_dir().join("dump");
    let dump = dump.to_str().expect("UTF-8");
    for (name, option) in [("whole", "--verbose"), ("logged", "--no-unlogged-table-data")] {
        let arguments = ["-Fc", option, "-f", dump, database.name()];
        cluster.tool("pg_dump", arguments, "").success();
        cluster
            .connect("postgres")
            .exec(&format!("CREATE DATABASE {name}"));
        cluster
            .tool("pg_restore", ["--exit-on-error", "-d", name, dump], "")
            .success();
    }
    cluster.connect("postgres").exec(&format!(
        "CREATE DATABASE copied TEMPLATE {} STRATEGY file_copy",
        database.name()
    ));
    for name in ["whole", "logged", "copied"] {
        let mut session = cluster.connect(name);
        session.exec("SET search_path = telemetry");
        workers::wait_for_start(&cluster, name);
        eventually(SOON, &format!("the keeper of {name} has looked"), || {
            let row = session.rows(
                "SELECT database_oid = (SELECT oid FROM pg_database WHERE datname = current_database()),
                        sentinel_oid = 'flush_sentinel'::regclass, epoch = (SELECT epoch FROM flush_sentinel)
                 FROM flush_state",
            );
            if row == [["t", "t", "t"]] {
                Ok(())
            } else {
                Err(row)
            }
        });
        let kept = session.text("SELECT epoch FROM flush_state") == epoch;
        assert_eq!(kept, name != "logged", "{name}");
        assert_eq!(session.number("SELECT count(*) FROM crash_history"), 0, "{name}");
    }
    // From here on a crash is one for each.
    cluster.restart(Stop::Immediate);
    for name in ["whole", "logged", "copied"] {
        let mut session = cluster.connect(name);
        session.exec("SET search_path = telemetry");
        wait_for_crashes(&mut session, 1);
    }
}

#[test]
fn the_table_that_tells_of_a_crash_cannot_be_emptied_by_mistake() {
    let (_database, mut session) = workers::running();
    let epoch = "SELECT epoch FROM flush_sentinel";
    let before = eventually(SOON, "the keeper has looked", || match session.rows(epoch) {
        rows if rows.is_empty() => Err("not yet"),
        rows => Ok(rows),
    });
    let failure = session.fails_with("55000", "TRUNCATE entity_values_ingest, flush_sentinel");
    assert!(
        failure.message.contains("flush_sentinel") && !failure.hint.is_empty(),
        "{failure}"
    );
    // A new file with the same contents is no crash.
    session.exec("VACUUM FULL flush_sentinel");
    assert_eq!(session.rows(epoch), before);
    assert_eq!(session.number("SELECT count(*) FROM crash_history"), 0);
}

#[test]
fn an_idle_server_writes_nothing_down() {
    let (_database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, FAST, id, 1, 10);
    wait_for_facts(&mut session, 10);
    wait_until_seen(&mut session, 0);
    // The standard snapshots of the background writer are WAL as well, but without a change of the state.
    let written = "SELECT seen_at, xmin, flushed_until FROM flush_state";
    eventually(SOON, "the keeper has said all", || {
        let before = session.rows(written);
        std::thread::sleep(std::time::Duration::from_millis(2500));
        let after = session.rows(written);
        if before == after {
            Ok(())
        } else {
            Err((before, after))
        }
    });
    let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())";
    let before = session.text(next);
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(session.text(next), before, "transaction ids are used up");
}

#[test]
fn the_rest_works_without_these_tables() {
    let (_database, mut session) = workers::running();
    session.exec("DROP TABLE flush_state, flush_pause, flush_sentinel, flush_history, crash_history");
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, FAST, id, 1, 10);
    wait_for_facts(&mut session, 10);
    session.exec("SELECT stage_flush(); SELECT * FROM flush_stats; SELECT * FROM staging_backlog");
    let failure = session.fails_with("55000", "SELECT pause()");
    assert!(failure.hint.contains("setup()"), "{failure}");
    // One that had begun before the tables went may fail.
    let failed = "SELECT sum(errors_total) FROM worker_status";
    let before = session.number(failed);
    assert!(before <= 2, "{before}");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(session.number(failed), before);
    session.exec("SELECT setup()");
    stage(&mut session, FAST, id, 11, 20);
    wait_for_facts(&mut session, 20);
    wait_until_seen(&mut session, 0);
}
