//! A planned stop loses nothing at either door: the last flush on the way down moves what is staged into facts, and the
//! standby has it all before the primary is gone.

use std::sync::Arc;
use std::time::Duration;

use cluster_tests::campaign::{
    Bell, COPIED, Ledger, Numbers, copy_lines, entities_in_facts, errors_but, faults,
};
use cluster_tests::integrity::{check_facts, check_staging};
use cluster_tests::readings::{DOORS, attribute, facts, stage};
use cluster_tests::{Background, Cluster, Database, Session, Stop, workers};

const NAME: &str = "planned";

/// Told to end (57P01), refused while the server goes down (57P03): that is what a stop is.
const STOPPING: [&str; 2] = ["57P01", "57P03"];

/// Left in staging when the server is told to stop, by each door.
const LEFT: i64 = 30_000;

struct Planned {
    primary: Arc<Cluster>,
    database: Database,
    session: Session,
    attribute: i64,
}

/// A server that flushes so seldom that nothing is flushed before the stop.
fn server(interval: &str) -> Planned {
    let primary = Cluster::builder()
        .preload()
        .set("pg_telemetry.flush_interval", interval)
        // A busy machine shall not decide about a test: what is lost when the time is over is another one.
        .set("pg_telemetry.shutdown_flush", "60s")
        .start();
    let database = primary.create_database(NAME);
    let mut session = database.install();
    workers::wait_for_start(&primary, NAME);
    Planned {
        attribute: attribute(&mut session, "temperature", "number"),
        primary,
        database,
        session,
    }
}

/// The standby takes over, and must have every row of the ledger, once, in facts.
fn take_over(standby: &Arc<Cluster>, ledger: &[(i64, i64)]) {
    standby.promote();
    let mut session = standby.connect(NAME);
    let found = entities_in_facts(&mut session, "true");
    assert_eq!(faults(ledger, &found), Vec::<String>::new());
    check_facts(&mut session);
    for door in DOORS {
        assert_eq!(session.number(&format!("SELECT count(*) FROM {door}")), 0);
        check_staging(&mut session, door);
    }
    assert_eq!(workers::complaints(&standby.log()), Vec::<String>::new());
}

#[test]
fn what_is_staged_when_writers_have_stopped_reaches_the_standby() {
    for how in [Stop::Fast, Stop::Smart] {
        let Planned {
            primary,
            database,
            mut session,
            attribute,
        } = server("60s");
        let standby = primary.standby();
        for (door, first) in DOORS.into_iter().zip([1, 1_000_001]) {
            stage(&mut session, door, attribute, first, first + LEFT - 1);
            assert_eq!(session.number(&format!("SELECT count(*) FROM {door}")), LEFT);
        }
        drop(session);
        primary.stop(how);
        assert_eq!(
            workers::complaints(database.log()),
            Vec::<String>::new(),
            "{how:?}"
        );
        drop(database);
        take_over(&standby, &[(1, LEFT), (1_000_001, 1_000_000 + LEFT)]);
    }
}

/// What the time is enough for reaches facts: it is not all or nothing. The rest comes after a clean restart.
#[test]
fn a_last_flush_that_is_cut_off_has_moved_what_it_could() {
    let Planned {
        primary,
        database,
        mut session,
        attribute,
    } = server("60s");
    primary.set_and_reload("pg_telemetry.shutdown_flush", "4s");
    session.exec(
        "CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_catalog.pg_sleep(0.0002); RETURN NEW; END $$;
         CREATE TRIGGER take_time BEFORE INSERT ON entity_values_ts FOR EACH ROW EXECUTE FUNCTION take_time()",
    );
    const MANY: i64 = 100_000;
    stage(&mut session, DOORS[0], attribute, 1, MANY);
    drop(session);
    primary.stop(Stop::Fast);
    let said = primary.log().lines_with("did not get to the end of staging");
    assert_eq!(said.len(), 1, "{said:?}");
    primary.set("pg_telemetry.background_workers", "off");
    primary.start();
    let mut session = database.connect();
    let (moved, _) = facts(&mut session);
    assert!(moved > 0 && moved < MANY, "{moved}");
    session.exec("DROP TRIGGER take_time ON entity_values_ts");
    assert!(session.is_true("SELECT drain()"));
    assert_eq!(facts(&mut session), (MANY, MANY));
}

/// Commits as long as the server lets it, or until the bell rings.
fn write(
    planned: &Planned,
    door: &'static str,
    numbers: &Numbers,
    bell: &Bell,
    ledger: &Ledger,
) -> Background<()> {
    const ROWS: i64 = 200;
    let (numbers, bell, ledger, id) = (numbers.clone(), bell.clone(), ledger.clone(), planned.attribute);
    planned.database.background(move |session| {
        while bell.silent() {
            let first = numbers.take(ROWS);
            let lines = copy_lines(id, first, ROWS);
            if session.try_copy(&format!("{door} {COPIED}"), &lines).is_err() {
                break;
            }
            ledger.add(first, first + ROWS - 1);
            std::thread::sleep(Duration::from_millis(2));
        }
    })
}

#[test]
fn what_writers_commit_until_they_are_cut_off_reaches_the_standby() {
    for how in [Stop::Fast, Stop::Smart] {
        let planned = server("100ms");
        let standby = planned.primary.standby();
        let (bell, ledger, numbers) = (Bell::default(), Ledger::default(), Numbers::default());
        let writers: Vec<_> = [DOORS[0], DOORS[1], DOORS[0], DOORS[1]]
            .into_iter()
            .map(|door| write(&planned, door, &numbers, &bell, &ledger))
            .collect();
        std::thread::sleep(Duration::from_millis(700));
        let Planned {
            primary,
            database,
            session,
            ..
        } = planned;
        drop(session);
        std::thread::scope(|scope| {
            // A smart stop waits for sessions: these end a little later.
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(300));
                bell.ring();
            });
            scope.spawn(|| primary.stop(how));
        });
        writers.into_iter().for_each(Background::join);
        drop(database);
        assert!(ledger.rows() > LEFT / 10, "hardly anything was written");
        take_over(&standby, &ledger.copy());
        assert_eq!(errors_but(&primary.log(), &STOPPING), Vec::<String>::new());
    }
}

#[test]
fn a_clean_restart_loses_nothing_even_without_a_last_flush() {
    for how in [Stop::Fast, Stop::Smart] {
        let Planned {
            primary,
            database,
            mut session,
            attribute,
        } = server("60s");
        primary.set_and_reload("pg_telemetry.shutdown_flush", "0");
        for (door, first) in DOORS.into_iter().zip([1, 1_000_001]) {
            stage(&mut session, door, attribute, first, first + LEFT - 1);
        }
        drop(session);
        primary.restart(how);
        let mut session = database.connect();
        assert!(session.is_true("SELECT drain()"));
        let found = entities_in_facts(&mut session, "true");
        let ledger = [(1, LEFT), (1_000_001, 1_000_000 + LEFT)];
        assert_eq!(faults(&ledger, &found), Vec::<String>::new());
        check_facts(&mut session);
    }
}
