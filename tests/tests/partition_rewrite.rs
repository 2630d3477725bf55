//! Partitions that are rewritten while they are read: nobody sees a difference.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster_tests::old_day::{EACH, OldDay};
use cluster_tests::{Background, Cluster, eventually, workers};

#[test]
fn readers_and_writers_notice_nothing_of_fifty_rewrites() {
    let mut day = OldDay::new(
        Cluster::builder()
            .preload()
            .set("deadlock_timeout", "1ms")
            .set("log_lock_waits", "on"),
    );
    workers::wait_for_start(&day.cluster, "old_day");
    let done = Arc::new(AtomicBool::new(false));
    let expected = 2 * EACH;
    let count = format!("SELECT count(*) FROM {}", day.partition);
    // A snapshot from before the exchange, a look at the partition after it.
    let old_snapshot = |look: &str| {
        format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM attributes; SELECT pg_sleep(0.05); {look}"
        )
    };
    let by_index = format!(
        "SET enable_seqscan = off; SELECT count(*) FROM {} WHERE tenant_id = ANY ('{{1,2}}')",
        day.partition
    );
    let readers: Vec<_> = [
        (String::new(), count.clone()),
        (String::new(), by_index.clone()),
        (old_snapshot(""), count.clone()),
        (old_snapshot(""), by_index),
        (
            "BEGIN ISOLATION LEVEL SERIALIZABLE".to_owned(),
            "SELECT count(*) FROM entity_values_ts WHERE ingested_at < now() - interval '30 days'".to_owned(),
        ),
    ]
    .into_iter()
    .map(|(before, look)| {
        let stop = done.clone();
        day.database.background(move |session| {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                session.exec(&before);
                let (setting, look) = look.rsplit_once("; ").unwrap_or(("", &look));
                session.exec(setting);
                assert_eq!(session.number(look), expected, "{before} {look}");
                if !before.is_empty() {
                    session.exec("COMMIT");
                }
                rounds += 1;
            }
            rounds
        })
    })
    .collect();
    let stop = done.clone();
    let writer = day.database.background(move |session| {
        let mut rows = 0;
        while !stop.load(Ordering::Relaxed) {
            session.exec(
                "INSERT INTO entity_values_ts (tenant_id, entity_id, attribute_id, value_num) VALUES (3, 1, 1, 0);
                 INSERT INTO entity_values_ingest_durable (tenant_id, entity_id, attribute_id, value_num) VALUES (1, 1, 1, 0)",
            );
            rows += 1;
        }
        rows
    });
    let files = "SELECT pg_relation_filenode(oid) FROM pg_class WHERE oid = '$P'::regclass"
        .replace("$P", &day.partition);
    let mut seen = vec![day.session.number(&files)];
    for _ in 0..50 {
        let before = day.state("rewritten_at");
        day.ask_for_rewrite();
        day.wait_for_rewrite(&before);
        seen.push(day.session.number(&files));
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.join() > 0);
    }
    let written = writer.join();
    assert!(written > 0);
    seen.dedup();
    assert_eq!(seen.len(), 51, "each rewrite has made new files");
    day.wait_until_done();
    assert_eq!(day.session.number(&count), expected);
    let others = "SELECT count(*) FROM entity_values_ts WHERE tenant_id = 3";
    assert_eq!(day.session.number(others), written);
    day.holds_together();
}

#[test]
fn it_comes_to_an_end_though_readers_never_leave_a_gap() {
    let mut day = OldDay::new(Cluster::builder().preload());
    workers::wait_for_start(&day.cluster, "old_day");
    let done = Arc::new(AtomicBool::new(false));
    let look = format!("SELECT pg_sleep(0.03) FROM {} LIMIT 1", day.partition);
    let readers: Vec<_> = (0..6)
        .map(|_| {
            let (stop, look) = (done.clone(), look.clone());
            day.database.background(move |session| {
                while !stop.load(Ordering::Relaxed) {
                    session.exec(&look);
                }
            })
        })
        .collect();
    day.ask_for_rewrite();
    let asked = Instant::now();
    eventually(Duration::from_secs(120), "a rewrite", || {
        // Nobody waits here for the next try after a failure.
        day.session
            .exec("UPDATE partition_state SET next_try_at = NULL WHERE next_try_at IS NOT NULL");
        day.cluster.reload();
        match day.state("rewritten_at") {
            at if at.is_empty() => Err(day.state("last_error")),
            _ => Ok(()),
        }
    });
    assert!(
        asked.elapsed() > Duration::from_secs(1),
        "readers were never in the way"
    );
    done.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(Background::join);
    assert_eq!((day.of_tenant(1), day.of_tenant(2)), (EACH, EACH));
}

#[test]
fn readers_on_a_standby_notice_nothing_either() {
    let mut day = OldDay::new(Cluster::builder().preload());
    workers::wait_for_start(&day.cluster, "old_day");
    let standby = day.cluster.standby();
    let done = Arc::new(AtomicBool::new(false));
    let looks = [
        format!("SELECT count(*) FROM {}", day.partition),
        "SELECT count(*) FROM entity_values_ts WHERE tenant_id = ANY ('{1,2}') AND attribute_id > 0"
            .to_owned(),
    ];
    let readers = looks.map(|look| {
        let stop = done.clone();
        let mut session = standby.connect("old_day");
        std::thread::spawn(move || {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                session.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM attributes");
                assert_eq!(session.number(&look), 2 * EACH);
                session.exec("COMMIT");
                rounds += 1;
            }
            rounds
        })
    });
    for _ in 0..5 {
        let before = day.state("rewritten_at");
        day.ask_for_rewrite();
        day.wait_for_rewrite(&before);
    }
    day.wait_until_done();
    standby.catch_up_with(&day.cluster);
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.join().expect("a reader of the standby") > 0);
    }
    standby.promote();
    let mut session = standby.connect("old_day");
    let count = format!("SELECT count(*) FROM {}", day.partition);
    assert_eq!(session.number(&count), 2 * EACH);
}

#[test]
fn a_subscriber_sees_nothing_of_it() {
    let mut day = OldDay::new(Cluster::builder().preload().set("wal_level", "logical"));
    workers::wait_for_start(&day.cluster, "old_day");
    day.session.exec(
        "CREATE PUBLICATION additions FOR ALL TABLES WITH (publish = 'insert', publish_via_partition_root = true)",
    );
    day.session
        .rows("SELECT pg_create_logical_replication_slot('copy', 'pgoutput')");
    day.session.exec("SELECT set_retention('30 days', 1)");
    day.cluster.reload();
    let gone = "SELECT count(*) FROM entity_values_ts WHERE tenant_id = 1";
    day.wait_for("tenant 1 is gone", |day| match day.session.number(gone) {
        0 => Ok(()),
        n => Err(n),
    });
    day.wait_until_done();
    assert_eq!(day.state("removed_rows"), "0");
    day.session.exec(
        "INSERT INTO entity_values_ts (tenant_id, entity_id, attribute_id, value_num) VALUES (5, 5, 1, 1)",
    );
    // Messages begin with a letter: I adds a row, D and T take rows away, R names a table. The keeper adds some of its own.
    let sent = "SELECT count(*) FILTER (WHERE get_byte(data, 0) = ascii('I')) < 1000,
                       count(*) FILTER (WHERE get_byte(data, 0) IN (ascii('D'), ascii('T'))),
                       count(*) FILTER (WHERE position('pg_temp_'::bytea IN data) > 0),
                       count(*) FILTER (WHERE get_byte(data, 0) = ascii('R') AND position('entity_values_ts'::bytea IN data) > 0) > 0
                FROM pg_logical_slot_get_binary_changes('copy', NULL, NULL, 'proto_version', '1', 'publication_names', 'additions')";
    assert_eq!(day.session.rows(sent), [["t", "0", "0", "t"]]);
}

#[test]
fn what_changes_meanwhile_and_what_some_snapshot_sees_is_not_lost() {
    let mut day = OldDay::new(Cluster::builder().preload());
    workers::wait_for_start(&day.cluster, "old_day");
    // A snapshot that sees the deleted readings: they stay for it, and nothing is rewritten.
    let mut report = day.database.connect();
    report.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM attributes");
    day.session.exec("SELECT set_retention('30 days', 1)");
    day.cluster.reload();
    let status = "SELECT coalesce(detail, '') FROM worker_status WHERE task = 'rewrite_partition'";
    day.wait_for("it waits for the snapshot", |day| {
        match day.session.text(status) {
            text if text.contains("can still be seen by some snapshot") => Ok(()),
            text => Err(text),
        }
    });
    assert_eq!(
        report.number("SELECT count(*) FROM entity_values_ts WHERE tenant_id = 1"),
        EACH
    );
    report.exec("COMMIT");
    day.wait_until_done();
    assert_eq!((day.of_tenant(1), day.of_tenant(2)), (0, EACH));
}

#[test]
fn indexes_and_parameters_of_users_go_with_it_and_what_cannot_be_copied_is_named() {
    let mut day = OldDay::new(Cluster::builder().preload());
    workers::wait_for_start(&day.cluster, "old_day");
    let partition = day.partition.clone();
    day.session.exec(&format!(
        "CREATE INDEX \"By \"\"Value\" ON {partition} (value_num DESC) INCLUDE (entity_id) WITH (fillfactor = 71) WHERE tenant_id = 2;
         CREATE UNIQUE INDEX ON {partition} (tenant_id, entity_id, attribute_id) NULLS NOT DISTINCT;
         CREATE INDEX ON {partition} (lower(left(value_text, 9)) COLLATE \"C\" text_pattern_ops);
         CREATE INDEX ON {partition} USING hash (entity_id);
         ALTER TABLE {partition} SET (fillfactor = 90, toast.autovacuum_enabled = off);
         ALTER TABLE {partition} ADD CONSTRAINT positive CHECK (value_num > 0);
         CREATE POLICY mine ON {partition} USING (true); GRANT SELECT ON {partition} TO telemetry_reader"
    ));
    let all = "SELECT c.oid::regclass, pg_get_indexdef(c.oid), c.reloptions, c.relacl::text, c.relrewrite, t.reloptions
               FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
               WHERE c.oid = '$P'::regclass OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = '$P'::regclass)
               ORDER BY c.oid"
        .replace("$P", &partition);
    let before = day.session.rows(&all);
    assert_eq!(before.len(), 7);
    let files = format!(
        "SELECT pg_relation_filenode(indexrelid) FROM pg_index WHERE indrelid = '{partition}'::regclass ORDER BY indexrelid"
    );
    let old_files = day.session.column(&files);
    day.ask_for_rewrite();
    day.wait_for_rewrite("");
    day.wait_until_done();
    assert_eq!(day.session.rows(&all), before);
    let new_files = day.session.column(&files);
    assert!(old_files.iter().all(|file| !new_files.contains(file)));
    day.holds_together();
    day.session.exec("SET enable_seqscan = off");
    let by_index = format!("SELECT count(*) FROM {partition} WHERE value_num > 0 AND tenant_id = 2");
    assert_eq!(day.session.number(&by_index), EACH);
    let duplicate = format!("INSERT INTO {partition} SELECT * FROM {partition} LIMIT 1");
    day.session.fails_with("23505", &duplicate);

    // An index that is not valid.
    let failing = format!("CREATE UNIQUE INDEX CONCURRENTLY broken ON {partition} (tenant_id)");
    day.session.fails_with("23505", &failing);
    let rewritten = day.state("rewritten_at");
    day.ask_for_rewrite();
    let error = "SELECT coalesce(last_error, '') FROM worker_status WHERE task = 'rewrite_partition'";
    day.wait_for("it is named", |day| match day.session.text(error) {
        text if text.contains("index broken cannot be copied") => Ok(()),
        text => Err(text),
    });
    assert_eq!(day.state("rewritten_at"), rewritten);
}
