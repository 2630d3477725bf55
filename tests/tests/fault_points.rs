//! The flush ended in each way at each of its steps, by a library that has places to do so compiled in. Whatever happens: at the
//! durable door no row is lost, none comes twice at either, and the next flush finishes.

use std::sync::Arc;

use cluster_tests::integrity::{check_facts, check_staging};
use cluster_tests::readings::{DOORS, attribute};
use cluster_tests::{Cluster, Database, Installation, SOON, Session, SqlInBackground, eventually, workers};

const STEPS: [&str; 13] = [
    "opened",
    "page_claimed",
    "claimed",
    "before_judge",
    "judged",
    "before_leaf",
    "after_heap",
    "before_index",
    "before_index_leaf",
    "after_index",
    "before_rejected",
    "before_partition",
    "before_commit",
];

/// The advisory lock at which a step waits.
const KEY: i64 = 77;

/// What each round stages at each door: good rows, one that is rejected, and one that has no partition yet.
const ROUND: i64 = 102;

struct Bench {
    cluster: Arc<Cluster>,
    database: Database,
    session: Session,
    id: i64,
    rounds: i64,
}

fn bench(preload: bool) -> Bench {
    let builder = Cluster::builder().installation(&Installation::with_fault_points());
    let cluster = if preload { builder.preload() } else { builder }.start();
    let database = cluster.create_database("faults");
    let mut session = database.install();
    if preload {
        workers::wait_for_start(&cluster, "faults");
    }
    let id = attribute(&mut session, "temperature", "number");
    Bench {
        cluster,
        database,
        session,
        id,
        rounds: 0,
    }
}

impl Bench {
    /// Stages a round at each door, whose rows have numbers of their own.
    fn stage(&mut self) {
        self.rounds += 1;
        self.put_old_partition_away();
        for (door, offset) in DOORS.into_iter().zip([0, 1_000_000]) {
            let first = offset + self.rounds * ROUND;
            self.session.exec(&format!(
                "INSERT INTO {door} (tenant_id, entity_id, ingested_at, attribute_id, value_num)
                 SELECT 1, n, CASE n WHEN {first} + 1 THEN now() - interval '2 days' ELSE now() END,
                        CASE n WHEN {first} THEN -1 ELSE {id} END, 1
                 FROM generate_series({first}, {first} + {ROUND} - 1) n",
                id = self.id
            ));
        }
    }

    /// The partition that the last round made, so that the next has to make it again.
    fn put_old_partition_away(&mut self) {
        self.session.exec(
            "DO $$ DECLARE old regclass; BEGIN
                 FOR old IN SELECT relid FROM pg_partition_tree('entity_values_ts') WHERE isleaf
                     AND relid::regclass::text < 'entity_values_ts_p' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD') LOOP
                     EXECUTE format('ALTER TABLE entity_values_ts DETACH PARTITION %s', old);
                     EXECUTE format('INSERT INTO kept SELECT * FROM %s', old);
                     EXECUTE format('DROP TABLE %s', old);
                 END LOOP;
             END $$",
        );
    }

    /// Rows of a door, wherever they are, and how many different ones.
    fn ledger(&mut self, durable: bool) -> (i64, i64) {
        let bounds = if durable {
            "entity_id >= 1000000"
        } else {
            "entity_id < 1000000"
        };
        let row = self
            .session
            .rows(&format!(
                "SELECT count(*), count(DISTINCT entity_id) FROM (
                     SELECT entity_id FROM entity_values_ingest UNION ALL SELECT entity_id FROM entity_values_ingest_durable
                     UNION ALL SELECT entity_id FROM entity_values_ts UNION ALL SELECT entity_id FROM entity_values_rejected
                     UNION ALL SELECT entity_id FROM kept) AS readings WHERE {bounds}"
            ))
            .swap_remove(0);
        let number = |text: &str| text.parse().expect("count() is a number");
        (number(&row[0]), number(&row[1]))
    }

    #[track_caller]
    fn nothing_is_lost(&mut self, what: &str) {
        let staged = self.rounds * ROUND;
        for durable in [false, true] {
            assert_eq!(
                self.ledger(durable),
                (staged, staged),
                "{what}, durable: {durable}"
            );
        }
    }

    #[track_caller]
    fn next_flush_finishes(&mut self, what: &str) {
        self.session.exec("SELECT stage_flush()");
        self.staging_is_empty(what);
    }

    #[track_caller]
    fn staging_is_empty(&mut self, what: &str) {
        for door in DOORS {
            assert_eq!(
                self.session.number(&format!("SELECT count(*) FROM {door}")),
                0,
                "{what}, {door}"
            );
        }
    }

    #[track_caller]
    fn all_holds_together(&mut self) {
        check_facts(&mut self.session);
        for door in DOORS {
            check_staging(&mut self.session, door);
        }
    }

    fn keep_old_rows(&mut self) {
        self.session.exec("CREATE TABLE kept (LIKE entity_values_ts)");
    }

    /// A flush in another session, armed.
    fn flush(&self, armed: &str, settings: &str) -> SqlInBackground {
        self.database.background_sql(format!(
            "SET pg_telemetry.fault_points = '{armed}'; {settings}; COMMIT; SELECT stage_flush()"
        ))
    }

    /// Waits until a process has come to the step at which it is held up.
    #[track_caller]
    fn wait_until_held_up(&mut self, pid: i32, what: &str) {
        let waits = format!(
            "SELECT count(*) FROM pg_locks WHERE pid = {pid} AND locktype = 'advisory' AND NOT granted"
        );
        eventually(SOON, what, || match self.session.number(&waits) {
            0 => Err("not there yet"),
            _ => Ok(()),
        });
    }
}

#[test]
fn what_is_shipped_has_no_fault_points() {
    let mentions = |installation: &Installation| {
        let library = std::fs::read(installation.library()).expect("the library can be read");
        ["fault_points", "fault at "].map(|words| {
            library
                .windows(words.len())
                .any(|bytes| bytes == words.as_bytes())
        })
    };
    assert_eq!(mentions(Installation::current()), [false, false]);
    assert_eq!(mentions(&Installation::with_fault_points()), [true, true]);
    let database = cluster_tests::shared::database();
    let mut session = database.install();
    session.exec("SELECT stage_flush()");
    let failure = session.fails("SET pg_telemetry.fault_points = 'claimed=crash'");
    assert_eq!(failure.code, "42602", "{failure}");
}

#[test]
fn a_flush_that_is_cancelled_or_terminated_at_any_step_gives_everything_back() {
    let mut bench = bench(false);
    bench.keep_old_rows();
    let mut holder = bench.database.connect();
    for (end, heard) in [
        ("pg_cancel_backend", &["57014"][..]),
        ("pg_terminate_backend", &["57P01", ""]),
    ] {
        for step in STEPS {
            let what = format!("{end} at {step}");
            bench.stage();
            holder.exec(&format!("SELECT pg_advisory_lock({KEY})"));
            let flush = bench.flush(&format!("{step}=wait:{KEY}"), "SET lock_timeout = 0");
            bench.wait_until_held_up(flush.pid(), &what);
            bench.session.exec(&format!("SELECT {end}({})", flush.pid()));
            let failure = flush.join().expect_err("the flush was ended");
            assert!(heard.contains(&failure.code.as_str()), "{what}: {failure}");
            holder.exec(&format!("SELECT pg_advisory_unlock({KEY})"));
            bench.nothing_is_lost(&what);
            bench.next_flush_finishes(&what);
            bench.nothing_is_lost(&what);
        }
    }
    bench.all_holds_together();
}

#[test]
fn timeouts_and_faults_at_any_step_cost_no_row() {
    let mut bench = bench(false);
    bench.keep_old_rows();
    let mut holder = bench.database.connect();
    for step in STEPS {
        for (armed, settings, codes) in [
            (
                format!("{step}=sleep:20"),
                "SET statement_timeout = '150ms'",
                &["57014"][..],
            ),
            (
                format!("{step}=wait:{KEY}"),
                "SET lock_timeout = '30ms'",
                &["55P03"],
            ),
            (format!("{step}=error:53100"), "SET lock_timeout = 0", &["53100"]),
            (format!("{step}=error:23514"), "SET lock_timeout = 0", &["23514"]),
            (format!("{step}=error:40001"), "SET lock_timeout = 0", &["40001"]),
        ] {
            let what = format!("{armed}, {settings}");
            bench.stage();
            holder.exec(&format!("SELECT pg_advisory_lock({KEY})"));
            let outcome = bench.flush(&armed, settings).join();
            holder.exec(&format!("SELECT pg_advisory_unlock({KEY})"));
            // Where others could go on, or the rows themselves were at fault, it is no error.
            if let Err(failure) = outcome {
                assert!(codes.contains(&failure.code.as_str()), "{what}: {failure}");
            }
            bench.nothing_is_lost(&what);
            bench.next_flush_finishes(&what);
            bench.nothing_is_lost(&what);
        }
    }
    bench.all_holds_together();
}

#[test]
fn a_fault_that_passes_is_not_noticed_by_the_caller() {
    let mut bench = bench(false);
    bench.keep_old_rows();
    for step in STEPS {
        for sqlstate in ["53100", "XX000"] {
            bench.stage();
            let what = format!("{sqlstate} at {step}");
            let outcome = bench
                .flush(&format!("{step}=error:{sqlstate}@1"), "SET lock_timeout = 0")
                .join();
            assert_eq!(outcome, Ok(()), "{what}");
            bench.staging_is_empty(&what);
            bench.nothing_is_lost(&what);
        }
    }
    let rejected = bench
        .session
        .column("SELECT DISTINCT sqlstate FROM entity_values_rejected");
    assert_eq!(rejected, ["42704"]);
    bench.all_holds_together();
}

#[test]
fn a_process_that_dies_at_any_step_costs_the_durable_door_nothing() {
    let mut bench = bench(false);
    bench.keep_old_rows();
    for step in STEPS {
        bench.stage();
        // What is flushed of the fast door stays, too.
        let door_one = bench.session.number("SELECT stage_flush(60)");
        assert!(door_one > 0);
        bench.put_old_partition_away();
        let log = bench.cluster.log_mark();
        let failure = bench
            .flush(&format!("{step}=crash"), "SET lock_timeout = 0")
            .join()
            .expect_err("the process died");
        assert_eq!(failure.code, "", "{step}: {failure}");
        eventually(SOON, "the server starts over", || {
            let lines = log.lines_with("all server processes terminated; reinitializing");
            if lines.is_empty() { Err(()) } else { Ok(()) }
        });
        bench.cluster.wait_until_ready();
        bench.session = bench.database.connect();
        let staged = bench.rounds * ROUND;
        assert_eq!(bench.ledger(true), (staged, staged), "{step}");
        let (rows, entities) = bench.ledger(false);
        assert_eq!(rows, entities, "{step}");
        assert_eq!(
            bench.session.number("SELECT count(*) FROM entity_values_ingest"),
            0
        );
        let flushed = bench.session.number(
            "SELECT count(*) FROM (SELECT entity_id FROM entity_values_ts UNION ALL SELECT entity_id FROM kept) f
             WHERE entity_id < 1000000",
        );
        assert!(flushed >= bench.rounds * 55, "{step}: {flushed}");
        bench.next_flush_finishes(step);
        assert_eq!(bench.ledger(true), (staged, staged), "{step}");
    }
    bench.all_holds_together();
}

#[test]
fn a_worker_goes_on_after_whatever_ended_it_at_any_step() {
    let mut bench = bench(true);
    bench.keep_old_rows();
    let mut holder = bench.database.connect();
    for (number, step) in STEPS.into_iter().enumerate() {
        let end = ["pg_cancel_backend", "pg_terminate_backend"][number % 2];
        let what = format!("{end} of the flusher at {step}");
        holder.exec(&format!("SELECT pg_advisory_lock({KEY})"));
        bench
            .cluster
            .set_and_reload("pg_telemetry.fault_points", format!("{step}=wait:{KEY}"));
        bench.session.exec("SET pg_telemetry.fault_points = ''");
        bench.stage();
        // Not the one that was told to end a moment ago and may still be there.
        let held_up = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        let flusher = eventually(SOON, &what, || {
            let status =
                "SELECT worker, task, state, pid, last_start_at, detail, last_error FROM worker_status";
            match bench.session.column(held_up).pop() {
                Some(pid) => Ok(pid),
                None => Err(bench.session.rows(status)),
            }
        });
        bench.session.exec(&format!("SELECT {end}({flusher})"));
        bench.cluster.set_and_reload("pg_telemetry.fault_points", "");
        holder.exec(&format!("SELECT pg_advisory_unlock({KEY})"));
        eventually(SOON, &what, || {
            let left = bench.session.number(
                "SELECT (SELECT count(*) FROM entity_values_ingest) + (SELECT count(*) FROM entity_values_ingest_durable)",
            );
            if left == 0 { Ok(()) } else { Err(left) }
        });
        bench.nothing_is_lost(&what);
        // One that ends flushes once more, and would take the rows of the next round unnoticed.
        let still_there = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {flusher}");
        eventually(SOON, "the flusher that was told to end has ended", || match bench
            .session
            .number(&still_there)
        {
            1 if end == "pg_terminate_backend" => Err(()),
            _ => Ok(()),
        });
    }
    bench.all_holds_together();
}
