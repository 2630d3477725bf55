//! Partitions grow by several pages at once, and by no more than rows need.

use cluster_tests::integrity::check_facts;
use cluster_tests::readings::{Ready, attribute, facts, ready, stage};
use cluster_tests::{Cluster, Installation, Session};

const DOOR: &str = "entity_values_ingest";

/// Pages of the facts of today.
fn pages(session: &mut Session) -> i64 {
    session.number(
        "SELECT sum(pg_relation_size(inhrelid) / current_setting('block_size')::int)
         FROM pg_inherits WHERE inhparent = 'entity_values_ts'::regclass",
    )
}

/// Of these, those that hold a row.
fn pages_in_use(session: &mut Session) -> i64 {
    session.number("SELECT count(DISTINCT (tableoid, (ctid::text::point)[0])) FROM entity_values_ts")
}

/// What the same rows take when the executor inserts them.
fn pages_of_a_copy(session: &mut Session) -> i64 {
    session.exec(
        "DROP TABLE IF EXISTS copied; CREATE TABLE copied (LIKE entity_values_ts);
         INSERT INTO copied SELECT * FROM entity_values_ts",
    );
    session.number("SELECT pg_relation_size('copied') / current_setting('block_size')::int")
}

#[test]
fn batches_of_every_size_leave_no_page_unused() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    let mut rows = 0;
    for more in [1, 900, 20_000, 137, 3_000, 40_000, 1_500, 2_000, 60_000] {
        stage(&mut session, DOOR, temperature, rows + 1, rows + more);
        rows += more;
        session.exec("SELECT stage_flush()");
        let (used, all) = (pages_in_use(&mut session), pages(&mut session));
        assert!(
            all - used <= 1,
            "{} pages of {all} hold nothing after {rows} rows",
            all - used
        );
        let needed = pages_of_a_copy(&mut session);
        assert!(
            all <= needed + 2,
            "{all} pages for {rows} rows, which need {needed}"
        );
    }
    assert_eq!(facts(&mut session).0, rows);
    check_facts(&mut session);
}

#[test]
fn pages_of_a_flush_that_was_undone_are_taken_by_the_next() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    stage(&mut session, DOOR, temperature, 1, 30_000);
    session.exec("BEGIN; SELECT stage_flush(); ROLLBACK");
    let undone = pages(&mut session);
    assert!(undone > 100, "{undone} pages");
    session.exec("VACUUM (TRUNCATE off) entity_values_ts");
    session.exec("SELECT stage_flush()");
    assert!(
        pages(&mut session) <= undone + 2,
        "{} pages after {undone}",
        pages(&mut session)
    );
    assert_eq!(facts(&mut session).0, 30_000);
    check_facts(&mut session);
}

#[test]
fn two_that_flush_at_once_grow_it_by_what_both_need() {
    const BATCH: i64 = 20_000;
    let Ready {
        mut session,
        database,
        temperature,
        ..
    } = ready();
    for round in 0..3 {
        let first = round * 160_000;
        stage(&mut session, DOOR, temperature, first + 1, first + 160_000);
        let flushers: Vec<_> = (0..2)
            .map(|_| {
                database.background(|session| {
                    while session.number(&format!("SELECT telemetry.stage_flush({BATCH})")) > 0 {}
                })
            })
            .collect();
        flushers.into_iter().for_each(|flusher| flusher.join());
        session.exec("SELECT stage_flush()");
        assert_eq!(facts(&mut session).0, first + 160_000);
        let (used, all) = (pages_in_use(&mut session), pages(&mut session));
        // The server sets some aside itself for those that wait for each other to extend a table. No room of a batch is left, and
        // what is left is used before there is more of it.
        let of_a_batch = used * BATCH / (first + 160_000);
        assert!(
            all - used < of_a_batch,
            "{} pages of {all} hold nothing, a batch takes {of_a_batch}",
            all - used
        );
    }
    check_facts(&mut session);
}

#[test]
fn flushes_that_fail_again_and_again_do_not_grow_it_again_and_again() {
    let cluster = Cluster::builder()
        .installation(&Installation::with_fault_points())
        .start();
    let database = cluster.create_database("growing");
    let mut session = database.install();
    let temperature = attribute(&mut session, "temperature", "number");
    stage(&mut session, DOOR, temperature, 1, 1_000);
    session.exec("SELECT stage_flush()");
    stage(&mut session, DOOR, temperature, 1_001, 31_000);
    session.exec("SET pg_telemetry.fault_points = 'after_room=error:57014'");
    session.fails_with("57014", "SELECT stage_flush()");
    let grown = pages(&mut session);
    for _ in 0..5 {
        session.fails_with("57014", "SELECT stage_flush()");
        assert_eq!(pages(&mut session), grown, "pages after one more");
    }
    session.exec("SET pg_telemetry.fault_points = ''; SELECT stage_flush()");
    assert_eq!(facts(&mut session).0, 31_000);
    let needed = pages_of_a_copy(&mut session);
    let all = pages(&mut session);
    assert!(all <= needed + 2, "{all} pages where {needed} are needed");
    check_facts(&mut session);
}
