//! Everything at once against the flush, cancelled and terminated all the while. The clients count which rows were acknowledged;
//! each must be found exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use cluster_tests::campaign::{Bell, COPIED, Numbers, copy_lines, soaking};
use cluster_tests::integrity::{check_facts, check_staging, summarize_facts};
use cluster_tests::readings::{DOORS, attribute, everywhere, facts, stage};
use cluster_tests::{Background, Cluster, Database, Session};

/// Writes in every way there is; the number of rows that were acknowledged.
fn write(session: &mut Session, id: i64, numbers: &Numbers, bell: &Bell, writer: usize) -> i64 {
    let mut acknowledged = 0;
    let mut round = writer;
    while bell.silent() {
        round += 1;
        let door = DOORS[round % 2];
        let target = format!("{door} {COPIED}");
        match round % 7 {
            0 => {
                // The end of the line makes the whole COPY fail.
                let mut lines = copy_lines(id, numbers.take(500), 500);
                lines.push_str("1\tx\t1\t1\n");
                session.try_copy(&target, &lines).expect_err("no number");
            }
            1 => {
                session.exec("BEGIN");
                stage(session, door, id, numbers.take(200), 0);
                let first = numbers.take(200);
                stage(session, door, id, first, first + 199);
                session.exec("SAVEPOINT s");
                let undone = numbers.take(200);
                stage(session, door, id, undone, undone + 199);
                session.exec("ROLLBACK TO s; COMMIT");
                acknowledged += 200;
            }
            2 => {
                let first = numbers.take(300);
                session.exec("BEGIN");
                stage(session, door, id, first, first + 299);
                session.exec(&format!("PREPARE TRANSACTION 'w{first}'"));
                let fate = if round.is_multiple_of(2) {
                    "COMMIT"
                } else {
                    "ROLLBACK"
                };
                std::thread::sleep(Duration::from_millis(5));
                session.exec(&format!("{fate} PREPARED 'w{first}'"));
                acknowledged += if round.is_multiple_of(2) { 300 } else { 0 };
            }
            3 => {
                let first = numbers.take(100);
                session.exec("BEGIN");
                stage(session, door, id, first, first + 99);
                session.exec("SELECT stage_flush(50)");
                session.exec(if round.is_multiple_of(2) {
                    "COMMIT"
                } else {
                    "ROLLBACK"
                });
                acknowledged += if round.is_multiple_of(2) { 100 } else { 0 };
            }
            _ => {
                let first = numbers.take(1000);
                acknowledged += session.copy(&target, &copy_lines(id, first, 1000)) as i64;
            }
        }
    }
    acknowledged
}

/// Flushes until the bell rings, whatever happens to it.
fn flush(database: &Database, level: &'static str, bell: &Bell, ended: &Arc<AtomicI64>) -> Background<()> {
    let (bell, ended) = (bell.clone(), ended.clone());
    let cluster = database.cluster().clone();
    let name = database.name().to_owned();
    database.background(move |_| {
        let mut session = cluster.connect(&name);
        while bell.silent() {
            let outcome = session.try_exec(&format!(
                "BEGIN ISOLATION LEVEL {level}; SELECT stage_flush(3000); SELECT stage_flush(500); COMMIT"
            ));
            let Err(failure) = outcome else {
                continue;
            };
            // Without a code: the connection ended before its last words came through.
            let expected = ["57014", "57P01", "40001", "40P01", "55P03", ""];
            assert!(expected.contains(&failure.code.as_str()), "{level}: {failure}");
            ended.fetch_add(1, Ordering::Relaxed);
            if ["57P01", ""].contains(&failure.code.as_str()) || session.try_exec("ROLLBACK").is_err() {
                session = cluster.connect(&name);
            }
        }
    })
}

#[test]
fn everything_at_once_loses_and_doubles_nothing() {
    let length = Duration::from_secs(if soaking() { 300 } else { 12 });
    let cluster = Cluster::builder()
        .set("max_prepared_transactions", 20)
        .set("shared_buffers", "64MB")
        .set("autovacuum_naptime", 1)
        .start();
    let database = cluster.create_database("campaign");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    let (bell, numbers, ended) = (Bell::default(), Numbers::default(), Arc::new(AtomicI64::new(0)));
    let writers: Vec<Background<i64>> = (0..3)
        .map(|writer| {
            let (bell, numbers) = (bell.clone(), numbers.clone());
            database.background(move |session| write(session, id, &numbers, &bell, writer))
        })
        .collect();
    let flushers: Vec<Background<()>> = [
        "READ COMMITTED",
        "REPEATABLE READ",
        "READ COMMITTED",
        "SERIALIZABLE",
    ]
    .into_iter()
    .map(|level| flush(&database, level, &bell, &ended))
    .collect();
    let disturbers: Vec<Background<()>> = [
        "VACUUM entity_values_ingest; VACUUM entity_values_ingest_durable",
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN ISOLATION%flush%'
             AND random() < 0.1",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN ISOLATION%flush%'
             AND random() < 0.03",
        "SELECT FROM entity_values_ingest ORDER BY random() LIMIT 20 FOR UPDATE SKIP LOCKED;
         SELECT FROM entity_values_ingest_durable ORDER BY random() LIMIT 20 FOR SHARE SKIP LOCKED",
    ]
    .into_iter()
    .map(|sql| {
        let bell = bell.clone();
        database.background(move |session| {
            while bell.silent() {
                for statement in sql.split("; ") {
                    session.exec(statement);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        })
    })
    .collect();
    let readers: Vec<Background<i64>> = ["READ COMMITTED", "REPEATABLE READ"]
        .into_iter()
        .map(|level| {
            let bell = bell.clone();
            database.background(move |session| {
                let mut looks = 0;
                while bell.silent() {
                    session.exec(&format!("BEGIN ISOLATION LEVEL {level}"));
                    for _ in 0..3 {
                        let (rows, entities) = everywhere(session);
                        assert_eq!(rows, entities, "{level}: a row is seen twice");
                        looks += 1;
                    }
                    session.exec("COMMIT");
                }
                looks
            })
        })
        .collect();
    let summarize = Instant::now() + length / 2;
    while Instant::now() < summarize {
        std::thread::sleep(Duration::from_millis(50));
    }
    summarize_facts(&mut session);
    std::thread::sleep(length / 2);
    bell.ring();
    let acknowledged: i64 = writers.into_iter().map(Background::join).sum();
    flushers.into_iter().for_each(|flusher| flusher.join());
    disturbers.into_iter().for_each(|disturber| disturber.join());
    let looks: i64 = readers.into_iter().map(Background::join).sum();
    session.exec("SELECT stage_flush()");
    println!(
        "{acknowledged} rows, {} flushes ended, {looks} looks",
        ended.load(Ordering::Relaxed)
    );
    for sign in ["PANIC:", "was terminated by signal"] {
        assert_eq!(cluster.log().lines_with(sign), Vec::<String>::new());
    }
    assert_eq!(facts(&mut session), (acknowledged, acknowledged));
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 0);
    check_facts(&mut session);
    for door in DOORS {
        assert_eq!(session.number(&format!("SELECT count(*) FROM {door}")), 0);
        check_staging(&mut session, door);
    }
}
