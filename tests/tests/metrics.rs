//! The contract with exporters: what telemetry_metrics says, what the files in monitoring/ make of it, and that the real programs
//! take them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use cluster_tests::campaign::announce;
use cluster_tests::metrics::{Metric, contract, postgres_exporter, sql_exporter};
use cluster_tests::readings::{attribute, stage};
use cluster_tests::{Cluster, SOON, Session, eventually, project, shared, workers};

fn by_name() -> BTreeMap<String, Metric> {
    contract()
        .into_iter()
        .map(|metric| (metric.name.clone(), metric))
        .collect()
}

/// Everything the view answers keeps to the contract; returns how many different metrics that were.
#[track_caller]
fn check(session: &mut Session) -> usize {
    let known = by_name();
    let rows = session.rows(
        "SELECT name, min(type), min(help), (SELECT string_agg(key, ',' ORDER BY key) FROM jsonb_object_keys(labels) AS key),
                count(*) - count(DISTINCT labels)
         FROM telemetry.telemetry_metrics GROUP BY name, 4",
    );
    for row in &rows {
        let metric = known
            .get(&row[0])
            .unwrap_or_else(|| panic!("not in the contract: {row:?}"));
        assert_eq!(
            (&metric.kind, &metric.help),
            (&row[1], &row[2]),
            "{}",
            metric.name
        );
        let labels = metric.labels.join(",");
        let found = if row[3] == cluster_tests::NULL {
            ""
        } else {
            &row[3]
        };
        assert_eq!(labels, found, "{}", metric.name);
        assert_eq!(row[4], "0", "{} has the same labels twice", metric.name);
    }
    rows.len()
}

#[test]
fn names_follow_the_conventions() {
    let metrics = contract();
    assert_eq!(by_name().len(), metrics.len(), "a name is there twice");
    for Metric {
        name,
        kind,
        help,
        labels,
    } in &metrics
    {
        assert!(name.starts_with("pg_telemetry_"), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        assert!(kind == "counter" || kind == "gauge", "{name} is a {kind}");
        assert!(help.len() > 10 && !help.contains('"'), "{name}: {help}");
        for label in labels {
            assert!(
                !["tenant", "tenant_id", "query", "entity_id"].contains(&label.as_str()),
                "{name} has the label {label}, of which there is no end"
            );
        }
    }
}

#[test]
fn every_server_keeps_to_the_contract() {
    // Without workers there is less to say, and none of it is zero for want of knowledge.
    let plain = shared::database();
    let mut session = plain.install();
    check(&mut session);
    assert_eq!(
        session.number(
            "SELECT count(*) FROM telemetry_metrics WHERE name LIKE 'pg_telemetry_flush_%' OR name = 'pg_telemetry_worker_up'"
        ),
        0
    );

    let primary = Cluster::builder()
        .preload()
        .set("wal_level", "logical")
        .set("archive_mode", "on")
        .set("archive_command", "true")
        .start();
    let database = primary.create_database("watched");
    let mut session = database.install();
    workers::wait_for_start(&primary, "watched");
    let standby = primary.standby();
    session.exec("SELECT pg_create_logical_replication_slot('feed', 'pgoutput')");
    let temperature = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest", temperature, 1, 25);
    eventually(SOON, "the flush is counted", || {
        let flushed =
            "SELECT sum(value)::bigint FROM telemetry_metrics WHERE name = 'pg_telemetry_flush_rows_total'";
        match session.number(flushed) {
            25 => Ok(()),
            found => Err(found),
        }
    });
    let monitor = database.create_login(Some("pg_monitor"));
    standby.catch_up_with(&primary);
    let on_primary = check(&mut primary.connect_as(&monitor, "watched"));
    let on_standby = check(&mut standby.connect_as(&monitor, "watched"));
    let all = contract().len();
    assert!(
        on_primary > all * 3 / 4 && on_standby > all / 3,
        "{on_primary} and {on_standby} of {all}"
    );
    let role =
        "SELECT labels->>'node_role' FROM telemetry.telemetry_metrics WHERE name = 'pg_telemetry_info'";
    assert_eq!(session.text(role), "primary");
    assert_eq!(standby.connect("watched").text(role), "standby");
}

#[track_caller]
fn assert_made(file: &str, text: &str) {
    if std::env::var_os("PG_TELEMETRY_UPDATE_GOLDEN").is_some() {
        std::fs::write(project::path(file), text).expect("the project's own folder can be written");
    }
    assert!(
        project::read(file) == text,
        "{file} is not what sql/telemetry_metrics.sql says; run this test with PG_TELEMETRY_UPDATE_GOLDEN=1"
    );
}

#[test]
fn the_files_for_exporters_are_those_of_the_contract() {
    let metrics = contract();
    assert_made(
        "monitoring/sql_exporter/pg_telemetry.collector.yml",
        &sql_exporter(&metrics),
    );
    assert_made(
        "monitoring/postgres_exporter/queries.yml",
        &postgres_exporter(&metrics),
    );
}

/// What sql_exporter makes of a row: for each metric whose column is not NULL, that with the labels which it has.
#[test]
fn one_query_of_sql_exporter_gives_every_row_of_the_view() {
    let file = project::read("monitoring/sql_exporter/pg_telemetry.collector.yml");
    assert_eq!(
        file.matches("query: |").count(),
        1,
        "it asks once for all of them"
    );
    let (_, query) = file.split_once("query: |").expect("a query");
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("scraped");
    let mut session = database.install();
    workers::wait_for_start(&cluster, "scraped");
    // Some metrics come and go, and the two looks are at different moments: what holds a snapshot, for one.
    eventually(SOON, "both show the same metrics", || {
        let (served, shown) = served_and_shown(&mut session, query);
        let names =
            |rows: &[Vec<String>]| -> BTreeSet<String> { rows.iter().map(|row| row[0].clone()).collect() };
        let different: Vec<Vec<String>> = shown
            .iter()
            .filter(|row| !served.contains(row))
            .cloned()
            .collect();
        if names(&served) == names(&shown) && different.len() * 10 < shown.len() {
            Ok(())
        } else {
            Err((names(&served), names(&shown), different))
        }
    });
}

/// Name and labels of what the query of an exporter gives, and of what the view shows.
fn served_and_shown(session: &mut Session, query: &str) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    session.exec(&format!(
        "DROP TABLE IF EXISTS served, shown; CREATE TEMP TABLE served AS {query}"
    ));
    session.exec("CREATE TEMP TABLE shown AS SELECT name, labels FROM telemetry_metrics");
    let mut served = Vec::new();
    for metric in contract() {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("'{label}', \"{label}\""))
            .collect();
        let of_this = format!("FROM served WHERE {} IS NOT NULL", metric.name);
        served.extend(session.rows(&format!(
            "SELECT '{}', jsonb_build_object({}) {of_this}",
            metric.name,
            labels.join(", ")
        )));
    }
    let rows = session.number("SELECT count(*) FROM served");
    assert_eq!(served.len() as i64, rows, "each row is one metric");
    (served, session.rows("SELECT name, labels FROM shown"))
}

fn mentioned(text: &str) -> Vec<String> {
    let mut names: Vec<String> = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("pg_telemetry_"))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn rules_and_dashboards_name_only_metrics_that_exist() {
    let known = by_name();
    for file in [
        "monitoring/prometheus/pg_telemetry.rules.yml",
        "monitoring/grafana/pg_telemetry.json",
        "docs/monitoring.md",
    ] {
        let names = mentioned(&project::read(file));
        assert!(names.len() > 3, "{file} names {names:?}");
        for name in names {
            assert!(
                known.contains_key(&name),
                "{file} names {name}, which does not exist"
            );
        }
    }
}

/// None, announced, where the program is not there.
fn program(name: &str) -> Option<Command> {
    let found = std::env::split_paths(&std::env::var_os("PATH")?).find(|folder| folder.join(name).exists());
    if found.is_none() {
        announce(&format!("SKIPPED: {name} is not installed"));
    }
    Some(Command::new(found?.join(name)))
}

fn promtool(arguments: &[&str]) {
    let Some(mut promtool) = program("promtool") else {
        return;
    };
    let output = promtool
        .args(arguments)
        .current_dir(project::path("monitoring/prometheus"))
        .output()
        .expect("promtool runs");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn promtool_takes_the_rules_and_sees_them_fire() {
    promtool(&["check", "rules", "pg_telemetry.rules.yml"]);
    promtool(&["test", "rules", "pg_telemetry.rules.test.yml"]);
}

/// Stopped when the test ends, however it ends.
struct Exporter(std::process::Child);

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn scrape(port: u16) -> std::io::Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn postgres_exporter_serves_what_the_view_says() {
    let Some(mut command) = program("prometheus-postgres-exporter") else {
        return;
    };
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("scraped");
    let mut session = database.install();
    workers::wait_for_start(&cluster, "scraped");
    workers::pause(&mut session);
    let temperature = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest_durable", temperature, 1, 31);
    let monitor = database.create_login(Some("pg_monitor"));
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .expect("a port is free")
        .port();
    let socket = |path: &Path| path.display().to_string();
    let child = command
        .env(
            "DATA_SOURCE_NAME",
            format!(
                "host={} user={monitor} dbname=scraped sslmode=disable",
                socket(cluster.socket_dir())
            ),
        )
        .args([
            "--disable-default-metrics",
            "--disable-settings-metrics",
            &format!("--web.listen-address=127.0.0.1:{port}"),
            &format!(
                "--extend.query-path={}",
                project::path("monitoring/postgres_exporter/queries.yml").display()
            ),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the exporter starts");
    let _exporter = Exporter(child);
    // Counted by the keeper each second; and some metrics come and go.
    let text = eventually(SOON, "the exporter serves what the view says", || {
        let text = scrape(port).unwrap_or_default();
        let served = mentioned(&text);
        let missing: Vec<String> = session
            .column("SELECT DISTINCT name FROM telemetry_metrics")
            .into_iter()
            .filter(|name| !served.contains(name))
            .collect();
        let rows = text
            .lines()
            .find(|line| line.starts_with("pg_telemetry_staging_rows{door=\"durable\""));
        if missing.is_empty() && rows.is_some_and(|line| line.ends_with(" 31")) {
            Ok(text)
        } else {
            Err((missing, rows.map(str::to_owned)))
        }
    });
    assert!(text.contains("# TYPE pg_telemetry_staging_rows gauge"), "{text}");
    assert!(
        text.contains("pg_exporter_last_scrape_error{") || text.contains("pg_exporter_last_scrape_error 0")
    );
    assert!(
        !text.contains("pg_exporter_user_queries_load_error{") || text.contains("queries.yml\",hashsum=")
    );
}
