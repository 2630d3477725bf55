//! Whether tables and indexes hold together: for the end of everything that ran at high speed or was killed.

use crate::session::Session;

/// Checks the facts: each leaf and each b-tree with amcheck, each BRIN index against a scan without it.
#[track_caller]
pub fn check_facts(session: &mut Session) {
    session.exec("CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA public");
    let leaves = leaves(session);
    assert!(!leaves.is_empty(), "facts have no partition");
    for leaf in &leaves {
        let faults = session.rows(&format!("SELECT * FROM public.verify_heapam('{leaf}')"));
        assert_eq!(faults, Vec::<Vec<String>>::new(), "{leaf}");
    }
    session.exec(
        "SELECT public.bt_index_check(c.oid, true) FROM pg_class c JOIN pg_am a ON a.oid = c.relam
         JOIN pg_index i ON i.indexrelid = c.oid
         WHERE a.amname = 'btree' AND c.relkind = 'i'
           AND i.indrelid IN (SELECT relid FROM pg_partition_tree('entity_values_ts'))",
    );
    for leaf in &leaves {
        check_brin(session, leaf);
    }
}

/// Checks the b-trees of the facts as hard as amcheck can: every page above and beside, every row by a search from the root. Takes a
/// lock that holds writers off.
#[track_caller]
pub fn check_trees(session: &mut Session) {
    session.exec("CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA public");
    let checked = session.rows(
        "SELECT c.relname, public.bt_index_parent_check(c.oid, true, true)
         FROM pg_class c JOIN pg_am a ON a.oid = c.relam JOIN pg_index i ON i.indexrelid = c.oid
         WHERE a.amname = 'btree' AND c.relkind = 'i'
           AND i.indrelid IN (SELECT relid FROM pg_partition_tree('entity_values_ts'))",
    );
    assert!(!checked.is_empty(), "facts have no b-tree");
}

/// Checks the table of values by which entities are found: its pages, that every row is in its indexes, and that no key is there twice.
#[track_caller]
pub fn check_search(session: &mut Session) {
    session.exec("CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA public");
    let faults = session.rows("SELECT * FROM public.verify_heapam('entity_search')");
    assert_eq!(faults, Vec::<Vec<String>>::new());
    let checked = session.rows(
        "SELECT public.bt_index_parent_check(indexrelid, true, true) FROM pg_index WHERE indrelid = 'entity_search'::regclass",
    );
    assert_eq!(checked.len(), 4);
    session.exec("SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off");
    let twice = session.rows(
        "SELECT tenant_id, attribute_id, entity_id FROM entity_search GROUP BY 1, 2, 3 HAVING count(*) > 1",
    );
    session.exec("RESET enable_indexscan; RESET enable_indexonlyscan; RESET enable_bitmapscan");
    assert_eq!(twice, Vec::<Vec<String>>::new());
}

/// Checks the pages of a staging table, and that its visibility map promises nothing that is not so.
#[track_caller]
pub fn check_staging(session: &mut Session, door: &str) {
    session.exec(
        "CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA public;
         CREATE EXTENSION IF NOT EXISTS pg_visibility SCHEMA public",
    );
    for check in ["verify_heapam", "pg_check_visible", "pg_check_frozen"] {
        let faults = session.rows(&format!("SELECT * FROM public.{check}('{door}')"));
        assert_eq!(faults, Vec::<Vec<String>>::new(), "{check} of {door}");
    }
}

/// Has the BRIN indexes know every range there is, so that what comes later must widen them.
#[track_caller]
pub fn summarize_facts(session: &mut Session) {
    session.exec(
        "SELECT brin_summarize_new_values(c.oid) FROM pg_class c JOIN pg_am a ON a.oid = c.relam
         JOIN pg_index i ON i.indexrelid = c.oid
         WHERE a.amname = 'brin' AND c.relkind = 'i'
           AND i.indrelid IN (SELECT relid FROM pg_partition_tree('entity_values_ts'))",
    );
}

fn leaves(session: &mut Session) -> Vec<String> {
    session.column("SELECT relid::regclass FROM pg_partition_tree('entity_values_ts') WHERE isleaf")
}

/// Windows over the whole time of a leaf: with the index and without they must hold the same rows.
#[track_caller]
fn check_brin(session: &mut Session, leaf: &str) {
    const WINDOWS: i64 = 40;
    let bounds = session
        .rows(&format!(
            "SELECT extract(epoch FROM min(ingested_at)) * 1000000, extract(epoch FROM max(ingested_at)) * 1000000
             FROM {leaf} HAVING count(*) > 0"
        ))
        .pop();
    let Some(bounds) = bounds else {
        return;
    };
    let micros: Vec<f64> = bounds
        .iter()
        .map(|text| text.parse().expect("a number"))
        .collect();
    let step = ((micros[1] - micros[0]) as i64 / WINDOWS).max(1);
    for window in 0..=WINDOWS {
        let from = micros[0] as i64 + window * step;
        let sql = format!(
            "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM {leaf} t
             WHERE ingested_at >= to_timestamp({from}::numeric / 1000000)
               AND ingested_at < to_timestamp({until}::numeric / 1000000)",
            until = from + step
        );
        session.exec("SET enable_seqscan = off; SET enable_indexscan = off");
        let by_index = session.rows(&sql);
        session.exec("RESET enable_seqscan; RESET enable_indexscan; SET enable_bitmapscan = off");
        let by_scan = session.rows(&sql);
        session.exec("RESET enable_bitmapscan");
        assert_eq!(by_index, by_scan, "{leaf}, window {window}");
    }
}
