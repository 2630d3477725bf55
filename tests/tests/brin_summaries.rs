//! BRIN indexes of partitions in use know their pages soon, without a word in the log.

use cluster_tests::readings::{attribute, stage, wait_for_facts};
use cluster_tests::{Cluster, SOON, Session, eventually};

const DOOR: &str = "entity_values_ingest";
const REQUEST: &str = "request for BRIN range summarization";

/// Complete ranges of the facts' BRIN indexes: those that are summarised, and all.
fn known_and_all(session: &mut Session) -> (i64, i64) {
    session.exec("CREATE EXTENSION IF NOT EXISTS pageinspect SCHEMA public");
    let row = session
        .rows(
            "WITH used AS (
                 SELECT i.indexrelid::regclass::text AS index, pg_relation_size(i.indrelid) / 8192 / 32 AS ranges
                 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
                 WHERE a.amname = 'brin' AND c.relkind = 'i' AND pg_relation_size(i.indrelid) > 0
                   AND i.indrelid IN (SELECT relid FROM pg_partition_tree('entity_values_ts')))
             SELECT coalesce(sum((SELECT count(*) FROM public.brin_revmap_data(public.get_raw_page(index, 1))
                         WITH ORDINALITY AS d (page, number) WHERE d.page <> '(0,0)' AND d.number <= ranges)), 0), sum(ranges)
             FROM used",
        )
        .swap_remove(0);
    let number = |text: &str| text.parse().expect("a number");
    (number(&row[0]), number(&row[1]))
}

#[test]
fn the_keeper_summarises_what_came_and_the_log_stays_silent() {
    let cluster = Cluster::builder().preload().set("autovacuum", "off").start();
    let database = cluster.create_database("summaries");
    let mut session = database.install();
    let temperature = attribute(&mut session, "temperature", "number");
    // Autovacuum has room for 256 requests, and each further one is logged.
    for part in 0..14 {
        stage(
            &mut session,
            DOOR,
            temperature,
            part * 80_000 + 1,
            (part + 1) * 80_000,
        );
    }
    wait_for_facts(&mut session, 1_120_000);
    eventually(SOON, "all ranges summarised", || {
        match known_and_all(&mut session) {
            (known, all) if known == all && all > 256 => Ok(()),
            seen => Err(seen),
        }
    });
    assert_eq!(cluster.log().lines_with(REQUEST), Vec::<String>::new());
    let complaint =
        "SELECT last_error FROM worker_status WHERE task = 'summarise_brin' AND last_error IS NOT NULL";
    assert_eq!(session.column(complaint), Vec::<String>::new());
}
