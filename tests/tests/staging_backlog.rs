//! staging_backlog: what waits, how fast it comes and goes, who keeps dead rows; NULL where it is not known.

use std::time::Duration;

use cluster_tests::readings::{Ready, attribute, ready, stage};
use cluster_tests::{NULL, SOON, eventually, within, workers};

#[test]
fn each_door_has_its_rows_and_what_a_crash_would_take() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    let backlog = "SELECT door, rows_waiting, rows_are_estimated, exposed_rows, oldest_age > interval '9 min', drains_in,
                          rows_in_per_second, pinned_by
                   FROM staging_backlog";
    assert_eq!(
        session.rows(backlog),
        [
            ["fast", "0", "f", "0", NULL, "00:00:00", NULL, NULL],
            ["durable", "0", "f", "0", NULL, "00:00:00", NULL, NULL]
        ]
    );
    stage(&mut session, "entity_values_ingest", temperature, 1, 10);
    session.exec(&format!(
        "INSERT INTO entity_values_ingest_durable (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         VALUES (1, 1, now() - interval '10 min', {temperature}, 1)"
    ));
    assert_eq!(
        session.rows(backlog),
        [
            ["fast", "10", "f", "10", "f", NULL, NULL, NULL],
            ["durable", "1", "f", "0", "t", NULL, NULL, NULL]
        ]
    );
}

#[test]
fn a_large_backlog_is_estimated_in_time() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    stage(&mut session, "entity_values_ingest", temperature, 1, 600_000);
    session.exec("SELECT * FROM staging_backlog");
    let row = within(Duration::from_millis(400), "staging_backlog", || {
        session
            .rows(
                "SELECT rows_are_estimated, rows_waiting BETWEEN 510000 AND 690000, bytes > 30000000, rows_waiting
                 FROM staging_backlog WHERE door = 'fast'",
            )
            .swap_remove(0)
    });
    assert_eq!(row[..3], ["t", "t", "t"], "{row:?}");
}

#[test]
fn whoever_keeps_moved_rows_is_named() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    stage(&mut session, "entity_values_ingest", temperature, 1, 10_000);
    let mut reader = database.connect();
    reader.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM entity_values_ingest");
    session.exec("SELECT stage_flush()");
    let named = format!(
        "SELECT pinned_by LIKE '%process {}, which reads%', pinned_bytes > 500000, pinned_bytes = dead_bytes
         FROM staging_backlog WHERE door = 'fast'",
        reader.pid()
    );
    eventually(
        SOON,
        "the reader is named, with what it keeps",
        || match session.rows(&named).swap_remove(0) {
            row if row == ["t", "t", "t"] => Ok(()),
            _ => Err(session.rows("SELECT * FROM staging_backlog")),
        },
    );
    reader.exec("COMMIT");
    assert_eq!(
        session.rows("SELECT pinned_by, pinned_bytes FROM staging_backlog WHERE door = 'fast'"),
        [[NULL, "0"]]
    );
}

#[test]
fn it_does_not_wait_for_whoever_locks_a_table() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    stage(&mut session, "entity_values_ingest", temperature, 1, 10);
    let mut holder = database.connect();
    holder.exec("BEGIN; LOCK TABLE entity_values_ingest IN ACCESS EXCLUSIVE MODE");
    session.exec("SET lock_timeout = '5s'");
    assert_eq!(
        session.rows("SELECT door, rows_waiting, bytes IS NULL FROM staging_backlog"),
        [["fast", NULL, "t"], ["durable", "0", "f"]]
    );
}

#[test]
fn the_keeper_knows_how_fast_rows_come_and_go() {
    let (_database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    let mut next = 0;
    eventually(SOON, "rates of the last minute", || {
        stage(&mut session, "entity_values_ingest", id, next + 1, next + 100);
        next += 100;
        std::thread::sleep(Duration::from_millis(200));
        let row = session
            .rows(
                "SELECT rows_in_per_second BETWEEN 100 AND 2000, rows_out_per_second BETWEEN 100 AND 2000,
                        rows_in_per_second, rows_out_per_second
                 FROM staging_backlog WHERE door = 'fast'",
            )
            .swap_remove(0);
        if row[..2] == ["t", "t"] { Ok(()) } else { Err(row) }
    });
    workers::pause(&mut session);
    stage(&mut session, "entity_values_ingest_durable", id, 1, 10);
    let row = session.rows("SELECT rows_waiting, drains_in FROM staging_backlog WHERE door = 'durable'");
    assert_eq!(row, [["10", NULL]], "nothing goes out");
}
