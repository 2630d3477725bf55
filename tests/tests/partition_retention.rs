//! Retention: which partitions go, which stay, and that nobody has to wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster_tests::readings::attribute;
use cluster_tests::{Builder, Cluster, Database, SOON, Session, eventually, shared, workers};

const REMOVALS: &str = "SELECT action, starts_at::date FROM partition_plan() WHERE action NOT IN ('create', 'seal', 'analyze') ORDER BY starts_at";

/// A database with readings of tenants 1 and 2 of 40 days ago, and of tenant 1 of 50 days ago; then late readings are refused.
/// The clock is beyond doubt, although today's partition is new.
fn with_old_readings(builder: Builder) -> (Arc<Cluster>, Database, Session) {
    let cluster = builder.set("pg_telemetry.accept_past", "1000d").start();
    let database = cluster.create_database("kept");
    let mut session = database.install();
    session.exec("SET timezone = UTC");
    let id = attribute(&mut session, "temperature", "number");
    session.exec(&format!("UPDATE attributes SET unit = NULL; INSERT INTO entity_values_ingest_durable (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         VALUES (1, 1, now() - interval '40 days', {id}, 1), (1, 2, now() - interval '50 days', {id}, 1),
                (2, 3, now() - interval '40 days', register_attribute(2, 'temperature', 'number'), 1)"));
    eventually(SOON, "three facts", || {
        session.exec("SELECT stage_flush()");
        match session.number("SELECT count(*) FROM entity_values_ts") {
            3 => Ok(()),
            n => Err(n),
        }
    });
    cluster.set_and_reload("pg_telemetry.accept_past", "1h");
    believe_the_clock(&mut session);
    (cluster, database, session)
}

fn believe_the_clock(session: &mut Session) {
    let today = session.text("SELECT to_char(now() AT TIME ZONE 'UTC', '\"entity_values_ts_p\"YYYYMMDD')");
    session.exec(&format!(
        "UPDATE partition_state SET made_late = false WHERE partition = '{today}'"
    ));
}

fn removals(session: &mut Session) -> Vec<(String, String)> {
    let days = "SELECT action, (now() AT TIME ZONE 'UTC')::date - (starts_at AT TIME ZONE 'UTC')::date
                FROM partition_plan() WHERE action NOT IN ('create', 'seal', 'analyze') ORDER BY starts_at";
    let rows = session.rows(days);
    rows.into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect()
}

fn expected(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter()
        .map(|(action, day)| ((*action).to_owned(), (*day).to_owned()))
        .collect()
}

#[test]
fn a_partition_goes_when_the_time_of_every_tenant_is_over() {
    let (_cluster, _database, mut session) = with_old_readings(Cluster::builder());
    let session = &mut session;
    assert_eq!(removals(session), [], "without a policy nothing goes");
    session.exec("SELECT set_retention('30 days', 1)");
    assert_eq!(removals(session), [], "tenant 2 keeps for ever");
    session.exec("SELECT set_retention('45 days')");
    // Day 50 is over for all; of day 40 nothing is said by anybody but tenant 1.
    assert_eq!(removals(session), expected(&[("detach", "50")]));
    session.exec("SELECT set_retention('30 days')");
    assert_eq!(removals(session), expected(&[("detach", "50"), ("detach", "40")]));
    session.exec("SELECT set_retention('1 year', 2)");
    assert_eq!(removals(session), expected(&[("detach", "50"), ("keep", "40")]));
    assert!(
        session
            .text("SELECT reason FROM partition_plan() WHERE action = 'keep'")
            .contains("tenant 2"),
    );
    session.exec("SELECT set_retention('1 day', 2); UPDATE retention_policies SET legal_hold = true WHERE tenant_id = 1");
    assert_eq!(removals(session), expected(&[("keep", "50"), ("keep", "40")]));
    session.exec("UPDATE retention_policies SET legal_hold = tenant_id = 0");
    assert_eq!(removals(session), [], "a hold on all");
    session.exec("SELECT set_retention(NULL); UPDATE retention_policies SET legal_hold = false");
    assert_eq!(removals(session), [], "for ever");
}

#[test]
fn what_is_still_accepted_and_what_is_ahead_stay_however_short_the_time() {
    let (cluster, _database, mut session) = with_old_readings(Cluster::builder());
    let all =
        session.number("SELECT count(*) FROM pg_inherits WHERE inhparent = 'entity_values_ts'::regclass");
    session.exec("SELECT set_retention('1 microsecond')");
    assert_eq!(removals(&mut session).len() as i64, 2);
    assert_eq!(all, 7);
    cluster.set_and_reload("pg_telemetry.accept_past", "45d");
    assert_eq!(removals(&mut session), expected(&[("detach", "50")]));
}

#[test]
fn after_a_jump_of_the_clock_nothing_goes_for_a_day() {
    let (_cluster, _database, mut session) = with_old_readings(Cluster::builder());
    session.exec("SELECT set_retention('30 days')");
    let today = session.text("SELECT to_char(now() AT TIME ZONE 'UTC', '\"entity_values_ts_p\"YYYYMMDD')");
    // As it is when the clock comes to where nothing was made ahead.
    session.exec(&format!("DROP TABLE {today}"));
    assert_eq!(
        removals(&mut session),
        expected(&[("keep", "50"), ("keep", "40")])
    );
    session.exec("SELECT rotate_partitions()");
    assert_eq!(
        removals(&mut session),
        expected(&[("keep", "50"), ("keep", "40")])
    );
    let reason = "SELECT DISTINCT reason FROM partition_plan() WHERE action = 'keep'";
    assert!(session.text(reason).contains("the clock has jumped"));
    let rows = session.rows("SELECT * FROM rotate_partitions() WHERE action NOT IN ('seal', 'analyze')");
    assert!(rows.is_empty(), "{rows:?}");
    let made =
        format!("SELECT made_late AND made_at <= now() FROM partition_state WHERE partition = '{today}'");
    assert!(session.is_true(&made));
    session.exec(&format!(
        "UPDATE partition_state SET made_at = '2026-01-01' WHERE partition = '{today}'"
    ));
    assert_eq!(
        removals(&mut session),
        expected(&[("detach", "50"), ("detach", "40")])
    );
}

#[test]
fn without_workers_the_statement_is_handed_out_and_the_rest_follows() {
    let (_cluster, _database, mut session) = with_old_readings(Cluster::builder());
    session.exec("SELECT set_retention('45 days')");
    let rows = session.rows(
        "SELECT action, outcome, detail FROM rotate_partitions() WHERE action NOT IN ('seal', 'analyze')",
    );
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0][..2], ["detach", "left"]);
    let statement = session.text("SELECT statement FROM partition_plan() WHERE action = 'detach'");
    assert_eq!(rows[0][2], format!("run this by itself: {statement}"));
    session.exec(&statement);
    assert_eq!(removals(&mut session), expected(&[("drop", "50")]));
    // A hold that comes in between still counts.
    session.exec("INSERT INTO retention_policies (tenant_id, legal_hold) VALUES (1, true)");
    assert_eq!(removals(&mut session), expected(&[("keep", "50")]));
    assert!(
        session
            .rows("SELECT * FROM rotate_partitions() WHERE action NOT IN ('seal', 'analyze')")
            .is_empty()
    );
    session.exec("DELETE FROM retention_policies WHERE tenant_id = 1");
    let rows = session
        .rows("SELECT action, outcome FROM rotate_partitions() WHERE action NOT IN ('seal', 'analyze')");
    assert_eq!(rows, [["drop", "done"]]);
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ts"), 2);
    assert_eq!(removals(&mut session), []);
    assert_eq!(
        session.number("SELECT count(*) FROM partition_state WHERE leaves_as IS NOT NULL"),
        0
    );
}

#[test]
fn the_workers_do_it_all_while_others_read_and_write() {
    let (cluster, database, mut session) = with_old_readings(Cluster::builder().preload());
    workers::wait_for_start(&cluster, "kept");
    let done = Arc::new(AtomicBool::new(false));
    let stop = done.clone();
    // Nobody waits for a lock for longer than 10 ms, all the time.
    let busy = database.background(move |session| {
        session.exec("SET lock_timeout = '10ms'");
        let mut rounds = 0;
        while !stop.load(Ordering::Relaxed) {
            session.exec(
                "INSERT INTO entity_values_ts (tenant_id, entity_id, attribute_id, value_num) VALUES (3, 1, 1, 0);
                 SELECT count(*) FROM entity_values_ts WHERE tenant_id = 1",
            );
            rounds += 1;
        }
        rounds
    });
    let mut holder = database.connect();
    holder.exec("BEGIN; SELECT count(*) FROM entity_values_ts");
    session.exec("SELECT set_retention('30 days')");
    cluster.reload();
    let failure = "SELECT coalesce(last_error, '') FROM worker_status WHERE task = 'retire_partition'";
    let named = format!("process {} (AccessShareLock)", holder.pid());
    eventually(SOON, "the holder is named", || match session.text(failure) {
        text if text.contains(&named) => Ok(()),
        text => Err(text),
    });
    assert_eq!(
        session.number("SELECT count(*) FROM entity_values_ts WHERE tenant_id < 3"),
        3
    );
    holder.exec("COMMIT");
    eventually(SOON, "both are dropped", || {
        cluster.reload();
        let left = session.column(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'entity\\_values\\_ts\\_p%'
               AND relname < to_char(now() AT TIME ZONE 'UTC', '\"entity_values_ts_p\"YYYYMMDD')",
        );
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    done.store(true, Ordering::Relaxed);
    assert!(busy.join() > 0);
    assert_eq!(
        session.number("SELECT count(*) FROM entity_values_ts WHERE tenant_id < 3"),
        0
    );
}

#[test]
fn an_interrupted_detachment_is_ended_and_the_table_kept_where_that_is_wished() {
    let (cluster, database, mut session) = with_old_readings(
        Cluster::builder()
            .preload()
            .set("pg_telemetry.retention_keeps_tables", "on"),
    );
    workers::wait_for_start(&cluster, "kept");
    let mut holder = database.connect();
    holder.exec("BEGIN; SELECT count(*) FROM entity_values_ts");
    let names = session.column(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'entity\\_values\\_ts\\_p%' ORDER BY 1 LIMIT 2",
    );
    session.exec("SET statement_timeout = '300ms'");
    session.fails_with(
        "57014",
        &format!(
            "ALTER TABLE entity_values_ts DETACH PARTITION {} CONCURRENTLY",
            names[0]
        ),
    );
    session.exec("RESET statement_timeout");
    assert_eq!(
        session
            .column("SELECT action FROM partition_plan() WHERE action NOT IN ('create', 'seal', 'analyze')"),
        ["finish detaching"]
    );
    holder.exec("COMMIT");
    let pending = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending";
    eventually(SOON, "it is ended", || {
        cluster.reload();
        match session.number(pending) {
            0 => Ok(()),
            n => Err(n),
        }
    });
    // It was somebody else's, so it stays as it is. The other one is ours, and kept as well.
    session.exec("SELECT set_retention('30 days')");
    let leaves_as = format!(
        "SELECT leaves_as FROM partition_state WHERE partition = '{}'",
        names[1]
    );
    eventually(SOON, "the other one is detached", || {
        cluster.reload();
        let attached = session.number(&format!(
            "SELECT count(*) FROM pg_inherits WHERE inhrelid = '{}'::regclass",
            names[1]
        ));
        if attached == 0 { Ok(()) } else { Err(attached) }
    });
    assert_eq!(session.text(&leaves_as), "keep");
    assert!(session.rows(REMOVALS).is_empty());
    assert_eq!(session.number(&format!("SELECT count(*) FROM {}", names[0])), 1);
    assert_eq!(session.number(&format!("SELECT count(*) FROM {}", names[1])), 2);
}

#[test]
fn times_that_make_no_sense_are_refused() {
    let database = shared::database();
    let mut session = database.install();
    for keep in ["0", "-1 day", "1 day -1 month"] {
        let failure = session.fails_with("22023", &format!("SELECT set_retention('{keep}')"));
        assert!(failure.message.contains("keep"), "{failure}");
    }
    let failure = session.fails_with("22003", "SELECT set_retention('1 day', -1)");
    assert!(!failure.detail.is_empty(), "{failure}");
    session.fails_with("25006", "BEGIN READ ONLY; SELECT set_retention('1 day')");
    session.exec("ROLLBACK");
    assert_eq!(session.number("SELECT count(*) FROM retention_policies"), 0);
    // For ever, near enough, and nothing overflows.
    session.exec("SELECT set_retention('170000000 years'); SELECT set_retention('4999 years', 7)");
    assert!(session.rows(REMOVALS).is_empty());
    session.exec("DROP TABLE retention_policies");
    assert!(session.rows(REMOVALS).is_empty(), "nothing is removed without it");
    session.fails_with("55000", "SELECT set_retention('1 day')");
}
