//! BRIN indexes of partitions in use know their pages soon, without a word in the log.

use std::sync::Arc;

use cluster_tests::readings::{Ready, attribute, facts, ready, stage, wait_for_facts};
use cluster_tests::{Cluster, Database, SOON, Session, eventually};

const DOOR: &str = "entity_values_ingest";
const REQUEST: &str = "request for BRIN range summarization";

/// Ranges of the facts' BRIN indexes that nobody has summarised. Says so by summarising them.
fn left(session: &mut Session) -> i64 {
    session.number(
        "SELECT coalesce(sum(brin_summarize_new_values(i.indexrelid)), 0)
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
         WHERE a.amname = 'brin' AND c.relkind = 'i'
           AND i.indrelid IN (SELECT relid FROM pg_partition_tree('entity_values_ts'))",
    )
}

/// The ranges that an index knows, and those of its table.
fn known_and_all(session: &mut Session) -> (i64, i64) {
    session.exec("CREATE EXTENSION IF NOT EXISTS pageinspect SCHEMA public");
    let row = session
        .rows(
            "WITH used AS (
                 SELECT i.indexrelid::regclass::text AS index, pg_relation_size(i.indrelid) / 8192 AS pages
                 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
                 WHERE a.amname = 'brin' AND c.relkind = 'i' AND pg_relation_size(i.indrelid) > 0
                   AND i.indrelid IN (SELECT relid FROM pg_partition_tree('entity_values_ts')))
             SELECT coalesce(sum((SELECT count(*) FROM public.brin_revmap_data(public.get_raw_page(index, 1)) AS d (pages)
                     WHERE d.pages <> '(0,0)')), 0), sum((pages + 31) / 32) FROM used",
        )
        .swap_remove(0);
    let number = |text: &str| text.parse().expect("a number");
    (number(&row[0]), number(&row[1]))
}

fn workers_of(cluster: &Arc<Cluster>) -> (Database, Session, i64) {
    let database = cluster.create_database("summaries");
    let mut session = database.install();
    let temperature = attribute(&mut session, "temperature", "number");
    (database, session, temperature)
}

#[test]
fn the_keeper_summarises_what_came_and_the_log_stays_silent() {
    let cluster = Cluster::builder().preload().set("autovacuum", "off").start();
    let (_database, mut session, temperature) = workers_of(&cluster);
    stage(&mut session, DOOR, temperature, 1, 100_000);
    wait_for_facts(&mut session, 100_000);
    eventually(SOON, "all ranges summarised", || {
        match known_and_all(&mut session) {
            (known, all) if known == all && all > 20 => Ok(()),
            seen => Err(seen),
        }
    });
    assert_eq!(cluster.log().lines_with(REQUEST), Vec::<String>::new());
}

#[test]
fn a_flush_asks_autovacuum_for_nothing() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    // Room for 256 requests: more of them would be logged.
    for part in 0..14 {
        stage(
            &mut session,
            DOOR,
            temperature,
            part * 80_000 + 1,
            (part + 1) * 80_000,
        );
        session.exec("SELECT stage_flush()");
    }
    assert_eq!(facts(&mut session).0, 1_120_000);
    assert!(left(&mut session) > 256, "too few ranges to tell");
    assert_eq!(database.log().lines_with(REQUEST), Vec::<String>::new());
}
