//! The recipe for servers without preload, by the real pg_cron.

use std::time::Duration;

use cluster_tests::cron::Cron;
use cluster_tests::readings::{attribute, stage};
use cluster_tests::{Cluster, Database, SOON, Session, eventually, project};

/// A call lasts for a minute, and the next one begins in the minute after it.
const LONG: Duration = Duration::from_secs(150);

/// The block of the documentation that has this in it.
#[track_caller]
fn recipe(part: &str) -> String {
    let page = project::read("docs/operations.md");
    let block = page
        .split("```")
        .find(|block| block.contains(part))
        .and_then(|block| block.strip_prefix("console"));
    block.expect("the recipe is in the documentation").to_owned()
}

/// Readings of four months, kept for 45 days, and something to do for everybody.
fn prepare(cron: &Cron) -> (Database, Session) {
    let cluster = &cron.cluster;
    cluster.set_and_reload("pg_telemetry.accept_past", "1000d");
    let database = cluster.create_database("fleet");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    for days in [30, 40, 50, 60] {
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num, ingested_at)
             VALUES (1, 1, {id}, {days}, now() - interval '{days} days')"
        ));
    }
    session.exec("SELECT stage_flush()");
    session.exec("SELECT set_retention('45 days'); UPDATE partition_state SET made_late = false");
    // As if nobody had made any ahead.
    session.exec(
        "DO $$ DECLARE later text; BEGIN
             FOR later IN SELECT partition FROM partition_state WHERE starts_at > now() LOOP
                 EXECUTE format('DROP TABLE %I', later);
             END LOOP; END $$",
    );
    cluster.set("pg_telemetry.accept_past", "1h");
    cluster.set_and_reload("pg_telemetry.heartbeat", "always");
    session.exec("SELECT reindex_facts('entity_values_ts_series_idx')");
    session.exec("SELECT promote_attribute(1, 'temperature', true)");
    stage(&mut session, "entity_values_ingest", id, 2, 100);
    stage(&mut session, "entity_values_ingest_durable", id, 101, 200);
    (database, session)
}

/// Everything that workers would have done.
#[track_caller]
fn wait_until_all_is_done(session: &mut Session) {
    let left = "SELECT 'flush', count(*) FROM entity_values_ts HAVING count(*) <> 201
         UNION ALL SELECT 'plan ' || action, count(*) FROM partition_plan() GROUP BY action
         UNION ALL SELECT 'ahead', 1 FROM partition_health WHERE partition IS NULL AND parent = 'facts'
                   AND covered_until < now() + interval '3 days'
         UNION ALL SELECT 'sealed', count(*) FROM partition_state WHERE seal = 'sealed' HAVING count(*) <> 2
         UNION ALL SELECT 'dropped', count(*) FROM pg_class WHERE relname LIKE 'entity\\_values\\_ts\\_p%' AND relkind = 'r'
                   AND to_date(right(relname, 8), 'YYYYMMDD') < now() - interval '46 days' HAVING count(*) > 0
         UNION ALL SELECT 'heartbeat', 1 WHERE NOT EXISTS (
                       SELECT FROM replication_heartbeat WHERE written_at > now() - interval '10 s')
         UNION ALL SELECT 'index', count(*) FROM fact_index_rebuilds HAVING count(*) > 0
         UNION ALL SELECT 'attributes', count(*) FROM attribute_builds WHERE phase <> 'done' HAVING count(*) > 0
         UNION ALL SELECT 'worker ' || worker || ' ' || coalesce(task, '') || ' ' || state, 1 FROM worker_status
                   WHERE state NOT IN ('scheduled', 'on demand')";
    eventually(LONG, "all is done", || {
        let left = session.rows(left);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    assert_eq!(
        session.text("SELECT entity_latest(1, 150)"),
        "{\"temperature\": 15}"
    );
}

const FAILED: &str = "SELECT j.jobname, d.return_message FROM cron.job_run_details d LEFT JOIN cron.job j USING (jobid) WHERE d.status = 'failed'";

#[test]
fn three_jobs_do_what_the_workers_do() {
    let Some(cron) = Cron::start(Cluster::builder(), false) else {
        return;
    };
    let (database, mut session) = prepare(&cron);
    session.exec(&recipe("CREATE EXTENSION pg_cron"));
    let mut session = database.connect();
    cron.next_minute();
    wait_until_all_is_done(&mut session);
    assert_eq!(session.rows(FAILED), Vec::<Vec<String>>::new());
    let watched = recipe("WHERE d.status = 'failed' ORDER BY").trim_end().to_owned();
    assert!(session.rows(&watched).is_empty());

    // Facts cannot be written: pg_cron says so, and so do we.
    session.exec(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no disk' USING ERRCODE = '53100'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON entity_values_ts FOR EACH ROW EXECUTE FUNCTION refuse();
         SET ROLE telemetry_cron;
         SELECT cron.schedule('telemetry flusher', '* * * * *', $$CALL telemetry.run_worker('flusher', '0')$$);
         RESET ROLE",
    );
    session.exec("INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num) SELECT 1, 1, attribute_id, 1 FROM attributes");
    let failing = "SELECT state, last_error FROM worker_status WHERE task = 'flush'";
    eventually(LONG, "the failure", || {
        match session.rows(failing).swap_remove(0) {
            row if row[0] == "backoff" && row[1].contains("no disk") => Ok(()),
            row => Err(row),
        }
    });
    eventually(LONG, "pg_cron knows of it", || {
        cron.next_minute();
        let failed = session.rows(&watched);
        let told = failed.iter().any(|row| {
            row[0] == "telemetry flusher" && row[2].contains("task flush of the flusher 1 failed: no disk")
        });
        if told { Ok(()) } else { Err(failed) }
    });
    session.exec("DROP TRIGGER refuse ON entity_values_ts");
    eventually(LONG, "the end of it", || {
        cron.next_minute();
        match session.rows(failing).swap_remove(0) {
            row if row[0] == "scheduled" => Ok(()),
            row => Err(row),
        }
    });
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ts"), 202);

    // The jobs cannot even be called.
    session.exec("REVOKE telemetry_admin FROM telemetry_cron");
    session.exec("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL telemetry%'");
    eventually(LONG, "all of them are missing", || {
        cron.next_minute();
        let denied = session.rows(&watched);
        let denied = denied
            .iter()
            .filter(|row| row[2].contains("permission denied"))
            .count();
        let missing = session.column("SELECT worker FROM worker_status WHERE state = 'missing' AND task IS NULL AND detail LIKE 'nobody has called%' ORDER BY 1");
        if denied >= 3 && missing == ["flusher 1", "janitor", "keeper"] {
            Ok(())
        } else {
            Err((denied, missing))
        }
    });
    session.exec(&recipe("'forget old runs'"));
}

#[test]
fn the_same_in_background_workers() {
    let Some(cron) = Cron::start(Cluster::builder(), true) else {
        return;
    };
    let (database, mut session) = prepare(&cron);
    session.exec(&recipe("CREATE EXTENSION pg_cron"));
    let mut session = database.connect();
    cron.next_minute();
    wait_until_all_is_done(&mut session);
    eventually(SOON, "nothing failed", || {
        let failed = session.rows(FAILED);
        if failed.is_empty() { Ok(()) } else { Err(failed) }
    });
}
