//! Settings: ranges, defaults, and that a reload is enough.

use cluster_tests::readings::{attribute, facts, stage};
use cluster_tests::{Cluster, SOON, eventually, project, shared, workers};

const OURS: &str = "FROM pg_settings WHERE name LIKE 'pg\\_telemetry.%'";

/// pg_settings knows them as soon as the library is loaded.
const LOAD: &str = "LOAD 'pg_telemetry'";

#[test]
fn every_setting_takes_effect_at_reload() {
    let mut session = shared::database_with_workers().connect();
    let others = session.rows(&format!(
        "SELECT name, context {OURS} AND context <> 'sighup' ORDER BY name"
    ));
    // A superuser may set these for a session, a role or a database as well.
    assert_eq!(
        others,
        [
            ["pg_telemetry.auto_register", "superuser"],
            ["pg_telemetry.find_max_readings", "superuser"]
        ]
    );
}

#[test]
fn every_setting_refuses_what_is_out_of_range() {
    let database = shared::database();
    let mut session = database.connect();
    session.exec(LOAD);
    let settings = session.rows(&format!("SELECT name, vartype, min_val, max_val {OURS}"));
    assert!(settings.len() >= 12, "{settings:?}");
    for setting in settings {
        let name = &setting[0];
        let wrong: Vec<String> = match setting[1].as_str() {
            "integer" => {
                let bound = |n: usize| setting[n].parse::<i64>().expect("a bound is a number");
                vec![
                    (bound(2) - 1).to_string(),
                    (bound(3) + 1).to_string(),
                    "many".to_owned(),
                ]
            }
            _ => vec!["neither".to_owned(), "2".to_owned()],
        };
        for value in wrong {
            session.fails_with("22023", &format!("ALTER SYSTEM SET {name} = '{value}'"));
        }
    }
}

#[test]
fn every_setting_has_a_description() {
    let database = shared::database();
    let mut session = database.connect();
    session.exec(LOAD);
    let silent = session.column(&format!("SELECT name {OURS} AND coalesce(short_desc, '') = ''"));
    assert_eq!(silent, Vec::<String>::new());
}

#[test]
fn unknown_settings_of_our_prefix_are_refused() {
    let database = shared::database();
    let mut session = database.connect();
    session.exec(LOAD);
    session.fails_with("42602", "SET pg_telemetry.flush_intervall = '1s'");
}

#[test]
fn a_changed_interval_counts_from_the_reload_on() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.flush_interval", "60s")
        .start();
    let database = cluster.create_database("interval");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    workers::wait_for_start(&cluster, "interval");
    let flushes = "SELECT coalesce(sum(runs_total), 0) FROM worker_status WHERE task = 'flush'";
    eventually(SOON, "the first flush", || {
        if session.number(flushes) > 0 {
            Ok(())
        } else {
            Err(())
        }
    });
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    assert_eq!(facts(&mut session).0, 0);
    cluster.set_and_reload("pg_telemetry.flush_interval", "50ms");
    eventually(SOON, "a flush at the new interval", || {
        match facts(&mut session) {
            (10, 10) => Ok(()),
            seen => Err(seen),
        }
    });
    let every = "SELECT expected_every FROM worker_status WHERE worker = 'flusher 1' AND task = 'flush'";
    assert_eq!(session.text(every), "00:00:00.05");
}

#[test]
fn workers_can_be_turned_off_and_on() {
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("on_and_off");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    workers::wait_for_start(&cluster, "on_and_off");
    cluster.set_and_reload("pg_telemetry.background_workers", "off");
    workers::wait_for_end(&cluster, "on_and_off");
    let stopped = session.column("SELECT state FROM worker_status WHERE worker = 'flusher 1'");
    assert!(stopped.iter().all(|state| state == "stopped"), "{stopped:?}");
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    cluster.set_and_reload("pg_telemetry.background_workers", "on");
    stage(&mut session, "entity_values_ingest", id, 11, 20);
    eventually(SOON, "workers flush again", || match facts(&mut session) {
        (20, 20) => Ok(()),
        seen => Err(seen),
    });
}

#[test]
fn the_number_of_flushers_follows_the_setting() {
    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("flushers");
    let mut session = database.install();
    workers::wait_for_start(&cluster, "flushers");
    for wanted in [3, 1] {
        cluster.set_and_reload("pg_telemetry.flush_workers", wanted);
        eventually(SOON, &format!("{wanted} flushers"), || {
            match workers::pids(&cluster, "flushers", "flusher").len() {
                running if running == wanted => Ok(()),
                running => Err(running),
            }
        });
        let rows = "SELECT count(*) FROM worker_status WHERE worker LIKE 'flusher%' AND task IS NULL";
        assert_eq!(session.number(rows), wanted as i64);
    }
}

#[test]
fn partitions_follow_the_interval_and_the_number_ahead() {
    let cluster = Cluster::builder()
        .set("pg_telemetry.partition_interval", "hour")
        .start();
    cluster.set_and_reload("pg_telemetry.premake", 2);
    let database = cluster.create_database("partitions");
    let mut session = database.install();
    let bounds =
        "SELECT pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                  WHERE i.inhparent = 'entity_values_ts'::regclass";
    assert_eq!(session.column(bounds).len(), 3, "this hour and two ahead");
    for (step, more) in [("month", 3), ("week", 0), ("day", 0)] {
        cluster.set_and_reload("pg_telemetry.partition_interval", step);
        let before = session.column(bounds);
        session.exec("SELECT setup()");
        let now = session.column(bounds);
        assert!(before.iter().all(|bound| now.contains(bound)), "{step}: {now:#?}");
        assert!(now.len() >= before.len() + more, "{step}: {now:#?}");
    }
}

#[test]
fn the_accepted_window_follows_the_settings() {
    let cluster = Cluster::builder().set("pg_telemetry.accept_past", "400d").start();
    let database = cluster.create_database("window");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    let mut stored_at = |ago: &str| {
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
             VALUES (1, 1, now() - interval '{ago}', {id}, 0)"
        ));
        session.number("SELECT stage_flush()")
    };
    assert_eq!(stored_at("300 days"), 1);
    assert_eq!(stored_at("500 days"), 0);
    cluster.set_and_reload("pg_telemetry.accept_past", "1h");
    assert_eq!(stored_at("300 days"), 0);
    assert_eq!(stored_at("-30 min"), 1);
    cluster.set_and_reload("pg_telemetry.accept_future", "1min");
    assert_eq!(stored_at("-30 min"), 0);
}

#[test]
fn observed_at_may_be_so_far_from_ingested_at() {
    let cluster = Cluster::builder().start();
    let database = cluster.create_database("observed");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    let mut stored = |ingested_ago: &str, observed_ago: &str| {
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, observed_at, attribute_id, value_num)
             VALUES (1, 1, now() - interval '{ingested_ago}', now() - interval '{observed_ago}', {id}, 0)"
        ));
        session.number("SELECT stage_flush()")
    };
    assert_eq!(stored("0 s", "3649 days"), 1);
    assert_eq!(stored("0 s", "3651 days"), 0);
    assert_eq!(stored("0 s", "-23 hours"), 1);
    assert_eq!(stored("0 s", "-25 hours"), 0);
    cluster.set_and_reload("pg_telemetry.accept_observed_past", "1h");
    cluster.set_and_reload("pg_telemetry.accept_observed_future", "0");
    // What counts is the distance between the two, not how long ago that was.
    assert_eq!(stored("3 days", "3 days 30 min"), 1);
    assert_eq!(stored("3 days", "3 days 2 hours"), 0);
    assert_eq!(stored("3 days", "3 days"), 1);
    assert_eq!(stored("3 days", "2 days"), 0);
    cluster.set_and_reload("pg_telemetry.accept_observed_past", "-1");
    cluster.set_and_reload("pg_telemetry.accept_observed_future", "-1");
    assert_eq!(stored("0 s", "3000 years"), 1);
    assert_eq!(stored("0 s", "-3000 years"), 1);
}

#[test]
fn hot_leaves_count_when_the_projection_is_made() {
    let cluster = Cluster::builder().set("pg_telemetry.hot_leaves", 3).start();
    let database = cluster.create_database("leaves");
    let mut session = database.install();
    let leaves = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'entity_jsonb'::regclass";
    assert_eq!(session.number(leaves), 3);
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let readme = project::read("README.md");
    let database = shared::database();
    let mut session = database.connect();
    session.exec(LOAD);
    for row in session.rows(&format!("SELECT name, current_setting(name) {OURS}")) {
        let (name, default) = (&row[0], &row[1]);
        let line = readme
            .lines()
            .find(|line| line.starts_with('|') && line.contains(&format!("`{name}`")));
        let line = line.unwrap_or_else(|| panic!("README.md has no table row for {name}"));
        assert!(
            line.contains(&format!("`{default}`")),
            "{name} defaults to {default}, README.md says: {line}"
        );
    }
    for word in readme.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')) {
        let word = word.trim_end_matches('.');
        if let Some(setting) = word.strip_prefix("pg_telemetry.").filter(|rest| !rest.is_empty()) {
            let known = format!("SELECT count(*) {OURS} AND name = 'pg_telemetry.{setting}'");
            assert_eq!(
                session.number(&known),
                1,
                "README.md speaks of {word}, which is no setting"
            );
        }
    }
}
