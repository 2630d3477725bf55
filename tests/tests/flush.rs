//! stage_flush(): what it moves, what it says, what it refuses, and what a crash costs.

use cluster_tests::readings::{DOORS, Ready, attribute, everywhere, facts, ready, stage};
use cluster_tests::{Cluster, NULL};

// --- good rows

#[test]
fn values_arrive_as_they_were_staged() {
    let Ready { mut session, .. } = ready();
    let columns =
        "tenant_id, entity_id, ingested_at, observed_at, value_num, value_int, attribute_id, value_text";
    let readings = [
        ("number", "value_num", "'21.5'"),
        ("number", "value_num", "'1e-320'"),
        ("number", "value_num", "'NaN'"),
        ("integer", "value_int", "-9223372036854775808"),
        ("boolean", "value_int", "1"),
        ("timestamp", "value_int", "1700000000000000"),
        ("text", "value_text", "''"),
        ("text", "value_text", "repeat('größe ', 20000)"),
        ("json", "value_text", "'{\"a\": [1, null]}'"),
    ];
    session.exec("CREATE TABLE expected AS TABLE entity_values_ingest");
    for (n, (value_type, column, value)) in readings.iter().enumerate() {
        let id = attribute(&mut session, &format!("a_{value_type}"), value_type);
        for target in [DOORS[n % 2], "expected"] {
            session.exec(&format!(
                "INSERT INTO {target} (tenant_id, entity_id, ingested_at, observed_at, attribute_id, {column})
                 VALUES (9223372036854775807, {n}, date_trunc('day', now()), date_trunc('day', now()) - interval '9 years', {id}, {value})"
            ));
        }
    }
    // Attributes of tenant 1 are not those of another; 0 is shared by all.
    session.exec("ALTER TABLE attributes DISABLE TRIGGER attribute_keeps_identity; UPDATE attributes SET tenant_id = 0");
    assert_eq!(session.number("SELECT stage_flush()"), readings.len() as i64);
    for (left, right) in [("expected", "entity_values_ts"), ("entity_values_ts", "expected")] {
        let missing = format!(
            "SELECT entity_id FROM (SELECT {columns} FROM {left} EXCEPT SELECT {columns} FROM {right}) x"
        );
        assert_eq!(
            session.column(&missing),
            Vec::<String>::new(),
            "in {left}, not in {right}"
        );
    }
}

#[test]
fn equal_rows_are_all_kept() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    for _ in 0..3 {
        stage(&mut session, "entity_values_ingest", temperature, 7, 7);
    }
    assert_eq!(session.number("SELECT stage_flush()"), 3);
    assert_eq!(facts(&mut session), (3, 1));
}

#[test]
fn both_doors_are_emptied() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    for (door, first) in DOORS.into_iter().zip([1, 101]) {
        stage(&mut session, door, temperature, first, first + 99);
    }
    assert_eq!(session.number("SELECT stage_flush()"), 200);
    assert_eq!(facts(&mut session), (200, 200));
    for door in DOORS {
        assert_eq!(session.number(&format!("SELECT count(*) FROM {door}")), 0);
    }
    assert_eq!(session.number("SELECT stage_flush()"), 0);
}

#[test]
fn partitions_are_made_for_rows_that_have_none() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         SELECT 1, n, now() - n * interval '1 day', {temperature}, n FROM generate_series(0, 6) n"
    ));
    assert_eq!(session.number("SELECT stage_flush()"), 7);
    let leaves = "SELECT count(DISTINCT tableoid) FROM entity_values_ts";
    assert_eq!(session.number(leaves), 7);
    let details = session
        .rows("SELECT rows_flushed, rows_rejected, rows_waiting, partitions_created FROM last_flush()");
    assert_eq!(details, [["7", "0", "0", "6"]]);
}

#[test]
fn rows_without_a_partition_wait_for_it_and_stop_no_other() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    // Another session holds what making a partition needs; a leaf that is there takes rows meanwhile.
    let mut blocker = database.connect();
    blocker.exec("BEGIN; LOCK entity_values_ts IN SHARE UPDATE EXCLUSIVE MODE");
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         VALUES (1, 1, now(), {temperature}, 0), (1, 2, now() - interval '3 days', {temperature}, 0)"
    ));
    session.exec("SET lock_timeout = '100ms'");
    assert_eq!(session.number("SELECT stage_flush()"), 1);
    let details = session
        .rows("SELECT rows_flushed, rows_waiting, waiting_reason FROM last_flush()")
        .swap_remove(0);
    assert_eq!(details[..2], ["1", "1"]);
    assert!(details[2].contains("55P03"), "{details:?}");
    blocker.exec("COMMIT");
    assert_eq!(session.number("SELECT stage_flush()"), 1);
    assert_eq!(facts(&mut session), (2, 2));
}

#[test]
fn max_rows_bounds_one_call() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    for (door, first) in DOORS.into_iter().zip([1, 11]) {
        stage(&mut session, door, temperature, first, first + 9);
    }
    assert_eq!(session.number("SELECT stage_flush(0)"), 0);
    assert_eq!(session.number("SELECT stage_flush(7)"), 7);
    assert_eq!(session.number("SELECT stage_flush(max_rows => 7)"), 7);
    assert_eq!(everywhere(&mut session), (20, 20));
    assert_eq!(session.number("SELECT stage_flush(7)"), 6);
    assert_eq!(facts(&mut session), (20, 20));
    session.fails_with("22003", "SELECT stage_flush(-1)");
}

#[test]
fn last_flush_tells_what_this_session_did() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    assert_eq!(
        session.rows("SELECT * FROM last_flush()"),
        Vec::<Vec<String>>::new()
    );
    stage(&mut session, "entity_values_ingest", temperature, 1, 10);
    stage(&mut session, "entity_values_ingest", 0, 11, 13);
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    let details = session.rows(
        "SELECT rows_flushed, rows_rejected, rows_waiting, waiting_reason, started_at <= now(), duration_ms > 0
         FROM last_flush()",
    );
    assert_eq!(details, [["10", "3", "0", NULL, "t", "t"]]);
    assert_eq!(
        database.connect().rows("SELECT * FROM last_flush()"),
        Vec::<Vec<String>>::new()
    );
}

// --- what is refused

#[test]
fn a_read_only_transaction_is_refused() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    for rows in [0, 1] {
        stage(&mut session, "entity_values_ingest", temperature, 1, rows);
        for sql in [
            "SELECT stage_flush()",
            "SELECT setup()",
            "SELECT register_attribute(1, 'new', 'text')",
        ] {
            session.exec("BEGIN READ ONLY");
            session.fails_with("25006", sql);
            session.exec("ROLLBACK");
        }
    }
    session.exec("BEGIN READ ONLY");
    assert_eq!(attribute(&mut session, "temperature", "number"), temperature);
    session.exec("COMMIT");
}

#[test]
fn staged_rows_cannot_be_changed() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    for door in DOORS {
        stage(&mut session, door, temperature, 1, 1);
        session.fails_with("55000", &format!("UPDATE {door} SET value_num = 0"));
        session.fails_with("55000", &format!("DELETE FROM {door}"));
        session.exec("SET session_replication_role = replica");
        session.fails_with("55000", &format!("DELETE FROM {door}"));
        session.exec("RESET session_replication_role");
    }
    assert_eq!(session.number("SELECT stage_flush()"), 2);
}

#[test]
fn without_the_tables_the_error_says_what_to_do() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    stage(&mut session, "entity_values_ingest", temperature, 1, 1);
    session.exec("DROP TABLE entity_values_ts");
    let refused = session.fails_with("55000", "SELECT stage_flush()");
    assert!(
        refused.message.contains("entity_values_ts") && refused.hint.contains("setup()"),
        "{refused}"
    );
}

// --- declared durability

#[test]
fn a_crash_costs_no_more_than_the_fast_door_had() {
    let cluster = Cluster::builder().durable().start();
    let database = cluster.create_database("crash");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest", id, 1, 100);
    stage(&mut session, "entity_values_ingest_durable", id, 101, 200);
    // Rows of the fast door are gone for good once flushed, so their facts must be on disk whatever the session says.
    session.exec("SET synchronous_commit = off; BEGIN");
    assert_eq!(session.number("SELECT stage_flush()"), 200);
    // Not by what it says later, either.
    session.exec("SET LOCAL synchronous_commit = off; COMMIT");
    cluster.crash();
    cluster.start();
    let mut session = database.connect();
    assert_eq!(
        session.number("SELECT count(*) FROM entity_values_ts WHERE entity_id <= 100"),
        100
    );
    assert_eq!(everywhere(&mut session), (200, 200));

    stage(&mut session, "entity_values_ingest", id, 201, 300);
    stage(&mut session, "entity_values_ingest_durable", id, 301, 400);
    cluster.crash();
    cluster.start();
    let mut session = database.connect();
    assert_eq!(session.number("SELECT stage_flush()"), 100);
    assert_eq!(facts(&mut session), (300, 300));
}
