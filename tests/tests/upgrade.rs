//! Versions: upgraded equals fresh, released scripts stay as they are, library and SQL may differ for a while.

use std::process::Command;

use cluster_tests::readings::{attribute, stage, wait_for_facts};
use cluster_tests::scripts::Script;
use cluster_tests::{Cluster, Database, SOON, Session, catalog, eventually, project, shared, workers};

const RELEASED: &str = "sql/install";

/// Versions whose install script is frozen.
fn released_versions() -> Vec<String> {
    let Ok(files) = std::fs::read_dir(project::path(RELEASED)) else {
        return Vec::new();
    };
    let names = files
        .flatten()
        .filter_map(|file| file.file_name().into_string().ok());
    let version = |name: String| {
        Some(
            name.strip_prefix("pg_telemetry--")?
                .strip_suffix(".sql")?
                .to_owned(),
        )
    };
    names
        .filter_map(version)
        .filter(|version| !version.contains("--"))
        .collect()
}

/// An installation as that version left it. The data tables come from the frozen script, because those that CREATE
/// EXTENSION makes come from the library, which is of today.
fn install_released(database: &Database, version: &str) -> Session {
    let tables =
        project::read(&format!("{RELEASED}/tables--{version}.sql")).replace("@extschema@", "telemetry");
    let mut session = database.connect();
    // The roles belong to the cluster; they are there before the tables of a restored database are.
    session.exec("CREATE SCHEMA telemetry");
    session.exec("CREATE EXTENSION pg_telemetry SCHEMA telemetry; DROP EXTENSION pg_telemetry");
    session.exec("DROP SCHEMA telemetry CASCADE; CREATE SCHEMA telemetry");
    session.exec("GRANT USAGE, CREATE ON SCHEMA telemetry TO telemetry_owner");
    session.exec(&format!(
        "LOAD 'pg_telemetry'; SET ROLE telemetry_owner; {tables} RESET ROLE"
    ));
    session.exec(&format!(
        "CREATE EXTENSION pg_telemetry SCHEMA telemetry VERSION '{version}'; SET search_path = telemetry, public"
    ));
    session
}

fn fresh_objects() -> Vec<String> {
    let database = shared::database();
    catalog::objects(&mut database.install(), "telemetry")
}

#[test]
fn an_upgraded_installation_equals_a_fresh_one() {
    let fresh = fresh_objects();
    for version in released_versions()
        .into_iter()
        .filter(|version| *version != project::version())
    {
        let database = shared::database();
        let mut session = install_released(&database, &version);
        session.exec("ALTER EXTENSION pg_telemetry UPDATE");
        let upgraded = catalog::objects(&mut session, "telemetry");
        assert_eq!(
            catalog::difference(&fresh, &upgraded),
            Vec::<String>::new(),
            "upgraded from {version}"
        );
    }
}

#[test]
fn the_comparison_sees_what_an_upgrade_forgot() {
    let fresh = fresh_objects();
    for forgotten in [
        "COMMENT ON COLUMN attributes.unit IS NULL",
        "ALTER FUNCTION stage_flush(bigint) RESET search_path",
        "ALTER FUNCTION stage_flush(bigint) OWNER TO telemetry_owner",
        "ALTER TABLE entity_values_ingest RESET (vacuum_truncate)",
        "ALTER TABLE attributes ALTER COLUMN unit SET NOT NULL",
        "ALTER TABLE attributes DROP CONSTRAINT attributes_tenant_id_check",
        "DROP INDEX entity_values_ts_series_idx",
        "DROP TRIGGER attribute_keeps_identity ON attributes",
        "ALTER EXTENSION pg_telemetry DROP VIEW worker_status",
    ] {
        let database = shared::database();
        let mut session = database.install();
        session.exec(forgotten);
        let difference = catalog::difference(&fresh, &catalog::objects(&mut session, "telemetry"));
        assert!(!difference.is_empty(), "not seen: {forgotten}");
    }
}

#[test]
fn released_scripts_are_frozen() {
    let released = released_versions();
    let current = project::version();
    let changelog = std::fs::read_to_string(project::path("CHANGELOG.md")).unwrap_or_default();
    let headings = changelog.lines().filter_map(|line| line.strip_prefix("## "));
    let is_version = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit());
    for version in headings
        .filter_map(|line| line.split_whitespace().next())
        .filter(is_version)
    {
        let known = version == current || released.iter().any(|frozen| frozen == version);
        assert!(
            known,
            "version {version} is in CHANGELOG.md, but {RELEASED} has no script of it"
        );
    }
    if released.is_empty() {
        println!("nothing is released yet");
        return;
    }
    let checked = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(project::path(RELEASED))
        .output()
        .expect("sha256sum runs");
    let complaint = [checked.stdout, checked.stderr].concat();
    assert!(
        checked.status.success(),
        "a released script was changed: {}",
        String::from_utf8_lossy(&complaint)
    );
    let sums = project::read(&format!("{RELEASED}/SHA256SUMS"));
    for version in released {
        assert!(
            sums.contains(&format!("pg_telemetry--{version}.sql")),
            "no checksum of version {version}"
        );
    }
}

#[test]
fn a_library_newer_than_the_sql_keeps_ingest_running() {
    let current = project::version();
    let _down = Script::empty_upgrade(&current, "0.0.1");
    let database = shared::database_with_workers();
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    session.exec("ALTER EXTENSION pg_telemetry UPDATE TO '0.0.1'");
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    wait_for_facts(&mut session, 10);
    session.exec("SELECT stage_flush()");
    attribute(&mut session, "speed", "number");
    let status = session
        .rows("SELECT sql_version, library_version, hint FROM worker_status WHERE task IS NULL AND worker = 'flusher 1'");
    assert_eq!(status[0][..2], ["0.0.1", current.as_str()], "{status:?}");
    assert!(
        status[0][2].contains("ALTER EXTENSION pg_telemetry UPDATE"),
        "{status:?}"
    );
}

/// The library of today on the objects and tables of every release, before anybody runs ALTER EXTENSION UPDATE.
#[test]
fn ingest_goes_on_with_the_sql_of_every_release() {
    let _roles = fresh_objects();
    for version in released_versions() {
        let database = shared::database_with_workers();
        let mut session = install_released(&database, &version);
        let id = attribute(&mut session, "temperature", "number");
        stage(&mut session, "entity_values_ingest", id, 1, 10);
        stage(&mut session, "entity_values_ingest_durable", id, 11, 20);
        wait_for_facts(&mut session, 20);
        session.exec("SELECT stage_flush()");
        assert_eq!(
            session.text("SELECT DISTINCT sql_version FROM worker_status"),
            version
        );
    }
}

#[test]
fn a_library_older_than_the_sql_is_refused_until_they_match() {
    let current = project::version();
    let _up = Script::empty_upgrade(&current, "99.0.0");
    let _down = Script::empty_upgrade("99.0.0", &current);
    let database = shared::database_with_workers();
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    workers::wait_for_start(database.cluster(), database.name());
    session.exec("ALTER EXTENSION pg_telemetry UPDATE TO '99.0.0'");
    for refused in [
        "stage_flush()",
        "drain()",
        "setup()",
        "register_attribute(1, 'new', 'text')",
        "register_entity(1, 'new')",
        "retry_rejected()",
        "trim_rejected()",
        "ingest(1, 1, '{}')",
        "ingest_external(1, 'new', '{}')",
        "ingest_many(1, '[]')",
    ] {
        let failure = session.fails_with("55000", &format!("SELECT {refused}"));
        assert!(
            failure.message.contains("99.0.0") && failure.message.contains(&current),
            "{failure}"
        );
        assert!(!failure.hint.is_empty());
    }
    let status = session.rows(
        "SELECT sql_version, library_version, detail LIKE '%library is older%', hint LIKE '%newer library%'
         FROM worker_status WHERE worker = 'flusher 1' AND task IS NULL",
    );
    assert_eq!(status, [["99.0.0", current.as_str(), "t", "t"]]);
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    // What the calls above were answered is logged as well.
    let mut logged = database.log().lines_with("99.0.0");
    logged.retain(|line| !line.contains("client backend"));
    assert!(logged.len() < 20, "the log is flooded: {logged:#?}");
    session.exec(&format!("ALTER EXTENSION pg_telemetry UPDATE TO '{current}'"));
    wait_for_facts(&mut session, 10);
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 0);
}

/// Version 0.1.0 said of retention_policies that nothing acts on it yet.
#[test]
fn policies_of_an_older_version_count_from_the_update_on() {
    let _roles = fresh_objects();
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("policies");
    let mut session = install_released(&database, "0.1.0");
    session.exec(
        "CREATE TABLE old PARTITION OF entity_values_ts FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-01-02 00:00+00');
         ALTER TABLE old OWNER TO telemetry_owner;
         INSERT INTO retention_policies (tenant_id, keep) VALUES (0, '1 day')",
    );
    session.exec("UPDATE partition_state SET made_late = false");
    workers::wait_for_start(&cluster, "policies");
    let runs = "SELECT runs_total FROM worker_status WHERE task = 'rotate'";
    let before = session.number(runs);
    eventually(SOON, "two rotations", || {
        cluster.reload();
        match session.number(runs) {
            now if now >= before + 2 => Ok(()),
            now => Err(now),
        }
    });
    let attached = "SELECT count(*) FROM pg_inherits WHERE inhrelid = to_regclass('old')";
    assert_eq!(session.number(attached), 1);
    session.exec("ALTER EXTENSION pg_telemetry UPDATE");
    eventually(SOON, "the old partition is detached", || {
        cluster.reload();
        match session.number(attached) {
            0 => Ok(()),
            left => Err(left),
        }
    });
}
