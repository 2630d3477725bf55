//! request_id: a repeat of a call stages nothing, whatever happened to the first one.

use std::time::Duration;

use cluster_tests::readings::{Ready, attribute, facts, ready};
use cluster_tests::{Cluster, Session, Stop, eventually, within};

const ID: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";

fn call(extra: &str) -> String {
    format!(r#"SELECT ingest(1, 1, '{{"temperature": 21.5}}', request_id => '{ID}'{extra})"#)
}

fn rows(session: &mut Session) -> (i64, i64) {
    let count = |door| format!("SELECT count(*) FROM {door}");
    (
        session.number(&count("entity_values_ingest")),
        session.number(&count("entity_values_ingest_durable")),
    )
}

#[test]
fn a_repeat_returns_the_first_count_and_stages_nothing() {
    let Ready {
        database,
        mut session,
        ..
    } = ready();
    for extra in ["", ", durable => false"] {
        assert_eq!(session.number(&call(extra)), 1);
        assert_eq!(session.number(&call(extra)), 1);
        assert_eq!(database.connect().number(&call(extra)), 1);
    }
    assert_eq!(rows(&mut session), (1, 1));
    // Of another tenant it is another request.
    session.exec("SELECT register_attribute(2, 'temperature', 'number')");
    assert_eq!(session.number(&call("").replace("(1, 1", "(2, 1")), 1);
    assert_eq!(rows(&mut session), (1, 2));
    // After the flush it is still known.
    session.exec("SELECT stage_flush()");
    assert_eq!(session.number(&call("")), 1);
    assert_eq!(rows(&mut session), (0, 0));
}

#[test]
fn other_contents_under_the_same_id_are_an_error() {
    let Ready { mut session, .. } = ready();
    session.exec(&call(""));
    for (from, to) in [("21.5", "21.6"), ("1, 1,", "1, 2,")] {
        let sql = call("").replace(from, to);
        let failure = session.fails_with("22023", &sql);
        assert!(
            failure.message.contains(ID) && failure.message.contains("other contents"),
            "{failure}"
        );
        assert!(failure.hint.contains("new one"), "{failure}");
    }
    session.fails_with("22023", &call(", observed_at => now()"));
    session.fails_with(
        "22023",
        &call("").replace("ingest(1, 1", "ingest_external(1, '1'"),
    );
    assert_eq!(rows(&mut session), (0, 1));
}

#[test]
fn a_concurrent_repeat_waits_and_then_does_what_is_left_to_do() {
    let Ready {
        database,
        mut session,
        ..
    } = ready();
    for (end, expected) in [("COMMIT", 1), ("ROLLBACK", 1)] {
        session.exec("TRUNCATE ingest_requests; SELECT stage_flush()");
        session.exec(&format!("BEGIN; {}", call("")));
        let second = database.background(|session| session.number(&call("")));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!second.is_finished(), "it waits for the first");
        session.exec(end);
        assert_eq!(
            within(Duration::from_secs(20), "the second ends", || second.join()),
            1
        );
        assert_eq!(rows(&mut session), (0, expected), "{end}");
    }
}

#[test]
fn a_failed_call_leaves_nothing_behind() {
    let Ready { mut session, .. } = ready();
    session.fails_with("42704", &call("").replace("temperature", "other"));
    assert_eq!(session.number("SELECT count(*) FROM ingest_requests"), 0);
    assert_eq!(session.number(&call("")), 1);
}

#[test]
fn elements_of_a_batch_have_requests_of_their_own() {
    let Ready { mut session, .. } = ready();
    let element = |n: usize| {
        format!(
            r#"{{"entity_id": {n}, "request_id": "00000000-0000-0000-0000-{n:012}", "readings": {{"temperature": 1}}}}"#
        )
    };
    let batch = |elements: &[usize]| {
        let list: Vec<String> = elements.iter().map(|n| element(*n)).collect();
        format!("SELECT ingest_many(1, '[{}]')", list.join(","))
    };
    assert_eq!(session.number(&batch(&[3, 1])), 2);
    // Two were done before, one is new; the answer is the same as if all were.
    assert_eq!(session.number(&batch(&[1, 2, 3])), 3);
    assert_eq!(session.number(&batch(&[1, 2, 3])), 3);
    assert_eq!(rows(&mut session), (0, 3));
    let failure = session.fails_with("22023", &batch(&[4, 4]));
    assert!(failure.message.contains("is there twice"), "{failure}");
    assert_eq!(rows(&mut session), (0, 3));
    // What ingest() did, a batch does not do again.
    let one =
        r#"SELECT ingest(1, 9, '{"temperature": 1}', request_id => '00000000-0000-0000-0000-000000000009')"#;
    assert_eq!(session.number(one), 1);
    assert_eq!(session.number(&batch(&[9])), 1);
    assert_eq!(rows(&mut session), (0, 4));
}

#[test]
fn batches_that_share_requests_do_not_deadlock() {
    let Ready {
        database,
        mut session,
        ..
    } = ready();
    let batch = |order: &str| {
        format!(
            "SELECT ingest_many(1, (SELECT jsonb_agg(jsonb_build_object('entity_id', n, 'request_id', md5(n::text)::uuid,
                 'readings', '{{\"temperature\": 1}}'::jsonb) ORDER BY n {order}) FROM generate_series(1, 500) n))"
        )
    };
    // All wait in the middle, where those of one order would hold what the others want next.
    session.exec("BEGIN; SELECT ingest(1, 250, '{\"temperature\": 1}', request_id => md5('250')::uuid)");
    let sessions = ["ASC", "DESC"].map(|order| {
        let sql = batch(order);
        database.background(move |session| session.number(&sql))
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(sessions.iter().all(|other| !other.is_finished()));
    session.exec("COMMIT");
    for session in sessions {
        assert_eq!(session.join(), 500);
    }
    assert_eq!(session.number("SELECT stage_flush()"), 500);
    assert_eq!(facts(&mut session), (500, 500));
}

#[test]
fn after_the_window_it_is_a_new_request_and_is_forgotten() {
    let Ready {
        database,
        mut session,
        ..
    } = ready();
    session.exec(&call(""));
    session.exec("UPDATE ingest_requests SET requested_at = now() - interval '25 hours'");
    assert_eq!(session.number(&call("").replace("21.5", "99")), 1);
    assert_eq!(rows(&mut session), (0, 2));
    assert!(
        session.is_true("SELECT bool_and(requested_at > now() - interval '1 minute') FROM ingest_requests")
    );

    // Without a keeper the flush does it, and goes on if it cannot.
    session.exec("UPDATE ingest_requests SET requested_at = now() - interval '25 hours'");
    let mut holder = database.connect();
    holder.exec("BEGIN; SELECT FROM ingest_requests FOR UPDATE");
    assert_eq!(session.number("SELECT stage_flush()"), 2);
    assert_eq!(session.number("SELECT count(*) FROM ingest_requests"), 1);
    holder.exec("COMMIT");
    session.exec("SELECT stage_flush()");
    assert_eq!(session.number("SELECT count(*) FROM ingest_requests"), 0);

    let cluster = Cluster::builder().preload().start();
    let database = cluster.create_database("forget");
    let mut session = database.install();
    attribute(&mut session, "temperature", "number");
    session.exec(&call(""));
    for table in ["ingest_requests", "ingest_requests_volatile"] {
        session.exec(&format!(
            "INSERT INTO {table} (tenant_id, request_id, requested_at, fingerprint, readings)
             SELECT 1, md5(n::text)::uuid, now() - interval '2 days', 0, 1 FROM generate_series(1, 12000) n"
        ));
    }
    // The task runs once a minute; a restart brings the next run.
    cluster.restart(Stop::Fast);
    let mut session = database.connect();
    eventually(
        Duration::from_secs(30),
        "only what is young is left",
        || match session.number(
            "SELECT (SELECT count(*) FROM ingest_requests) + (SELECT count(*) FROM ingest_requests_volatile)",
        ) {
            1 => Ok(()),
            left => Err(left),
        },
    );
}

#[test]
fn a_crash_leaves_no_request_done_whose_readings_it_took() {
    let cluster = Cluster::builder().durable().start();
    let database = cluster.create_database("crash");
    let mut session = database.install();
    attribute(&mut session, "temperature", "number");
    session.exec("CHECKPOINT");
    for extra in ["", ", durable => false"] {
        session.exec(&call(extra));
    }
    cluster.crash();
    cluster.start();
    let mut session = database.connect();
    assert_eq!(rows(&mut session), (0, 1));
    for extra in ["", ", durable => false"] {
        assert_eq!(session.number(&call(extra)), 1);
    }
    assert_eq!(rows(&mut session), (1, 1));
}

#[test]
fn without_the_ledger_only_requests_fail() {
    let Ready { mut session, .. } = ready();
    session.exec("DROP TABLE ingest_requests, ingest_requests_volatile");
    assert_eq!(session.number(r#"SELECT ingest(1, 1, '{"temperature": 1}')"#), 1);
    let failure = session.fails_with("55000", &call(""));
    assert!(failure.message.contains("ingest_requests"), "{failure}");
    assert!(failure.hint.contains("setup()"), "{failure}");
    session.exec("SELECT setup()");
    assert_eq!(session.number(&call("")), 1);
}
