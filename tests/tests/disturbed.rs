//! What owners and administrators do to the tables while readings come in and are flushed: nothing is lost or doubled by it.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster_tests::integrity::{check_facts, check_staging};
use cluster_tests::readings::{DOORS, attribute, everywhere, facts, stage, wait_for_facts};
use cluster_tests::{Background, Cluster, Database, SOON, SmallDisk, Writer, eventually, workers};

/// Somebody who calls stage_flush() all the time.
fn flusher(database: &Database, stop: &Arc<AtomicBool>) -> Background<()> {
    let stop = stop.clone();
    database.background(move |session| {
        while !stop.load(Ordering::Relaxed) {
            match session.try_exec("SELECT stage_flush(700)") {
                Ok(()) => {}
                // A deadlock or a lock that could not be had is an answer; the next call goes on.
                Err(failure) => assert!(["40P01", "55P03"].contains(&failure.code.as_str()), "{failure}"),
            }
        }
    })
}

#[test]
fn maintenance_while_the_flush_runs_costs_no_row() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.lock_timeout", "100ms")
        .start();
    let database = cluster.create_database("disturbed");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    let leaf = session.text(
        "SELECT relid::regclass FROM pg_partition_tree('entity_values_ts')
         WHERE isleaf AND relid::regclass::text LIKE '%' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')",
    );
    let stop = Arc::new(AtomicBool::new(false));
    let flushers = [flusher(&database, &stop), flusher(&database, &stop)];
    let writers = [
        Writer::start(&database, id, 1),
        Writer::start(&database, id, 1_000_000),
    ];
    for statement in [
        "VACUUM entity_values_ingest_durable",
        "VACUUM (FREEZE) entity_values_ts",
        "CREATE INDEX CONCURRENTLY by_entity ON {leaf} (entity_id)",
        "REINDEX INDEX CONCURRENTLY by_entity",
        "REINDEX TABLE CONCURRENTLY {leaf}",
        "REINDEX TABLE {leaf}",
        "CREATE INDEX CONCURRENTLY at_the_door ON entity_values_ingest_durable (entity_id)",
        "REINDEX TABLE CONCURRENTLY entity_values_ingest_durable",
        "DROP INDEX at_the_door",
        "ALTER TABLE entity_values_ts ADD COLUMN note text",
        "ALTER TABLE entity_values_ts ADD COLUMN quality smallint DEFAULT 1",
        "ALTER TABLE entity_values_ingest_durable ADD COLUMN note text",
        "VACUUM FULL entity_values_ingest_durable",
        "ALTER TABLE entity_values_ingest_durable DROP COLUMN note",
        "CLUSTER {leaf} USING by_entity",
        "DROP INDEX CONCURRENTLY by_entity",
        "ANALYZE entity_values_ts",
    ] {
        let statement = statement.replace("{leaf}", &leaf);
        // A statement that needs the table for itself may lose against the flush; its user tries again.
        eventually(SOON, &statement, || session.try_exec(&statement));
        session.exec("SELECT pg_sleep(0.15)");
    }
    let written: i64 = writers.into_iter().map(Writer::finish).sum();
    stop.store(true, Ordering::Relaxed);
    flushers.into_iter().for_each(Background::join);
    session.exec("SELECT drain('10 s')");
    assert_eq!(facts(&mut session), (written, written));
    assert_eq!(everywhere(&mut session), (written, written));
    assert_eq!(
        session.number("SELECT count(*) FROM entity_values_ts WHERE quality IS DISTINCT FROM 1"),
        0
    );
    check_facts(&mut session);
    for door in DOORS {
        check_staging(&mut session, door);
    }
    for sign in ["PANIC:", "was terminated by signal"] {
        assert_eq!(cluster.log().lines_with(sign), Vec::<String>::new());
    }
}

#[test]
fn rows_that_the_owner_truncates_are_gone_and_no_others() {
    let (_database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    for door in DOORS {
        stage(&mut session, door, id, 1, 1_000);
        session.exec(&format!("TRUNCATE {door}"));
    }
    session.exec("TRUNCATE entity_values_ts; TRUNCATE entity_values_ingest, entity_values_ingest_durable");
    eventually(SOON, "what was on its way is gone as well", || {
        session.exec("TRUNCATE entity_values_ts");
        match everywhere(&mut session) {
            (0, 0) => Ok(()),
            other => Err(other),
        }
    });
    // The place where the last flush stopped is beyond the end of the table now.
    for (door, first) in DOORS.into_iter().zip([10_001, 20_001]) {
        stage(&mut session, door, id, first, first + 99);
    }
    wait_for_facts(&mut session, 200);
    check_facts(&mut session);
}

#[test]
fn on_a_full_disk_rows_wait_and_go_on_when_there_is_room() {
    const ROWS: i64 = 100_000;
    let cluster = Cluster::builder().preload().start();
    let Some(disk) = SmallDisk::mount(&cluster, 12) else {
        return;
    };
    let database = cluster.create_database("full");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    workers::wait_for_start(&cluster, "full");
    session.exec(&format!(
        "CREATE TABLESPACE small LOCATION '{}'",
        disk.path().display()
    ));
    let leaves =
        session.column("SELECT relid::regclass FROM pg_partition_tree('entity_values_ts') WHERE isleaf");
    for leaf in leaves {
        session.exec(&format!(
            "ALTER TABLE {leaf} SET TABLESPACE small;
             DO $$ DECLARE i regclass; BEGIN
                 FOR i IN SELECT indexrelid FROM pg_index WHERE indrelid = '{leaf}'::regclass LOOP
                     EXECUTE format('ALTER INDEX %s SET TABLESPACE small', i);
                 END LOOP;
             END $$"
        ));
    }
    // Leaves some megabytes, which so many rows do not fit into.
    session.exec(
        "CREATE TABLE ballast TABLESPACE small AS SELECT repeat('x', 1000) FROM generate_series(1, 4000)",
    );
    for (door, first) in DOORS.into_iter().zip([1, ROWS + 1]) {
        stage(&mut session, door, id, first, first + ROWS - 1);
    }
    let flush = "SELECT state, last_sqlstate, detail FROM worker_status WHERE worker = 'flusher 1' AND task = 'flush'";
    eventually(SOON, "the flusher says that the disk is full", || {
        let row = session.rows(flush).swap_remove(0);
        let told = row[2].contains("rows wait") && row[2].contains("entity_values_ts_p");
        if row[..2] == ["backoff", "53100"] && told {
            Ok(())
        } else {
            Err(row)
        }
    });
    assert_eq!(everywhere(&mut session), (2 * ROWS, 2 * ROWS));
    // Staging is on another disk and goes on accepting.
    stage(&mut session, DOORS[1], id, 2 * ROWS + 1, 2 * ROWS + 100);
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 0);
    session.exec("DROP TABLE ballast");
    let grown = Command::new("mount")
        .args(["-o", "remount,size=120m"])
        .arg(disk.path())
        .status();
    assert!(grown.is_ok_and(|status| status.success()));
    eventually(Duration::from_secs(90), "everything is there", || {
        match facts(&mut session) {
            seen if seen == (2 * ROWS + 100, 2 * ROWS + 100) => Ok(()),
            seen => Err(seen),
        }
    });
    assert_eq!(everywhere(&mut session), (2 * ROWS + 100, 2 * ROWS + 100));
    check_facts(&mut session);
    for door in DOORS {
        check_staging(&mut session, door);
    }
    // The server must not outlive its tablespace.
    drop(session);
    cluster.stop(cluster_tests::Stop::Immediate);
}
