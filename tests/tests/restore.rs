//! Dump and restore, DROP and CREATE: readings and whatever users added come back.

use std::collections::BTreeMap;

use std::sync::Arc;

use cluster_tests::readings::{DOORS, attribute, facts, stage};
use cluster_tests::{Cluster, Database, SOON, Session, Stop, catalog, eventually, shared, workers};

/// A database with something in every table, and with additions of every kind that users make.
fn fill(session: &mut Session) {
    let temperature = attribute(session, "temperature", "number");
    let label = attribute(session, "label", "text");
    session.exec(&format!(
        "SELECT register_entity(1, 'robot-' || n) FROM generate_series(1, 20) n;
         INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
             SELECT 1, n, now() - n % 4 * interval '1 day', {temperature}, n FROM generate_series(1, 1000) n;
         INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_text)
             SELECT 1, n, {label}, E'größe\\t\\\\' || n FROM generate_series(1001, 1100) n;
         INSERT INTO entity_values_ingest (tenant_id, entity_id) SELECT 1, n FROM generate_series(1101, 1110) n;
         SELECT stage_flush();
         INSERT INTO entity_jsonb SELECT 1, n, now(), NULL, '{{\"temperature\": 21.5}}' FROM generate_series(1, 50) n;
         INSERT INTO retention_policies (tenant_id, keep, note) VALUES (0, '90 days', 'law');
         INSERT INTO read_classes (class, max_lag) VALUES ('dashboard', '30 s');
         INSERT INTO replication_heartbeat VALUES (1, now(), '0/1', 1, 'node')"
    ));
    for (door, first) in DOORS.into_iter().zip([2001, 3001]) {
        stage(session, door, temperature, first, first + 99);
    }
    let leaf = session.text(
        "SELECT min(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'entity_values_ts'::regclass",
    );
    // One statement, one transaction: workers are at it as well, and together these would lock in an order of their own.
    for addition in [
        "CREATE INDEX added_by_user ON entity_values_ts (attribute_id, value_num) WHERE value_num > 0",
        &format!("CREATE INDEX added_to_leaf ON {leaf} (entity_id)"),
        &format!("ALTER TABLE {leaf} SET (fillfactor = 80)"),
        "CREATE STATISTICS added_statistics ON tenant_id, attribute_id FROM entity_values_ts",
        "ALTER TABLE entity_values_ts ALTER COLUMN attribute_id SET STATISTICS 500",
        "ALTER TABLE entity_values_ts ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY only_tenant_one ON entity_values_ts FOR SELECT TO telemetry_reader USING (tenant_id = 1)",
        "ALTER TABLE attributes SET (autovacuum_vacuum_threshold = 7)",
        "ALTER TABLE attributes ADD COLUMN added_column text DEFAULT 'x'",
        "COMMENT ON TABLE attributes IS 'a comment of the user'",
        "GRANT SELECT ON entity_values_rejected TO telemetry_reader",
        "CREATE VIEW public.added_view AS
             SELECT name, value_num FROM telemetry.entity_values_ts JOIN telemetry.attributes USING (attribute_id)",
    ] {
        session.exec(addition);
    }
}

/// The contents of every table, each reading wherever it is: workers move them while a restore goes on.
fn contents(session: &mut Session) -> BTreeMap<String, Vec<String>> {
    let columns =
        "tenant_id, entity_id, ingested_at, observed_at, value_num, value_int, attribute_id, value_text";
    let readings = [
        "entity_values_ingest",
        "entity_values_ingest_durable",
        "entity_values_ts",
        "entity_values_rejected",
    ]
    .map(|table| format!("SELECT {columns} FROM {table}"))
    .join(" UNION ALL ");
    let tables = [
        "attributes",
        "entities",
        "entity_jsonb",
        "retention_policies",
        "replication_heartbeat",
        "read_classes",
    ];
    let mut all: BTreeMap<String, Vec<String>> = tables
        .iter()
        .map(|table| {
            (
                table.to_string(),
                session.column(&format!("SELECT t::text FROM {table} AS t ORDER BY 1")),
            )
        })
        .collect();
    all.insert(
        "readings".to_owned(),
        session.column(&format!("SELECT t::text FROM ({readings}) AS t ORDER BY 1")),
    );
    let rejected = "SELECT t::text FROM entity_values_rejected AS t ORDER BY 1";
    all.insert("rejected".to_owned(), session.column(rejected));
    all
}

#[track_caller]
fn assert_same_contents(left: &BTreeMap<String, Vec<String>>, right: &BTreeMap<String, Vec<String>>) {
    for (table, rows) in left {
        assert!(!rows.is_empty(), "nothing to compare in {table}");
        assert_eq!(rows.len(), right[table].len(), "rows of {table}");
        let difference = catalog::difference(rows, &right[table]);
        assert!(difference.is_empty(), "{table}: {difference:#?}");
    }
}

fn objects(session: &mut Session) -> Vec<String> {
    catalog::as_dumped(&catalog::objects_with_all_partitions(session, "telemetry"))
}

struct Original {
    database: Database,
    objects: Vec<String>,
    contents: BTreeMap<String, Vec<String>>,
}

impl Original {
    fn new(database: Database) -> Original {
        let mut session = database.install();
        fill(&mut session);
        let objects = objects(&mut session);
        let contents = contents(&mut session);
        Original {
            database,
            objects,
            contents,
        }
    }

    fn dump(&self, arguments: &[&str]) -> String {
        self.database
            .tool(
                "pg_dump",
                arguments.iter().chain([&"-d", &self.database.name()]),
                "",
            )
            .success()
    }

    /// A place for a dump that the server account can write.
    fn file(&self, name: &str) -> String {
        let path = self
            .database
            .cluster()
            .scratch_dir()
            .join(format!("{}.{name}", self.database.name()));
        path.to_str().expect("a path in UTF-8").to_owned()
    }

    /// Everything is back, and works.
    #[track_caller]
    fn assert_equals(&self, restored: &Database) {
        let mut session = restored.connect();
        session.exec("SET search_path = telemetry");
        assert_same_contents(&self.contents, &contents(&mut session));
        assert_eq!(
            catalog::difference(&self.objects, &objects(&mut session)),
            Vec::<String>::new()
        );
        assert_works(&mut session);
    }
}

/// New readings of new attributes go where they should.
#[track_caller]
fn assert_works(session: &mut Session) {
    let before = facts(session).0;
    let staged = session.number("SELECT count(*) FROM entity_values_ingest")
        + session.number("SELECT count(*) FROM entity_values_ingest_durable");
    let id = attribute(session, "new_attribute", "number");
    session.exec("SELECT register_entity(1, 'new robot')");
    stage(session, "entity_values_ingest", id, 900_001, 900_010);
    session.exec("SELECT stage_flush()");
    eventually(SOON, "staged rows are flushed, by whom ever", || {
        match facts(session).0 {
            rows if rows >= before + staged + 10 => Ok(()),
            rows => Err((before, staged, rows)),
        }
    });
    let fresh = "SELECT count(*) FROM entity_values_ts WHERE entity_id BETWEEN 900001 AND 900010";
    assert_eq!(session.number(fresh), 10);
}

fn restore(database: &Database, arguments: &[&str], dump: &str) {
    let arguments = [arguments, &["-d", database.name(), dump]].concat();
    database.tool("pg_restore", arguments, "").success();
}

// --- dump and restore

#[test]
fn a_plain_dump_comes_back() {
    let original = Original::new(shared::database());
    let restored = original.database.cluster().create_database("restored_plain");
    restored.psql(&original.dump(&[])).success();
    original.assert_equals(&restored);
}

#[test]
fn a_custom_dump_comes_back() {
    let original = Original::new(shared::database());
    let file = original.file("custom");
    original.dump(&["-Fc", "-f", &file]);
    let restored = original.database.cluster().create_database("restored_custom");
    restore(&restored, &["--exit-on-error"], &file);
    original.assert_equals(&restored);
}

#[test]
fn a_dump_comes_back_after_everything_was_dropped() {
    let original = Original::new(shared::database());
    let file = original.file("dropped");
    original.dump(&["-Fc", "-f", &file]);
    let mut session = original.database.connect();
    session.exec("DROP SCHEMA telemetry CASCADE; DROP VIEW IF EXISTS public.added_view");
    drop(session);
    restore(&original.database, &["--exit-on-error"], &file);
    original.assert_equals(&original.database);
}

#[test]
fn a_dump_in_one_transaction_comes_back() {
    let original = Original::new(shared::database());
    let file = original.file("single");
    original.dump(&["-Fc", "-f", &file]);
    let restored = original.database.cluster().create_database("restored_single");
    restore(&restored, &["--single-transaction"], &file);
    original.assert_equals(&restored);
}

/// They take no samples, which would come between a dump and what is compared with it.
fn with_workers() -> Arc<Cluster> {
    Cluster::builder()
        .preload()
        .set("pg_telemetry.sample_interval", "0")
        .start()
}

#[test]
fn a_parallel_dump_comes_back_while_workers_run() {
    let cluster = with_workers();
    let original = Original::new(cluster.create_database("original"));
    let folder = original.file("folder");
    original.dump(&["-Fd", "-j4", "-f", &folder]);
    for round in 0..3 {
        let restored = cluster.create_database(&format!("restored_{round}"));
        restore(&restored, &["--exit-on-error", "-j4"], &folder);
        original.assert_equals(&restored);
        workers::wait_for_start(&cluster, restored.name());
    }
}

#[test]
fn a_dump_comes_back_on_a_server_that_has_no_roles_yet() {
    let original = Original::new(shared::database());
    let cluster = Cluster::builder().preload().start();
    let restored = cluster.create_database("elsewhere");
    restored.psql(&original.dump(&[])).success();
    original.assert_equals(&restored);
}

#[test]
fn a_dump_comes_back_long_after() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.accept_past", "400d")
        .start();
    let database = cluster.create_database("original");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    // Facts of a hundred days ago; of today there is nothing, not even a partition.
    session.exec(&format!(
        "INSERT INTO entity_values_ingest_durable (tenant_id, entity_id, ingested_at, attribute_id, value_num)
             SELECT 1, n, now() - interval '100 days' - n * interval '1 hour', {id}, n FROM generate_series(1, 100) n;
         SELECT stage_flush()"
    ));
    eventually(SOON, "100 facts", || {
        if facts(&mut session).0 == 100 {
            Ok(())
        } else {
            Err(())
        }
    });
    cluster.set_and_reload("pg_telemetry.background_workers", "off");
    workers::wait_for_end(&cluster, "original");
    for leaf in session.column(
        "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'entity_values_ts'::regclass
                                OR inhparent = 'entity_values_rejected'::regclass",
    ) {
        if session.is_true(&format!("SELECT NOT EXISTS (SELECT FROM {leaf})")) {
            session.exec(&format!("DROP TABLE {leaf}"));
        }
    }
    let original = objects(&mut session);
    let folder = cluster.scratch_dir().join("folder");
    let folder = folder.to_str().expect("a path in UTF-8");
    database
        .tool("pg_dump", ["-Fd", "-j4", "-f", folder, "-d", "original"], "")
        .success();

    cluster.set_and_reload("pg_telemetry.background_workers", "on");
    let restored = cluster.create_database("restored");
    restore(&restored, &["--exit-on-error", "-j4"], folder);
    let mut session = restored.connect();
    session.exec("SET search_path = telemetry");
    assert_eq!(facts(&mut session), (100, 100));
    let missing: Vec<String> = catalog::difference(&original, &objects(&mut session))
        .into_iter()
        .filter(|line| line.starts_with('-'))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
    assert_works(&mut session);
}

#[test]
fn a_database_can_be_recreated_beside_the_renamed_original() {
    let cluster = with_workers();
    let original = Original::new(cluster.create_database("plant"));
    let dump = original.dump(&["--create"]);
    cluster
        .connect("postgres")
        .exec("ALTER DATABASE plant RENAME TO plant_before");
    cluster
        .tool("psql", ["-X", "-v", "ON_ERROR_STOP=1", "-d", "postgres"], &dump)
        .success();
    // `original` stands for the name "plant", which is the copy now.
    original.assert_equals(&original.database);
    workers::wait_for_start(&cluster, "plant");
    workers::wait_for_start(&cluster, "plant_before");
}

#[test]
fn a_dump_of_a_busy_database_is_consistent() {
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("busy");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    let writer = database.background(move |session| {
        for first in 0..300 {
            stage(session, DOORS[first as usize % 2], id, first * 10, first * 10 + 9);
        }
    });
    let mut dumps = Vec::new();
    while !writer.is_finished() {
        dumps.push(database.tool("pg_dump", ["-d", "busy"], "").success());
    }
    writer.join();
    cluster.set_and_reload("pg_telemetry.background_workers", "off");
    assert!(!dumps.is_empty());
    for (n, dump) in dumps.iter().enumerate().filter(|(n, _)| n % 5 == 0) {
        let restored = cluster.create_database(&format!("restored_{n}"));
        restored.psql(dump).success();
        let mut session = restored.connect();
        session.exec("SET search_path = telemetry");
        let (rows, entities) = cluster_tests::readings::everywhere(&mut session);
        assert_eq!(rows, entities, "a reading is in two places of one dump");
        assert_eq!(rows % 10, 0, "a part of a transaction is missing");
    }
}

// --- DROP EXTENSION and CREATE EXTENSION

#[test]
fn drop_leaves_everything_and_create_adopts_it() {
    let original = Original::new(shared::database());
    let mut session = original.database.connect();
    session.exec("DROP EXTENSION pg_telemetry");
    assert_same_contents(&original.contents, &contents(&mut session));
    session.exec("SELECT FROM public.added_view");
    session.exec("CREATE EXTENSION pg_telemetry SCHEMA telemetry");
    original.assert_equals(&original.database);
}

#[test]
fn drop_cascade_leaves_everything_too() {
    let original = Original::new(shared::database());
    let mut session = original.database.connect();
    session.exec("DROP EXTENSION pg_telemetry CASCADE");
    assert_same_contents(&original.contents, &contents(&mut session));
}

#[test]
fn readings_that_come_in_between_are_kept() {
    let database = shared::database();
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    session.exec("DROP EXTENSION pg_telemetry");
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    session.exec("CREATE EXTENSION pg_telemetry SCHEMA telemetry");
    assert_eq!(session.number("SELECT stage_flush()"), 10);
}

#[test]
fn a_table_that_is_not_ours_is_not_adopted() {
    let database = shared::database();
    let mut session = database.install();
    session.exec("DROP EXTENSION pg_telemetry; ALTER TABLE attributes OWNER TO postgres");
    let refused = session.fails_with("42710", "CREATE EXTENSION pg_telemetry SCHEMA telemetry");
    assert!(
        refused.detail.contains("attributes") && refused.hint.contains("telemetry_owner"),
        "{refused}"
    );
    session.exec(
        "ALTER TABLE attributes OWNER TO telemetry_owner; ALTER TABLE attributes RENAME COLUMN unit TO units",
    );
    let refused = session.fails_with("42P07", "CREATE EXTENSION pg_telemetry SCHEMA telemetry");
    assert!(refused.message.contains("unit"), "{refused}");
    session.exec("ALTER TABLE attributes RENAME COLUMN units TO unit");
    session.exec("CREATE EXTENSION pg_telemetry SCHEMA telemetry");
}

#[test]
fn a_base_backup_comes_back() {
    // The heartbeat would go on while the standby follows.
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.heartbeat", "off")
        .start();
    let original = Original::new(cluster.create_database("original"));
    let mut session = original.database.connect();
    // The fast door is empty on another server; workers flush it first.
    let staged = "SELECT count(*) FROM entity_values_ingest";
    eventually(SOON, "nothing is staged", || {
        if session.number(staged) == 0 {
            Ok(())
        } else {
            Err(())
        }
    });
    drop(session);
    let copy = cluster.standby();
    copy.catch_up_with(&cluster);
    cluster.stop(Stop::Fast);
    copy.promote();
    let mut session = copy.connect("original");
    assert_same_contents(&original.contents, &contents(&mut session));
    assert_works(&mut session);
}
