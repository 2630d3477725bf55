//! Every row committed to staging reaches facts or rejected exactly once, whoever flushes, however it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster_tests::readings::{DOORS, Ready, everywhere, facts, ready, stage};
use cluster_tests::{Background, SOON, eventually};

#[test]
fn many_sessions_store_every_committed_row_exactly_once() {
    const ROUNDS: i64 = 200;
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    let done = Arc::new(AtomicBool::new(false));
    let flushers: Vec<Background<i64>> = (0..3)
        .map(|_| {
            let done = done.clone();
            database.background(move |session| {
                let mut flushed = 0;
                while !done.load(Ordering::Relaxed) {
                    flushed += session.number("SELECT stage_flush(100)");
                    // A flush that is rolled back must give everything back.
                    session.exec("BEGIN; SELECT stage_flush(10); ROLLBACK");
                }
                flushed
            })
        })
        .collect();
    let writers: Vec<Background<()>> = (0..3)
        .map(|writer| {
            database.background(move |session| {
                for round in 0..ROUNDS {
                    let first = (writer * ROUNDS + round) * 10;
                    let door = DOORS[round as usize % 2];
                    session.exec("BEGIN");
                    stage(session, door, temperature, first, first + 9);
                    session.exec("SAVEPOINT s");
                    stage(session, door, temperature, -1_000_000, -999_990);
                    session.exec("ROLLBACK TO s");
                    session.exec("COMMIT; BEGIN");
                    stage(session, door, temperature, -1_000_000, -999_990);
                    session.exec("ROLLBACK");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join();
    }
    done.store(true, Ordering::Relaxed);
    let mut flushed: i64 = flushers.into_iter().map(Background::join).sum();
    flushed += session.number("SELECT stage_flush()");
    let rows = 3 * ROUNDS * 10;
    assert_eq!((facts(&mut session), flushed), ((rows, rows), rows));
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 0);
}

#[test]
fn a_row_that_commits_late_is_not_skipped() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    let mut late = database.connect();
    late.exec("BEGIN");
    stage(&mut late, "entity_values_ingest", temperature, 1, 1);
    stage(&mut session, "entity_values_ingest", temperature, 2, 2);
    assert_eq!(session.number("SELECT stage_flush()"), 1);
    late.exec("COMMIT");
    assert_eq!(session.number("SELECT stage_flush()"), 1);
    assert_eq!(facts(&mut session), (2, 2));
}

#[test]
fn no_reader_sees_a_row_twice_or_not_at_all() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    stage(&mut session, "entity_values_ingest", temperature, 1, 100);
    let mut reader = database.connect();
    reader.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
    assert_eq!(everywhere(&mut reader), (100, 100));
    session.exec("BEGIN");
    assert_eq!(session.number("SELECT stage_flush()"), 100);
    assert_eq!(everywhere(&mut session), (100, 100));
    assert_eq!(everywhere(&mut database.connect()), (100, 100));
    session.exec("COMMIT");
    assert_eq!(
        (everywhere(&mut reader), facts(&mut reader)),
        ((100, 100), (0, 0))
    );
}

#[test]
fn a_flush_that_is_rolled_back_leaves_everything_in_staging() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    stage(&mut session, "entity_values_ingest", temperature, 1, 10);
    stage(&mut session, "entity_values_ingest", 0, 11, 12);
    session.exec("BEGIN; SELECT stage_flush(); ROLLBACK");
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ingest"), 12);
    assert_eq!(session.number("SELECT stage_flush()"), 10);
}

#[test]
fn every_isolation_level_will_do() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    for (n, level) in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
        .into_iter()
        .enumerate()
    {
        let first = n as i64 * 10 + 1;
        stage(
            &mut session,
            "entity_values_ingest",
            temperature,
            first,
            first + 9,
        );
        session.exec(&format!("BEGIN ISOLATION LEVEL {level}"));
        assert_eq!(session.number("SELECT stage_flush()"), 10);
        session.exec("COMMIT");
    }
    assert_eq!(facts(&mut session), (30, 30));
}

#[test]
fn a_row_of_the_own_transaction_is_flushed_with_it() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    session.exec("BEGIN");
    stage(&mut session, "entity_values_ingest", temperature, 1, 10);
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    session.exec("COMMIT");
    assert_eq!(everywhere(&mut session), (10, 10));
}

#[test]
fn a_cancelled_flush_leaves_everything_in_staging() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    stage(&mut session, "entity_values_ingest_durable", temperature, 1, 10);
    let mut blocker = database.connect();
    blocker.exec("BEGIN; LOCK entity_values_ts");
    // Who is terminated does not always hear why.
    for (end, heard) in [
        ("pg_cancel_backend", &["57014"][..]),
        ("pg_terminate_backend", &["57P01", ""]),
    ] {
        let flush = database.background_sql("SELECT stage_flush()");
        eventually(SOON, "the flush waits for the lock", || {
            let waiting = format!(
                "SELECT count(*) FROM pg_locks WHERE pid = {} AND NOT granted",
                flush.pid()
            );
            if session.number(&waiting) > 0 {
                Ok(())
            } else {
                Err(())
            }
        });
        session.exec(&format!("SELECT {end}({})", flush.pid()));
        let failure = flush.join().expect_err("the flush was ended");
        assert!(heard.contains(&failure.code.as_str()), "{end}: {failure}");
    }
    blocker.exec("COMMIT");
    assert_eq!(everywhere(&mut session), (10, 10));
    assert_eq!(session.number("SELECT stage_flush()"), 10);
}

#[test]
fn a_transient_fault_rejects_nothing() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    session.exec(
        "CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE 'no space left' USING ERRCODE = 'disk_full'; END $$;
         CREATE TRIGGER disk_is_full BEFORE INSERT ON entity_values_ts FOR EACH ROW EXECUTE FUNCTION disk_is_full()",
    );
    stage(&mut session, "entity_values_ingest_durable", temperature, 1, 10);
    session.fails_with("53100", "SELECT stage_flush()");
    assert_eq!(
        session.number("SELECT count(*) FROM entity_values_ingest_durable"),
        10
    );
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 0);
    session.exec("DROP TRIGGER disk_is_full ON entity_values_ts");
    assert_eq!(session.number("SELECT stage_flush()"), 10);
}
