//! Partitions that are rewritten while they are read: nobody sees a difference.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster_tests::old_day::{EACH, OldDay};
use cluster_tests::{Cluster, SOON, eventually, workers};

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
    for round in 0..50 {
        let before = day.state("rewritten_at");
        day.ask_for_rewrite();
        eventually(SOON, &format!("rewrite {round}"), || {
            let status =
                "SELECT state, last_error, detail FROM worker_status WHERE task = 'rewrite_partition'";
            match day.state("rewritten_at") {
                at if at != before => Ok(()),
                _ => Err(day.session.rows(status)),
            }
        });
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
