//! The harness itself: what the other tests rely on.

use cluster_tests::{Cluster, SOON, Stop, eventually, shared};

#[test]
fn a_crashed_server_comes_back_with_what_was_committed() {
    let cluster = Cluster::builder().durable().start();
    cluster
        .connect("postgres")
        .exec("CREATE TABLE kept AS SELECT 1 AS one");
    cluster.crash();
    assert!(!cluster.is_running());
    cluster.start();
    assert_eq!(cluster.connect("postgres").number("SELECT one FROM kept"), 1);
    assert!(
        !cluster
            .log()
            .lines_with("automatic recovery in progress")
            .is_empty()
    );
}

#[test]
fn a_killed_backend_makes_the_server_recover() {
    let cluster = Cluster::builder().start();
    let database = cluster.create_database("other");
    let sleeper = database.background_sql("SELECT pg_sleep(60)");
    cluster.kill_process(sleeper.pid());
    assert!(sleeper.join().is_err());
    assert_eq!(cluster.connect("postgres").number("SELECT 1"), 1);
}

#[test]
fn every_way_of_stopping_stops() {
    let cluster = Cluster::builder().start();
    for how in [Stop::Smart, Stop::Fast, Stop::Immediate] {
        cluster.stop(how);
        assert!(!cluster.is_running());
        cluster.start();
    }
}

#[test]
fn standbys_can_be_chained_and_promoted() {
    let primary = Cluster::builder().start();
    let standby = primary.standby();
    let cascade = standby.standby();
    primary
        .connect("postgres")
        .exec("CREATE TABLE t AS SELECT 7 AS seven");
    cascade.catch_up_with(&primary);
    assert_eq!(cascade.connect("postgres").number("SELECT seven FROM t"), 7);
    standby.promote();
    standby.connect("postgres").exec("UPDATE t SET seven = 8");
    cascade.catch_up_with(&standby);
    assert_eq!(cascade.connect("postgres").number("SELECT seven FROM t"), 8);
}

#[test]
fn settings_take_effect_at_reload() {
    let cluster = Cluster::builder().set("work_mem", "5MB").start();
    assert_eq!(cluster.connect("postgres").text("SHOW work_mem"), "5MB");
    cluster.set_and_reload("work_mem", "6MB");
    assert_eq!(cluster.connect("postgres").text("SHOW work_mem"), "6MB");
}

#[test]
fn databases_of_one_server_do_not_see_each_other() {
    let (one, two) = (shared::database(), shared::database());
    one.connect().exec("CREATE TABLE here ()");
    two.connect().fails_with("42P01", "SELECT FROM here");
    let blocker = one.background_sql("BEGIN; LOCK here; SELECT pg_sleep(0.1); COMMIT");
    let mut session = one.connect();
    eventually(SOON, "the background session is done", || {
        if blocker.is_finished() { Ok(()) } else { Err(()) }
    });
    blocker.join().expect("the background statements work");
    assert_eq!(session.number("SELECT count(*) FROM here"), 0);
}

#[test]
fn psql_stops_at_the_first_error() {
    let database = shared::database();
    let output = database.psql("SELECT 1/0; SELECT 'not reached'");
    assert!(
        !output.ok && output.stderr.contains("division by zero") && !output.stdout.contains("not reached")
    );
    assert!(database.psql("SELECT 'reached'").success().contains("reached"));
}
