//! A flush puts many entries into a leaf of a b-tree at once. Whatever else happens to the index meanwhile, it must hold what
//! the table holds, in order: on the server itself, after a crash, and on a standby byte by byte.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_tests::campaign::{Bell, soaking};
use cluster_tests::integrity::{check_facts, check_trees};
use cluster_tests::{Background, Cluster, Database, Session};

/// Indexes of every kind that entries are put into: whole numbers in one to four columns, many rows with the same key, and
/// some that only the server knows how to fill.
const INDEXES: &str = "
    CREATE INDEX same ON entity_values_ts (tenant_id);
    CREATE INDEX narrow ON entity_values_ts (attribute_id, entity_id);
    CREATE INDEX not_compact ON entity_values_ts (attribute_id, tenant_id) WITH (deduplicate_items = off);
    CREATE INDEX by_time ON entity_values_ts (ingested_at, tenant_id) WITH (fillfactor = 60);
    CREATE INDEX backwards ON entity_values_ts (entity_id DESC, ingested_at);
    CREATE INDEX with_value ON entity_values_ts (entity_id) INCLUDE (tenant_id);
    CREATE INDEX values_too ON entity_values_ts (attribute_id, value_num);";

/// What numbers of three tenants are called, as an array of SQL.
fn attributes(session: &mut Session, name: &str) -> String {
    let ids = session.column(&format!(
        "SELECT register_attribute(tenant, '{name}', 'number') FROM generate_series(1, 3) tenant ORDER BY tenant"
    ));
    format!("(ARRAY[{}])", ids.join(", "))
}

/// Rows of `series` series over the last minutes, several of them at the same time.
fn stage(session: &mut Session, ids: &str, rows: i64, series: i64) {
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, ingested_at, value_num)
         SELECT n % 3 + 1, 1 + floor(random() * {series}), {ids}[n % 3 + 1],
                date_trunc('milliseconds', now() - random() * interval '3 min'), n
         FROM generate_series(1, {rows}) n"
    ));
}

fn random(session: &mut Session, below: i64) -> i64 {
    session.number(&format!("SELECT floor(random() * {below})::int"))
}

/// What a query finds by an index must be what a scan finds.
#[track_caller]
fn compare_with_scan(session: &mut Session) {
    let sum =
        "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM entity_values_ts t";
    for condition in [
        "tenant_id = 2",
        "tenant_id = 1 AND attribute_id > 0 AND entity_id BETWEEN 3 AND 40",
        "attribute_id > 0 AND entity_id < 50",
        "ingested_at > (SELECT max(ingested_at) - interval '100 s' FROM entity_values_ts) AND tenant_id = 3",
    ] {
        let query = format!("{sum} WHERE {condition}");
        session.exec("SET enable_seqscan = off; SET enable_bitmapscan = off");
        let by_index = session.rows(&query);
        session.exec("RESET ALL; SET enable_indexscan = off; SET enable_bitmapscan = off");
        let by_scan = session.rows(&query);
        session.exec("RESET ALL");
        assert_eq!(by_index, by_scan, "{condition}");
    }
}

fn position(session: &mut Session) -> String {
    session.text("SELECT pg_current_wal_insert_lsn()")
}

/// Records since a place in the WAL, of one kind.
fn records(session: &mut Session, since: &str, condition: &str) -> i64 {
    session.exec("CREATE EXTENSION IF NOT EXISTS pg_walinspect SCHEMA public");
    // What is asked for must have been written.
    session.exec("SELECT pg_switch_wal()");
    session.number(&format!(
        "SELECT count(*) FROM public.pg_get_wal_records_info('{since}', pg_current_wal_flush_lsn()) WHERE {condition}"
    ))
}

const GENERIC: &str = "resource_manager = 'Generic'";
const ONE_ENTRY: &str = "record_type = 'INSERT_LEAF'";

#[test]
fn batches_of_every_size_leave_the_indexes_whole() {
    let cluster = Cluster::builder().set("autovacuum", "off").start();
    let database = cluster.create_database("batches");
    let mut session = database.install();
    session.exec(INDEXES);
    let attributes = ["a", "b"].map(|name| attributes(&mut session, name));
    let rounds = if soaking() { 400 } else { 40 };
    for round in 0..rounds {
        let rows = [1, 15, 16, 40, 700, 3000, 9000][random(&mut session, 7) as usize];
        let series = [1, 7, 300, 5000][random(&mut session, 4) as usize];
        for ids in &attributes {
            stage(&mut session, ids, rows, series);
        }
        session.exec("SELECT stage_flush()");
        match round % 8 {
            // Dead entries, which scans note on the leaves, and then leaves that are taken out of the tree.
            3 => {
                session.exec("DELETE FROM entity_values_ts WHERE random() < 0.3");
                compare_with_scan(&mut session);
            }
            5 => {
                session.exec("DELETE FROM entity_values_ts WHERE entity_id > 100");
                session.exec("VACUUM entity_values_ts");
            }
            6 => compare_with_scan(&mut session),
            7 => check_trees(&mut session),
            _ => {}
        }
    }
    check_facts(&mut session);
    check_trees(&mut session);
    compare_with_scan(&mut session);
}

#[test]
fn one_record_tells_of_all_entries_of_a_leaf() {
    let cluster = Cluster::builder().set("autovacuum", "off").start();
    let database = cluster.create_database("records");
    let mut session = database.install();
    let ids = attributes(&mut session, "a");
    stage(&mut session, &ids, 20_000, 100);
    session.exec("SELECT stage_flush(); CHECKPOINT");
    let begun = position(&mut session);
    stage(&mut session, &ids, 10_000, 100);
    session.exec("SELECT stage_flush()");
    let (at_once, singly) = (
        records(&mut session, &begun, GENERIC),
        records(&mut session, &begun, ONE_ENTRY),
    );
    assert!((10..1000).contains(&at_once), "{at_once} records of leaves");
    assert!(singly < 1000, "{singly} entries with a record each");

    // Where few come to a leaf, each has a record of its own, and none is told twice.
    let begun = position(&mut session);
    stage(&mut session, &ids, 200, 100);
    session.exec("SELECT stage_flush()");
    let at_once = records(&mut session, &begun, GENERIC);
    assert!(at_once < 10, "{at_once} records of leaves");
    let singly = records(&mut session, &begun, ONE_ENTRY);
    assert!(
        (150..=210).contains(&singly),
        "{singly} entries with a record each"
    );
    check_trees(&mut session);
}

/// Flushes of whatever is staged, until the bell rings or the server goes.
fn flusher(database: &Database, ids: &str, bell: &Bell) -> Background<i64> {
    let (ids, bell) = (ids.to_owned(), bell.clone());
    database.background(move |session| {
        let mut flushes = 0;
        while bell.silent() {
            let staged = session.try_exec(&format!(
                "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)
                 SELECT 1 + n % 3, 1 + floor(random() * 200), {ids}[1 + n % 3], n FROM generate_series(1, 1500) n"
            ));
            if staged.is_err() || session.try_exec("SELECT stage_flush(1000)").is_err() {
                break;
            }
            flushes += 1;
        }
        flushes
    })
}

/// Somebody who writes the same leaves by the executor, takes rows away, and has leaves taken out of the tree.
fn disturber(database: &Database, ids: &str, bell: &Bell) -> Background<()> {
    let bell = bell.clone();
    let statements = [
        format!(
            "INSERT INTO entity_values_ts (tenant_id, entity_id, attribute_id, value_num)
             SELECT 1 + n % 3, 1 + floor(random() * 200), {ids}[1 + n % 3], n FROM generate_series(1, 300) n"
        ),
        "DELETE FROM entity_values_ts WHERE entity_id % 8 = floor(random() * 8)".to_owned(),
        "VACUUM (INDEX_CLEANUP on, TRUNCATE off) entity_values_ts".to_owned(),
        "SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT count(value_num) FROM entity_values_ts WHERE tenant_id = 1 AND attribute_id > 0"
            .to_owned(),
    ];
    database.background(
        move |session| {
            while bell.silent() && statements.iter().all(|sql| session.try_exec(sql).is_ok()) {}
        },
    )
}

/// A page without what may differ between a primary and its standby: the place in the WAL, the checksum, hints, and the bytes
/// that nobody uses.
fn comparable(mut page: Vec<u8>) -> Vec<u8> {
    let number = |page: &[u8], at: usize| usize::from(u16::from_ne_bytes([page[at], page[at + 1]]));
    let (lower, upper, special) = (number(&page, 12), number(&page, 14), number(&page, 16));
    let flags = number(&page, special + 12);
    page[..12].fill(0);
    page[lower..upper].fill(0);
    for item in (24..lower).step_by(4) {
        let mut raw = u32::from_ne_bytes(page[item..item + 4].try_into().expect("four bytes"));
        raw &= !(3 << 15);
        page[item..item + 4].copy_from_slice(&raw.to_ne_bytes());
    }
    // Dead entries are on it; it is the last of those that were split during a VACUUM, and which VACUUM that was.
    page[special + 12] &= !0x60;
    page[special + 14..special + 16].fill(0);
    // What a page that left the tree holds is nobody's business.
    if flags & 0b10100 != 0 { Vec::new() } else { page }
}

fn pages(session: &mut Session) -> Vec<(String, Vec<u8>)> {
    let indexes = session.column(
        "SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
         JOIN pg_am a ON a.oid = c.relam
         WHERE a.amname = 'btree' AND c.relkind = 'i' AND pg_relation_size(c.oid) > 0
           AND i.indrelid IN (SELECT relid FROM pg_partition_tree('entity_values_ts')) ORDER BY 1::text",
    );
    let mut pages = Vec::new();
    for index in indexes {
        let rows = session.client().query(
            &format!(
                "SELECT public.get_raw_page('{index}', n::int)
                 FROM generate_series(1, pg_relation_size('{index}') / 8192 - 1) n"
            ),
            &[],
        );
        for (number, row) in rows.expect("pages").iter().enumerate() {
            pages.push((format!("{index}, block {}", number + 1), comparable(row.get(0))));
        }
    }
    pages
}

fn campaign(builder: cluster_tests::Builder, crashes: usize) {
    let primary = builder
        .durable()
        .set("autovacuum", "off")
        .set("wal_keep_size", "2GB")
        .set("wal_retrieve_retry_interval", "100ms")
        .start();
    let database = primary.create_database("trees");
    let mut session = database.install();
    session.exec(
        "CREATE EXTENSION pageinspect SCHEMA public; CREATE INDEX same ON entity_values_ts (tenant_id)",
    );
    let ids = attributes(&mut session, "a");
    let standby = primary.standby();
    let length = Duration::from_millis(if soaking() { 20_000 } else { 2_500 });
    for round in 0..=crashes {
        let bell = Bell::default();
        let flushers: Vec<Background<i64>> = (0..2).map(|_| flusher(&database, &ids, &bell)).collect();
        let disturber = disturber(&database, &ids, &bell);
        std::thread::sleep(length);
        if round < crashes {
            primary.crash();
        }
        bell.ring();
        let flushes: i64 = flushers.into_iter().map(Background::join).sum();
        disturber.join();
        assert!(flushes > 10, "{flushes} flushes");
        if round < crashes {
            primary.start();
        }
        let mut session = database.connect();
        check_trees(&mut session);
        compare_with_scan(&mut session);
        compare_with_standby(&mut session, &primary, &standby);
    }
    check_facts(&mut database.connect());
}

#[track_caller]
fn compare_with_standby(session: &mut Session, primary: &Arc<Cluster>, standby: &Arc<Cluster>) {
    // Nobody else writes, and what a rolled back flush left is of no interest.
    let ours = pages(session);
    standby.catch_up_with(primary);
    let mut there = standby.connect("trees");
    let theirs = pages(&mut there);
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let different = (0..ours.1.len().max(theirs.1.len())).find(|at| ours.1.get(*at) != theirs.1.get(*at));
        assert_eq!(
            different, None,
            "the first byte of {} that differs on the standby",
            ours.0
        );
    }
    there.exec("SET search_path = telemetry, public");
    compare_with_scan(&mut there);
}

#[test]
fn two_flushers_vacuum_crashes_and_a_standby() {
    campaign(Cluster::builder(), if soaking() { 20 } else { 3 });
}

/// The server compares each page with that of the primary, after each record.
#[test]
fn replay_that_is_verified_finds_nothing() {
    let started = Instant::now();
    campaign(
        Cluster::builder().set("wal_consistency_checking", "btree,generic"),
        0,
    );
    assert!(started.elapsed() < Duration::from_secs(300));
}
