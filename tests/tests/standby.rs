//! Replicas: reads work, writes are refused clearly, promotion starts everything.

use cluster_tests::readings::{attribute, facts, stage, wait_for_facts};
use cluster_tests::{Cluster, workers};

const NOTHING: Vec<String> = Vec::new();

#[test]
fn a_standby_runs_no_worker_until_it_is_promoted() {
    let primary = Cluster::builder().preload().start();
    let database = primary.create_database("promoted");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest_durable", id, 1, 10);
    wait_for_facts(&mut session, 10);

    let standby = primary.standby();
    stage(&mut session, "entity_values_ingest_durable", id, 11, 20);
    wait_for_facts(&mut session, 20);
    standby.catch_up_with(&primary);
    let mut replica = standby.connect("promoted");
    assert_eq!(facts(&mut replica), (20, 20));
    assert_eq!(workers::kinds(&standby, "promoted"), NOTHING);
    let states = replica.column("SELECT DISTINCT state FROM worker_status WHERE worker <> 'launcher'");
    assert_eq!(states, ["standby"]);

    // What waits in the durable door when the primary dies is flushed by the new one; the fast door is empty there.
    primary.set_and_reload("pg_telemetry.background_workers", "off");
    workers::wait_for_end(&primary, "promoted");
    stage(&mut session, "entity_values_ingest", id, 101, 110);
    stage(&mut session, "entity_values_ingest_durable", id, 21, 30);
    standby.catch_up_with(&primary);
    primary.crash();
    standby.promote();
    workers::wait_for_start(&standby, "promoted");
    wait_for_facts(&mut replica, 30);
    stage(&mut replica, "entity_values_ingest", id, 31, 40);
    wait_for_facts(&mut replica, 40);
    assert_eq!(workers::complaints(&standby.log()), NOTHING);
}

#[test]
fn writes_are_refused_on_a_standby() {
    for preload in [false, true] {
        let builder = Cluster::builder();
        let primary = if preload {
            builder.preload().start()
        } else {
            builder.start()
        };
        let database = primary.create_database("read_only");
        let mut session = database.install();
        let id = attribute(&mut session, "temperature", "number");
        session.exec("SELECT register_entity(1, 'robot-1')");
        let standby = primary.standby();
        let mut replica = standby.connect("read_only");
        for write in [
            "SELECT stage_flush()",
            "SELECT stage_flush(0)",
            "SELECT setup()",
            "SELECT heartbeat()",
            "SELECT create_cdc_publications()",
            "SELECT register_attribute(1, 'new', 'number')",
            "SELECT register_entity(1, 'robot-2')",
            "INSERT INTO entity_values_ingest_durable (tenant_id) VALUES (1)",
        ] {
            replica.fails_with("25006", write);
        }
        // Looking up what is registered already is a read.
        assert_eq!(attribute(&mut replica, "temperature", "number"), id);
        assert_eq!(replica.number("SELECT register_entity(1, 'robot-1')"), 1);
    }
}

#[test]
fn reads_work_on_a_standby_of_a_standby() {
    let primary = Cluster::builder().preload().start();
    let database = primary.create_database("cascade");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    let standby = primary.standby();
    let cascade = standby.standby();
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    wait_for_facts(&mut session, 10);
    drop(session);
    let mut replica = cascade.connect("cascade");
    wait_for_facts(&mut replica, 10);
    for read in [
        "worker_status",
        "freshness()",
        "route_read('eventual')",
        "can_serve('eventual')",
        "token_reached(commit_token())",
        "replication_lag",
        "replication_slots_health",
        "read_classes",
        "last_flush()",
        "attributes",
        "entities",
        "entity_jsonb",
        "replication_heartbeat",
    ] {
        replica.exec(&format!("SELECT * FROM {read}"));
    }
    assert_eq!(workers::kinds(&cascade, "cascade"), NOTHING);
}
