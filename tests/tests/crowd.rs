//! A crowd: 16 writers of every kind, two workers and eight sessions that flush, dumps and VACUUM all the while. Every row that
//! was acknowledged is stored once, nobody deadlocks, and every dump holds each row once that was acknowledged before it began.

use std::time::{Duration, Instant};

use cluster_tests::campaign::{
    Bell, COPIED, Ledger, Numbers, copy_lines, entities_in_facts, errors_but, faults, soaking,
};
use cluster_tests::integrity::{check_facts, check_staging};
use cluster_tests::readings::{DOORS, attribute, stage};
use cluster_tests::{Background, Cluster, Database, Failure, Session, workers};

const NAME: &str = "crowd";
const WRITERS: usize = 16;
const FLUSHING_SESSIONS: usize = 8;

/// Between two transactions of a writer: a dump of everything must not take longer than the test.
const PAUSE: Duration = Duration::from_millis(40);

/// A COPY that is meant to fail, and what isolation may ask for: do it again.
const EXPECTED: [&str; 2] = ["22P02", "40001"];

const LEVELS: [&str; 3] = ["read committed", "repeatable read", "serializable"];

/// What a writer needs to know.
#[derive(Clone)]
struct Desk {
    attribute: i64,
    numbers: Numbers,
    ledger: Ledger,
    bell: Bell,
}

impl Desk {
    /// One transaction of some kind; its rows are in the ledger when their commit was acknowledged.
    fn transaction(&self, session: &mut Session, kind: usize, door: &'static str) -> Result<(), Failure> {
        const ROWS: i64 = 200;
        let first = self.numbers.take(ROWS);
        let last = first + ROWS - 1;
        let undone = || {
            let first = self.numbers.take(ROWS);
            self.insert(door, first, first + ROWS - 1)
        };
        match kind {
            0 => {
                let lines = copy_lines(self.attribute, first, ROWS);
                session.try_copy(&format!("{door} {COPIED}"), &lines)?;
            }
            1 => session.try_exec(&self.insert(door, first, last))?,
            2 => session.try_exec(&format!(
                "BEGIN; {}; SAVEPOINT s; {}; ROLLBACK TO s; SAVEPOINT t; {}; RELEASE t; COMMIT",
                self.insert(door, first, first + 99),
                undone(),
                self.insert(door, first + 100, last),
            ))?,
            3 => {
                session.try_exec(&format!(
                    "BEGIN; {}; PREPARE TRANSACTION 'w{first}'",
                    self.insert(door, first, last)
                ))?;
                std::thread::sleep(PAUSE);
                session.try_exec(&format!("COMMIT PREPARED 'w{first}'"))?;
            }
            4 => {
                session.try_exec(&format!("BEGIN; {}; PREPARE TRANSACTION 'u{first}'", undone()))?;
                std::thread::sleep(PAUSE);
                return session.try_exec(&format!("ROLLBACK PREPARED 'u{first}'"));
            }
            5 => {
                // Another row of it cannot be read, so none of it arrives.
                let mut lines = copy_lines(self.attribute, first, ROWS);
                lines.push_str("1\tx\t1\t1\n");
                let refused = session.try_copy(&format!("{door} {COPIED}"), &lines);
                return refused.map(|_| panic!("a letter is no number"));
            }
            6 => session.try_exec(&format!(
                "BEGIN; {}; SELECT stage_flush(50); COMMIT",
                self.insert(door, first, last)
            ))?,
            _ => return session.try_exec(&format!("BEGIN; {}; SELECT stage_flush(50); ROLLBACK", undone())),
        }
        self.ledger.add(first, last);
        Ok(())
    }

    fn insert(&self, door: &str, first: i64, last: i64) -> String {
        format!(
            "INSERT INTO {door} {COPIED} SELECT 1, n, {}, n / 10.0 FROM generate_series({first}, {last}) n",
            self.attribute
        )
    }

    fn write(&self, database: &Database, writer: usize) -> Background<()> {
        let desk = self.clone();
        database.background(move |session| {
            session.exec(&format!(
                "SET default_transaction_isolation = '{}'",
                LEVELS[writer % LEVELS.len()]
            ));
            let mut turn = writer;
            while desk.bell.silent() {
                turn += 1;
                if let Err(failure) = desk.transaction(session, turn % 8, DOORS[turn / 8 % 2]) {
                    assert!(EXPECTED.contains(&failure.code.as_str()), "{failure}");
                    // Nothing to roll back where the statement was a transaction of its own.
                    session.exec("ROLLBACK");
                }
                std::thread::sleep(PAUSE);
            }
        })
    }

    /// Stages at the beginning and commits at the end, idle in between.
    fn write_once(&self, database: &Database) -> Background<()> {
        let desk = self.clone();
        database.background(move |session| {
            session.exec("BEGIN");
            for door in DOORS {
                let first = desk.numbers.take(500);
                stage(session, door, desk.attribute, first, first + 499);
                desk.ledger.add(first, first + 499);
            }
            while desk.bell.silent() {
                std::thread::sleep(PAUSE);
            }
            session.exec("COMMIT");
        })
    }

    fn flush(&self, database: &Database, level: &'static str) -> Background<i64> {
        let bell = self.bell.clone();
        database.background(move |session| {
            session.exec(&format!("SET default_transaction_isolation = '{level}'"));
            let mut calls = 0;
            while bell.silent() {
                if let Err(failure) = session.try_exec("SELECT stage_flush()") {
                    assert!(EXPECTED.contains(&failure.code.as_str()), "{level}: {failure}");
                }
                calls += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            calls
        })
    }

    fn vacuum(&self, database: &Database) -> Background<()> {
        let bell = self.bell.clone();
        database.background(move |session| {
            while bell.silent() {
                for door in DOORS {
                    session.exec(&format!("VACUUM {door}"));
                }
                session.exec("VACUUM entity_values_ts");
                std::thread::sleep(PAUSE);
            }
        })
    }
}

/// The entities of all readings in a dump, wherever they were, sorted.
fn entities_in_dump(dump: &str) -> Vec<i64> {
    let mut entities = Vec::new();
    let mut inside = false;
    for line in dump.lines() {
        if let Some(copy) = line.strip_prefix("COPY telemetry.entity_values_") {
            // Nothing is rejected here.
            inside = !copy.starts_with("rejected");
            assert!(!inside || copy.contains("(tenant_id, entity_id, "), "{line}");
        } else if line == "\\." {
            inside = false;
        } else if inside {
            let entity = line.split('\t').nth(1).expect("a row has an entity");
            entities.push(entity.parse().expect("a number"));
        }
    }
    entities.sort_unstable();
    entities
}

/// Dumps until the time is over; how often.
fn dump(database: &Database, ledger: &Ledger, until: Instant) -> usize {
    let mut dumps = 0;
    while Instant::now() < until {
        let due = ledger.copy();
        let arguments = ["--data-only", "--schema=telemetry", "--dbname", NAME];
        let text = database.tool("pg_dump", arguments, "").success();
        assert_eq!(
            faults(&due, &entities_in_dump(&text)),
            Vec::<String>::new(),
            "dump {dumps}"
        );
        dumps += 1;
    }
    dumps
}

#[test]
fn a_crowd_loses_and_doubles_nothing_and_never_deadlocks() {
    let length = Duration::from_secs(if soaking() { 300 } else { 15 });
    let cluster = Cluster::builder()
        .preload()
        .set("max_prepared_transactions", 2 * WRITERS)
        .set("shared_buffers", "64MB")
        .set("deadlock_timeout", "100ms")
        .set("autovacuum_naptime", 1)
        .set("pg_telemetry.flush_workers", 2)
        .set("pg_telemetry.flush_interval", "10ms")
        .start();
    let database = cluster.create_database(NAME);
    let mut session = database.install();
    let desk = Desk {
        attribute: attribute(&mut session, "temperature", "number"),
        numbers: Numbers::default(),
        ledger: Ledger::default(),
        bell: Bell::default(),
    };
    // Its rows are not acknowledged before the end, so dumps do without them.
    let late = Desk {
        ledger: Ledger::default(),
        ..desk.clone()
    };
    let idle = late.write_once(&database);
    let writers: Vec<_> = (0..WRITERS).map(|writer| desk.write(&database, writer)).collect();
    let flushers: Vec<_> = (0..FLUSHING_SESSIONS)
        .map(|flusher| desk.flush(&database, LEVELS[flusher % LEVELS.len()]))
        .collect();
    let vacuum = desk.vacuum(&database);
    let dumps = dump(&database, &desk.ledger, Instant::now() + length);
    desk.bell.ring();
    writers.into_iter().for_each(Background::join);
    let calls: i64 = flushers.into_iter().map(Background::join).sum();
    vacuum.join();
    idle.join();
    assert!(session.is_true("SELECT drain()"));

    let mut due = desk.ledger.copy();
    due.extend(late.ledger.copy());
    let rows: i64 = desk.ledger.rows() + late.ledger.rows();
    println!("{rows} rows, {calls} calls of stage_flush(), {dumps} dumps");
    let found = entities_in_facts(&mut session, "true");
    assert_eq!(faults(&due, &found), Vec::<String>::new());
    assert_eq!(found.len() as i64, rows, "rows that nobody committed");
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 0);
    assert_eq!(errors_but(database.log(), &EXPECTED), Vec::<String>::new());
    let mut complaints = workers::complaints(database.log());
    // The test's own VACUUM was there first.
    complaints.retain(|line| !line.contains("skipping vacuum of"));
    assert_eq!(complaints, Vec::<String>::new());
    assert!(dumps > 0 && calls > 0);
    check_facts(&mut session);
    for door in DOORS {
        assert_eq!(session.number(&format!("SELECT count(*) FROM {door}")), 0);
        check_staging(&mut session, door);
    }
}
