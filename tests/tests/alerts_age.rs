//! Alerts about what gets old: transaction ids, snapshots, the SQL objects. Each fires with the right remedy, and is over after that.

use cluster_tests::alerts::{Alert, do_as_told, evaluate_until, health, install, rows, tune};
use cluster_tests::scripts::Script;
use cluster_tests::{Cluster, Session, eventually, project, shared};

const AT_ONCE: &str = "for_duration = '0', keep_for = '0'";

/// More than freezing can take on a busy machine.
const LONG: std::time::Duration = std::time::Duration::from_secs(60);

/// Uses up so many transaction ids.
fn consume(session: &mut Session, transactions: u32) {
    session.exec("SET synchronous_commit = off");
    session.exec(&format!(
        "DO $$ BEGIN FOR n IN 1..{transactions} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
    ));
}

/// Waits until nothing of the alert fires any more, and something was seen to end.
#[track_caller]
fn wait_for_the_end(session: &mut Session, alert: &str) {
    eventually(LONG, &format!("{alert} is over"), || {
        // Autovacuum, busy with freezing, locks the tables of alerts for moments as well; then it is the next look that counts.
        let evaluated = session.try_exec("SELECT evaluate_alerts()");
        assert!(
            evaluated
                .as_ref()
                .err()
                .is_none_or(|failure| failure.code == "55P03"),
            "{evaluated:?}"
        );
        let rows = rows(session, alert);
        let is_over = |row: &Alert| row.state == "ok" || row.state == "resolved";
        if rows.iter().all(is_over) && rows.iter().any(|row| row.state == "resolved") {
            Ok(())
        } else {
            Err(rows)
        }
    });
}

/// Two thirds of the transaction ids that there are, at once.
#[test]
fn transaction_ids_that_run_out() {
    const NEXT: u32 = 1_200_000_000;
    let cluster = Cluster::builder()
        .set("autovacuum_freeze_max_age", 2_000_000_000)
        .set("autovacuum_multixact_freeze_max_age", 2_000_000_000)
        .set("autovacuum_naptime", "1s")
        .start();
    let database = cluster.create_database("fleet");
    let mut session = install(&database);
    session.exec("SELECT evaluate_alerts()");
    drop(session);
    cluster.stop(cluster_tests::Stop::Fast);
    let data = cluster.data_dir();
    cluster
        .tool(
            "pg_resetwal",
            ["-x", &NEXT.to_string(), "-D", &data.display().to_string()],
            "",
        )
        .success();
    // The log of commits has to reach that far: two bits each, and 32 pages of 8 kB in a file.
    let segment = format!("of={}/pg_xact/{:04X}", data.display(), NEXT / 4 / 8192 / 32);
    cluster
        .tool("/bin/dd", ["if=/dev/zero", &segment, "bs=8192", "count=32"], "")
        .success();
    cluster.start();
    let mut session = database.connect();
    let near = evaluate_until(&mut session, "wraparound_near", "firing");
    assert_eq!(near.severity, "warning");
    assert!(health(&mut session).1.contains("wraparound_near"));
    // The transactions of the dead past hold nothing; autovacuum freezes them as soon as it is asked to.
    drop(session);
    cluster.set("autovacuum_freeze_max_age", 200_000_000);
    cluster.restart(cluster_tests::Stop::Fast);
    let mut session = database.connect();
    wait_for_the_end(&mut session, "wraparound_near");
}

/// The least age at which the server lets autovacuum freeze by force, and a third more.
#[test]
fn a_snapshot_that_is_old_and_a_database_that_cannot_be_frozen_for_it() {
    let cluster = Cluster::builder()
        .set("autovacuum_freeze_max_age", 100_000)
        .set("autovacuum_naptime", "1s")
        .set("autovacuum_vacuum_cost_delay", 0)
        .start();
    let database = cluster.create_database("fleet");
    let mut session = install(&database);
    let mut holder = database.connect();
    holder.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM telemetry.attributes");
    consume(&mut session, 133_000);

    // Nobody has said yet that a snapshot of so few transactions is an old one.
    let of_fleet = |session: &mut Session, state: &str| {
        eventually(LONG, &format!("freeze_overdue is {state}"), || {
            session.exec("SELECT evaluate_alerts()");
            let rows = rows(session, "freeze_overdue");
            let found = rows
                .iter()
                .find(|row| row.object == "fleet" && row.state == state);
            found.cloned().ok_or(rows)
        })
    };
    let overdue = of_fleet(&mut session, "firing");
    assert_eq!(overdue.severity, "critical");
    assert!(overdue.detail.contains(" transactions, "), "{overdue:?}");
    assert!(health(&mut session).1.contains("freeze_overdue"));
    // The statement shows the database, how far it is and what to do there.
    let shown = session.rows(&overdue.run);
    let of_database = shown
        .iter()
        .find(|row| row[0] == "database" && row[1] == "fleet")
        .expect("the database that the alert is about");
    assert!(
        of_database[2].parse::<f64>().is_ok_and(|ratio| ratio > 1.3),
        "{of_database:?}"
    );
    assert!(of_database[4].contains("VACUUM (FREEZE)"), "{of_database:?}");

    tune(
        &mut session,
        "horizon_old",
        "warn = 50000, critical = 100000, clear = 50000",
    );
    let old = evaluate_until(&mut session, "horizon_old", "firing");
    assert_eq!(
        (old.severity.as_str(), old.object.as_str()),
        ("critical", format!("idle transaction {}", holder.pid()).as_str())
    );
    assert_eq!(old.run, format!("SELECT pg_terminate_backend({});", holder.pid()));
    let overdue = of_fleet(&mut session, "silenced");
    assert_eq!(overdue.suppressed_by, "horizon_old");

    do_as_told(&database, &old);
    wait_for_the_end(&mut session, "horizon_old");
    // Nothing else has to be done: autovacuum gets there now.
    wait_for_the_end(&mut session, "freeze_overdue");
    assert_eq!(health(&mut session).0, 0);
}

/// A prepared transaction has no process that could be asked.
#[test]
fn a_prepared_transaction_that_was_forgotten() {
    let cluster = Cluster::builder().set("max_prepared_transactions", 2).start();
    let database = cluster.create_database("fleet");
    let mut session = install(&database);
    tune(
        &mut session,
        "horizon_old",
        &format!("warn = 500, critical = 5000, clear = 500, {AT_ONCE}"),
    );
    session.exec("CREATE TABLE public.paid (n integer)");
    session.exec("BEGIN; INSERT INTO public.paid VALUES (1); PREPARE TRANSACTION 'order 7'");
    consume(&mut session, 600);
    let old = evaluate_until(&mut session, "horizon_old", "firing");
    assert_eq!(
        (old.severity.as_str(), old.object.as_str()),
        ("warning", "prepared transaction order 7")
    );
    // Two ways to end it, of which nobody but who knows what it is can choose one: nothing to be copied and run.
    for way in ["COMMIT PREPARED 'order 7'", "ROLLBACK PREPARED 'order 7'"] {
        assert!(old.detail.contains(way) && !old.run.contains(way), "{old:?}");
    }
    session.exec("COMMIT PREPARED 'order 7'");
    evaluate_until(&mut session, "horizon_old", "resolved");
    assert_eq!(session.number("SELECT count(*) FROM public.paid"), 1);
}

#[test]
fn sql_objects_that_nobody_updated() {
    let current = project::version();
    let _scripts = [
        Script::empty_upgrade(&current, "0.0.2"),
        Script::empty_upgrade("0.0.2", &current),
        Script::empty_upgrade(&current, "98.0.0"),
        Script::empty_upgrade("98.0.0", &current),
    ];
    let database = shared::database();
    let mut session = install(&database);
    session.exec("SELECT evaluate_alerts()");
    assert_eq!(rows(&mut session, "extension_outdated")[0].state, "ok");

    session.exec("ALTER EXTENSION pg_telemetry UPDATE TO '0.0.2'");
    let early = evaluate_until(&mut session, "extension_outdated", "pending");
    assert_eq!(early.detail, format!("SQL objects 0.0.2, library {current}"));
    assert_eq!(health(&mut session).0, 0, "whoever updates has an hour for it");
    tune(&mut session, "extension_outdated", AT_ONCE);
    let outdated = evaluate_until(&mut session, "extension_outdated", "firing");
    assert_eq!(outdated.severity, "warning");
    assert!(health(&mut session).1.contains("older than the library"));
    do_as_told(&database, &outdated);
    evaluate_until(&mut session, "extension_outdated", "resolved");
    assert_eq!(health(&mut session).0, 0);

    // A library that is the older one cannot judge anything, and does not say that all is well.
    session.exec("ALTER EXTENSION pg_telemetry UPDATE TO '98.0.0'");
    session.fails_with("55000", "SELECT * FROM telemetry_alerts");
    let (status, summary) = health(&mut session);
    assert!(status == 3 && summary.contains("98.0.0"), "{summary}");
    session.exec(&format!("ALTER EXTENSION pg_telemetry UPDATE TO '{current}'"));
    session.exec("SELECT evaluate_alerts()");
    assert_eq!(health(&mut session).0, 0);
}
