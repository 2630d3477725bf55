//! Workers make way when their database is dropped, renamed, copied or moved, and never hold up another one.

use std::time::Duration;

use cluster_tests::readings::{attribute, facts, stage, wait_for_facts};
use cluster_tests::{Writer, within, workers};

/// DROP, RENAME and CREATE … TEMPLATE of a database with workers in it.
const DATABASE_DDL: Duration = Duration::from_secs(2);

#[test]
fn a_database_with_workers_can_be_dropped() {
    let (database, session) = workers::running();
    drop(session);
    let mut elsewhere = database.cluster().connect("postgres");
    within(DATABASE_DDL, "DROP DATABASE", || {
        elsewhere.exec(&format!("DROP DATABASE {}", database.quoted_name()))
    });
    assert_eq!(
        workers::kinds(database.cluster(), database.name()),
        Vec::<String>::new()
    );
    assert_eq!(workers::complaints(database.log()), Vec::<String>::new());
}

#[test]
fn a_database_can_be_dropped_during_a_slow_flush() {
    let (database, mut session) = workers::running();
    workers::slow_down(&mut session, workers::flusher(database.cluster(), "ours"));
    drop(session);
    let mut elsewhere = database.cluster().connect("postgres");
    within(DATABASE_DDL, "DROP DATABASE", || {
        elsewhere.exec("DROP DATABASE ours")
    });
}

#[test]
fn a_database_with_workers_can_be_a_template() {
    let (database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest_durable", id, 1, 10);
    wait_for_facts(&mut session, 10);
    drop(session);
    let cluster = database.cluster();
    let copy = format!("{}_copy", database.name());
    let mut elsewhere = cluster.connect("postgres");
    within(DATABASE_DDL, "CREATE DATABASE … TEMPLATE", || {
        elsewhere.exec(&format!(
            "CREATE DATABASE {copy} TEMPLATE {}",
            database.quoted_name()
        ))
    });
    workers::wait_for_start(cluster, database.name());
    workers::wait_for_start(cluster, &copy);
    let mut in_copy = cluster.connect(&copy);
    in_copy.exec("SET search_path = telemetry");
    stage(&mut in_copy, "entity_values_ingest", id, 11, 20);
    wait_for_facts(&mut in_copy, 20);
    assert_eq!(facts(&mut database.connect()), (10, 10));
    drop(in_copy);
    within(DATABASE_DDL, "DROP DATABASE", || {
        elsewhere.exec(&format!("DROP DATABASE {copy}"))
    });
}

#[test]
fn a_database_with_workers_can_be_renamed() {
    let (database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    drop(session);
    let cluster = database.cluster();
    let renamed = format!("{} \"new\" name", database.name());
    let quoted = format!("\"{}\"", renamed.replace('"', "\"\""));
    let mut elsewhere = cluster.connect("postgres");
    within(DATABASE_DDL, "RENAME", || {
        elsewhere.exec(&format!(
            "ALTER DATABASE {} RENAME TO {quoted}",
            database.quoted_name()
        ))
    });
    workers::wait_for_start(cluster, &renamed);
    let mut session = cluster.connect(&renamed);
    session.exec("SET search_path = telemetry");
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    wait_for_facts(&mut session, 10);
    drop(session);
    within(DATABASE_DDL, "DROP DATABASE", || {
        elsewhere.exec(&format!("DROP DATABASE {quoted}"))
    });
}

#[test]
fn a_database_with_workers_can_be_moved() {
    let (database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    drop(session);
    let mut elsewhere = database.cluster().connect("postgres");
    elsewhere.exec("SET allow_in_place_tablespaces = on");
    elsewhere.exec("CREATE TABLESPACE elsewhere LOCATION ''");
    within(DATABASE_DDL, "SET TABLESPACE", || {
        elsewhere.exec("ALTER DATABASE ours SET TABLESPACE elsewhere")
    });
    let mut session = database.connect();
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    wait_for_facts(&mut session, 10);
    drop(session);
    elsewhere.exec("ALTER DATABASE ours SET TABLESPACE pg_default");
}

#[test]
fn who_may_not_drop_a_database_cannot_stop_its_workers() {
    let (database, _session) = workers::running();
    let cluster = database.cluster();
    let before = workers::flusher(cluster, "ours");
    cluster.connect("postgres").exec("CREATE ROLE nobody LOGIN");
    let mut nobody = cluster.connect_as("nobody", "postgres");
    for (sql, code) in [
        ("DROP DATABASE ours", "42501"),
        ("DROP DATABASE ours WITH (FORCE)", "42501"),
        ("ALTER DATABASE ours RENAME TO theirs", "42501"),
        ("ALTER DATABASE ours SET TABLESPACE pg_default", "42501"),
        ("CREATE DATABASE theirs TEMPLATE ours", "42501"),
    ] {
        nobody.fails_with(code, sql);
    }
    assert_eq!(workers::flusher(cluster, "ours"), before);
}

#[test]
fn a_drop_that_fails_brings_the_workers_back() {
    let (database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    let mut elsewhere = database.cluster().connect("postgres");
    // `session` is connected, so PostgreSQL itself refuses.
    elsewhere.fails_with("55006", &format!("DROP DATABASE {}", database.quoted_name()));
    stage(&mut session, "entity_values_ingest", id, 1, 10);
    wait_for_facts(&mut session, 10);
}

#[test]
fn other_databases_never_wait_for_workers() {
    let (database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    let writer = Writer::start(&database, id, 1);
    let mut elsewhere = database.cluster().connect("postgres");
    let name = format!("{}_neighbour", database.name());
    for sql in [
        format!("CREATE DATABASE {name} TEMPLATE template1"),
        format!("ALTER DATABASE {name} RENAME TO {name}_2"),
        format!("CREATE DATABASE {name} TEMPLATE {name}_2"),
        format!("DROP DATABASE {name}"),
        format!("DROP DATABASE {name}_2"),
    ] {
        // The launcher may be looking into the new database just now; PostgreSQL waits up to 5 s for that to end.
        within(DATABASE_DDL, &sql, || elsewhere.exec(&sql));
    }
    let written = writer.finish();
    wait_for_facts(&mut session, written);
}
