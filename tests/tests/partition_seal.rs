//! Sealing: what is complete is frozen and knows its readings; what comes late reopens it; nothing that is interrupted stays so.

use std::sync::Arc;

use cluster_tests::readings::attribute;
use cluster_tests::{Builder, Cluster, Database, SOON, Session, eventually, workers};

const SEALS: &str =
    "SELECT seal FROM partition_state WHERE ends_at < now() - interval '20 days' ORDER BY starts_at";

struct Bench {
    cluster: Arc<Cluster>,
    database: Database,
    session: Session,
    id: i64,
}

/// Readings of 40 and 30 days ago, each of them observed an hour before it came in, but one: a day before.
fn bench(builder: Builder) -> Bench {
    let cluster = builder.set("pg_telemetry.accept_past", "1000d").start();
    let database = cluster.create_database("sealed");
    let mut session = database.install();
    session.exec("SET timezone = UTC");
    let id = attribute(&mut session, "temperature", "number");
    let mut bench = Bench {
        cluster,
        database,
        session,
        id,
    };
    bench.late(40, "1 hour");
    bench.late(40, "1 day");
    bench.late(30, "1 hour");
    bench
}

impl Bench {
    /// A reading that comes in so many days late.
    fn late(&mut self, days: i64, before: &str) {
        let at = format!("date_trunc('day', now()) - interval '{days} days' + interval '12 hours'");
        self.session.exec(&format!(
            "INSERT INTO entity_values_ingest_durable (tenant_id, entity_id, ingested_at, observed_at, attribute_id, value_num)
             VALUES (1, 1, {at}, {at} - interval '{before}', {}, 1)",
            self.id
        ));
        eventually(SOON, "it is flushed", || {
            self.session.exec("SELECT stage_flush()");
            match self
                .session
                .number("SELECT count(*) FROM entity_values_ingest_durable")
            {
                0 => Ok(()),
                n => Err(n),
            }
        });
    }

    fn nothing_late_any_more(&mut self) {
        self.cluster.set_and_reload("pg_telemetry.accept_past", "1h");
    }

    /// As somebody without workers does it.
    fn seal_by_hand(&mut self) {
        for _ in 0..2 {
            self.session.exec("SELECT rotate_partitions()");
            for statement in self
                .session
                .column("SELECT statement FROM partition_plan() WHERE statement IS NOT NULL")
            {
                self.session.exec(&statement);
            }
            self.session.exec("SELECT rotate_partitions()");
        }
    }

    #[track_caller]
    fn workers_seal(&mut self, expected: &[&str]) {
        eventually(SOON, "sealed", || {
            self.cluster.reload();
            let seals = self.session.column(SEALS);
            if seals == expected {
                return Ok(());
            }
            let task = "SELECT task, state, last_error FROM worker_status WHERE task LIKE 'seal%'";
            Err((seals, self.session.rows(task)))
        });
    }

    /// The days, counted back from today, on which readings of a day may have come in.
    fn days_for(&mut self, observed: i64) -> Vec<String> {
        self.session.column(&format!(
            "SELECT date_trunc('day', now())::date - starts_at::date
             FROM ingested_periods(date_trunc('day', now()) - interval '{observed} days',
                                   date_trunc('day', now()) - interval '{observed} days' + interval '1 day')"
        ))
    }
}

#[test]
fn what_is_complete_is_frozen_and_knows_what_it_holds() {
    let mut bench = bench(Cluster::builder());
    let open = "SELECT count(*) FROM partition_plan() WHERE action = 'seal'";
    assert_eq!(bench.session.number(open), 0, "readings are still accepted");
    bench.nothing_late_any_more();
    assert_eq!(bench.session.number(open), 2);
    let rows = bench
        .session
        .rows("SELECT outcome, detail FROM rotate_partitions() WHERE action = 'seal'");
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(
        rows.iter()
            .all(|row| row[0] == "left" && row[1].starts_with("run this by itself: VACUUM (FREEZE, ANALYZE")),
        "{rows:?}"
    );
    assert_eq!(bench.session.column(SEALS), ["sealing", "sealing"]);
    bench.seal_by_hand();
    assert_eq!(bench.session.column(SEALS), ["sealed", "sealed"]);
    let session = &mut bench.session;
    let held = session.rows(
        "SELECT rows, date_trunc('day', now()) - observed_from, date_trunc('day', now()) - observed_until FROM partition_state
         WHERE seal = 'sealed' ORDER BY starts_at",
    );
    assert_eq!(
        held,
        [
            ["2", "40 days 12:00:00", "39 days 13:00:00"],
            ["1", "29 days 13:00:00", "29 days 13:00:00"]
        ]
    );
    // Frozen: VACUUM has nothing to do for years; and the planner knows the whole.
    let young = "SELECT count(*) FROM partition_state s JOIN pg_class c ON c.oid = s.relation_oid
                 WHERE seal = 'sealed' AND (age(relfrozenxid) > 100 OR relallvisible < relpages OR reltuples <> rows)";
    assert_eq!(session.number(young), 0);
    let known = "SELECT count(*) > 0 FROM pg_stats WHERE tablename = 'entity_values_ts' AND inherited";
    assert!(session.is_true(known));
    let summarized = "SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'entity_values_ts' AND last_analyze IS NOT NULL";
    assert_eq!(session.number(summarized), 1);
    assert_eq!(
        session.number("SELECT count(*) FROM partition_plan()"),
        0,
        "and nothing is left to do"
    );
}

#[test]
fn a_query_for_a_time_need_only_visit_what_may_hold_it() {
    let mut bench = bench(Cluster::builder());
    bench.nothing_late_any_more();
    let session = &mut bench.session;
    let ahead =
        session.column("SELECT DISTINCT starts_at::date - now()::date FROM ingested_periods('-infinity')");
    assert_eq!(ahead.len(), 1, "all in one piece");
    bench.seal_by_hand();
    // The partitions of today and ahead may hold anything, and between them and the last sealed one there is none.
    assert_eq!(bench.days_for(40), ["40", "0"]);
    assert_eq!(bench.days_for(41), ["40", "0"], "observed a day before");
    assert_eq!(bench.days_for(30), ["30"]);
    assert_eq!(bench.days_for(35), ["0"]);
    let all = "SELECT count(*), bool_or(ends_at IS NULL) FROM ingested_periods(NULL, NULL)";
    assert_eq!(bench.session.rows(all), [["1", "f"]]);
    // Whoever knew it sealed hears of what comes late, and in the transaction that brings it as well.
    let mut other = bench.database.connect();
    other.exec("SET timezone = UTC");
    let from = "SELECT date_trunc('day', now())::date - starts_at::date FROM ingested_periods(date_trunc('day', now()) - interval '34 days', date_trunc('day', now()) - interval '33 days')";
    assert_eq!(other.text(from), "0");
    bench.cluster.set_and_reload("pg_telemetry.accept_past", "1000d");
    bench.late(30, "4 days");
    assert_eq!(bench.session.column(SEALS), ["sealed", "reopened"]);
    assert_eq!(other.text(from), "30");
    assert_eq!(bench.days_for(34), ["30"]);
    bench.nothing_late_any_more();
    bench.seal_by_hand();
    assert_eq!(bench.session.column(SEALS), ["sealed", "sealed"]);
    assert_eq!(bench.days_for(34), ["30"]);
    assert_eq!(bench.days_for(36), ["0"]);
}

#[test]
fn a_partition_that_somebody_writes_into_is_not_sealed() {
    let mut bench = bench(Cluster::builder());
    // A flush that is not committed, from before anybody thought of sealing.
    let mut writer = bench.database.connect();
    writer.exec(&format!(
        "INSERT INTO entity_values_ingest_durable (tenant_id, entity_id, ingested_at, observed_at, attribute_id, value_num)
         VALUES (1, 2, now() - interval '30 days', now() - interval '99 days', {}, 1);
         BEGIN; SELECT stage_flush()",
        bench.id
    ));
    bench.nothing_late_any_more();
    bench.session.exec("SELECT rotate_partitions()");
    for statement in bench
        .session
        .column("SELECT statement FROM partition_plan() WHERE action = 'seal'")
    {
        bench.session.exec(&statement);
    }
    let failed = bench
        .session
        .rows("SELECT outcome, detail FROM rotate_partitions() WHERE action = 'seal' AND outcome = 'failed'");
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(
        failed[0][1].contains(&format!("process {}", writer.pid())),
        "{failed:?}"
    );
    assert_eq!(bench.session.column(SEALS), ["sealed", "sealing"]);
    writer.exec("COMMIT");
    bench.seal_by_hand();
    assert_eq!(bench.session.column(SEALS), ["sealed", "sealed"]);
    assert_eq!(bench.days_for(99), ["30"], "its reading counts");
}

#[test]
fn the_workers_seal_one_after_the_other_and_what_came_late_again() {
    let mut bench = bench(Cluster::builder().preload());
    workers::wait_for_start(&bench.cluster, "sealed");
    bench.nothing_late_any_more();
    bench.workers_seal(&["sealed", "sealed"]);
    bench.cluster.set_and_reload("pg_telemetry.accept_past", "1000d");
    bench.late(40, "3 days");
    assert_eq!(bench.session.column(SEALS)[0], "reopened");
    bench.nothing_late_any_more();
    bench.workers_seal(&["sealed", "sealed"]);
    // Gaps that were filled meanwhile may not be sealed yet.
    assert_eq!(bench.days_for(43)[0], "40");
    eventually(SOON, "the whole is analysed", || {
        bench.cluster.reload();
        let known = "SELECT count(*) FROM pg_stats WHERE tablename = 'entity_values_ts' AND inherited";
        match bench.session.number(known) {
            0 => Err(()),
            _ => Ok(()),
        }
    });
}

#[test]
fn a_restored_partition_is_sealed_again() {
    let mut bench = bench(Cluster::builder());
    bench.nothing_late_any_more();
    bench.seal_by_hand();
    let dump = bench
        .database
        .tool("pg_dump", ["-d", "sealed", "-Fc", "-f", "sealed.dump"], "");
    dump.success();
    let copy = bench.cluster.create_database("copy");
    copy.tool("pg_restore", ["-d", "copy", "sealed.dump"], "")
        .success();
    let mut session = copy.connect();
    session.exec("SET search_path = telemetry; SET timezone = UTC");
    let state = "SELECT seal, partition, relation_oid = partition::regclass FROM partition_state
                 WHERE seal <> 'open' ORDER BY starts_at";
    let before = session.rows(state);
    assert!(before.iter().all(|row| row[0] == "sealed"), "{before:?}");
    session.exec("SELECT rotate_partitions()");
    let after = session.rows(state);
    assert_eq!(after.len(), 2);
    assert!(
        after.iter().all(|row| row[0] != "sealed" && row[2] == "t"),
        "{after:?}"
    );
    let made = "SELECT count(*) FROM partition_state WHERE made_at IS NULL";
    assert_eq!(session.number(made), 0, "the rest is known as well");
}

#[test]
fn renamed_attached_detached_and_dropped_by_hand() {
    let mut bench = bench(Cluster::builder());
    bench.nothing_late_any_more();
    bench.seal_by_hand();
    let session = &mut bench.session;
    let names =
        session.column("SELECT partition FROM partition_state WHERE seal = 'sealed' ORDER BY starts_at");
    session.exec(&format!("ALTER TABLE {} RENAME TO \"My old one\"", names[0]));
    session.exec("SELECT rotate_partitions()");
    let sealed = "SELECT partition FROM partition_state WHERE seal = 'sealed' ORDER BY starts_at";
    assert_eq!(session.column(sealed), ["My old one", &names[1]]);
    // What happens to it while it is detached nobody sees.
    let bounds =
        session.text("SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'My old one'");
    session.exec("ALTER TABLE entity_values_ts DETACH PARTITION \"My old one\"; SELECT rotate_partitions()");
    assert_eq!(
        session.rows(
            "SELECT seal, left_at IS NOT NULL, leaves_as FROM partition_state WHERE partition = 'My old one'"
        ),
        [["reopened", "t", cluster_tests::NULL]]
    );
    session.exec(&format!(
        "ALTER TABLE entity_values_ts ATTACH PARTITION \"My old one\" {bounds}"
    ));
    bench.seal_by_hand();
    let session = &mut bench.session;
    assert_eq!(session.column(sealed), ["My old one", &names[1]]);
    session.exec("DROP TABLE \"My old one\"; SELECT rotate_partitions()");
    assert_eq!(session.column(sealed), [names[1].clone()]);
    // A table that we never saw, with an open end.
    session.exec(
        "CREATE TABLE ancient (LIKE entity_values_ts INCLUDING DEFAULTS);
         ALTER TABLE ancient OWNER TO telemetry_owner;
         ALTER TABLE entity_values_ts ATTACH PARTITION ancient FOR VALUES FROM (MINVALUE) TO ('2001-01-01 00:00+00')",
    );
    bench.seal_by_hand();
    let session = &mut bench.session;
    assert_eq!(session.column(sealed), ["ancient", &names[1]]);
    assert_eq!(
        session.rows(
            "SELECT starts_at, made_at, rows, observed_from FROM partition_state WHERE partition = 'ancient'"
        ),
        [["-infinity", cluster_tests::NULL, "0", cluster_tests::NULL]]
    );
    session.exec("DROP TABLE partition_state");
    assert_eq!(session.number("SELECT count(*) FROM ingested_periods(now())"), 1);
    session.exec("SELECT rotate_partitions(); SELECT setup()");
    assert_eq!(
        session.number("SELECT count(*) FROM partition_state"),
        session.number("SELECT count(*) FROM pg_inherits WHERE inhparent = 'entity_values_ts'::regclass")
    );
}
