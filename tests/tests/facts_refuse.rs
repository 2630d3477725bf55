//! What facts refuse: a row for what it holds, all rows because something is broken, or any row for as long as something is in
//! the way.

use std::time::{Duration, Instant};

use cluster_tests::integrity::{check_facts, check_staging};
use cluster_tests::readings::{DOORS, Ready, attribute, everywhere, facts, ready, stage, wait_for_facts};
use cluster_tests::{Cluster, SOON, Session, eventually, workers};

const ROWS: i64 = 10_000;

/// The row that is refused.
const BAD: i64 = 6_789;

struct Kind {
    name: &'static str,
    sqlstate: &'static str,
    /// What the reason says.
    says: &'static str,
    /// Makes facts refuse the bad row.
    sql: &'static str,
}

fn raise(
    name: &'static str,
    sqlstate: &'static str,
    says: &'static str,
    body: &'static str,
) -> (Kind, String) {
    let sql = format!(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN IF NEW.entity_id = {BAD} THEN {body}; END IF; RETURN NEW; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON entity_values_ts FOR EACH ROW EXECUTE FUNCTION refuse()"
    );
    let kind = Kind {
        name,
        sqlstate,
        says,
        sql: "",
    };
    (kind, sql)
}

fn kinds() -> Vec<(Kind, String)> {
    let mut kinds = vec![
        raise("a trigger", "P0001", "not this one", "RAISE 'not this one'"),
        raise(
            "a code of their own",
            "UE001",
            "mine",
            "RAISE 'mine' USING ERRCODE = 'UE001'",
        ),
        raise(
            "a missing function",
            "42883",
            "nowhere",
            "PERFORM nowhere.nothing(1)",
        ),
        raise(
            "a trigger after a caught error",
            "22012",
            "division",
            "BEGIN RAISE 'x' USING ERRCODE = 'UE002';
             EXCEPTION WHEN others THEN PERFORM 1 / 0; END",
        ),
        raise(
            "an internal error",
            "XX000",
            "no geometry",
            "RAISE 'no geometry' USING ERRCODE = 'XX000'",
        ),
    ];
    kinds[2].0.says = "does not exist";
    kinds[2].0.sqlstate = "3F000";
    let plain = [
        Kind {
            name: "a check",
            sqlstate: "23514",
            says: "low_enough",
            sql: "ALTER TABLE entity_values_ts ADD CONSTRAINT low_enough CHECK (entity_id <> 6789)",
        },
        Kind {
            name: "a check of one partition",
            sqlstate: "23514",
            says: "only_here",
            sql: "DO $$ BEGIN EXECUTE format('ALTER TABLE %s ADD CONSTRAINT only_here CHECK (entity_id <> 6789)',
                     (SELECT relid::regclass FROM pg_partition_tree('entity_values_ts') WHERE isleaf
                      ORDER BY relid LIMIT 1)); END $$",
        },
        Kind {
            name: "a unique index",
            sqlstate: "23505",
            says: "duplicate key",
            sql: "CREATE UNIQUE INDEX only_once ON entity_values_ts (entity_id, ingested_at);
                  INSERT INTO entity_values_ts (tenant_id, entity_id, ingested_at, attribute_id, value_num)
                  VALUES (1, 6789, date_trunc('day', now()), 1, 0)",
        },
        Kind {
            name: "an index on an expression",
            sqlstate: "22012",
            says: "division by zero",
            sql: "CREATE INDEX ON entity_values_ts ((1 / (entity_id - 6789)))",
        },
        Kind {
            name: "a foreign key",
            sqlstate: "23503",
            says: "foreign key",
            sql: "CREATE TABLE known (entity_id bigint PRIMARY KEY);
                  INSERT INTO known SELECT n FROM generate_series(1, 10000) n WHERE n <> 6789;
                  GRANT SELECT, UPDATE ON known TO telemetry_owner;
                  ALTER TABLE entity_values_ts ADD FOREIGN KEY (entity_id) REFERENCES known",
        },
        Kind {
            name: "a domain",
            sqlstate: "23514",
            says: "small",
            sql: "CREATE DOMAIN small AS double precision CONSTRAINT small CHECK (VALUE <> 678.9);
                  ALTER TABLE entity_values_ts ALTER value_num TYPE small",
        },
        Kind {
            name: "row-level security",
            sqlstate: "42501",
            says: "row-level security",
            sql: "ALTER TABLE entity_values_ts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
                  CREATE POLICY most ON entity_values_ts USING (true) WITH CHECK (entity_id <> 6789)",
        },
    ];
    kinds.extend(plain.into_iter().map(|kind| {
        let sql = kind.sql.to_owned();
        (kind, sql)
    }));
    kinds
}

/// All of one time, the start of the day, so that a key can name it.
fn stage_today(session: &mut Session, door: &str, id: i64, first: i64, last: i64) {
    session.exec(&format!(
        "INSERT INTO {door} (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         SELECT 1, entity, date_trunc('day', now()), {id}, entity / 10.0 FROM generate_series({first}, {last}) AS entity"
    ));
}

fn rejected(session: &mut Session) -> Vec<Vec<String>> {
    session.rows("SELECT entity_id, sqlstate, reason FROM entity_values_rejected ORDER BY entity_id")
}

#[test]
fn one_row_among_ten_thousand_is_rejected_with_what_it_raised() {
    for (number, (kind, sql)) in kinds().into_iter().enumerate() {
        let Ready {
            mut session,
            temperature,
            ..
        } = ready();
        session.exec(&sql);
        let door = DOORS[number % 2];
        stage_today(&mut session, door, temperature, 1, ROWS);
        let before = facts(&mut session).0;
        let start = Instant::now();
        assert_eq!(session.number("SELECT stage_flush()"), ROWS - 1, "{}", kind.name);
        println!("{}: {:?}", kind.name, start.elapsed());
        assert_eq!(facts(&mut session).0, before + ROWS - 1, "{}", kind.name);
        let refused = rejected(&mut session);
        assert_eq!(refused.len(), 1, "{}: {refused:?}", kind.name);
        assert_eq!(
            refused[0][..2],
            [BAD.to_string(), kind.sqlstate.to_owned()],
            "{}",
            kind.name
        );
        assert!(refused[0][2].contains(kind.says), "{}: {refused:?}", kind.name);
        assert_eq!(session.number(&format!("SELECT count(*) FROM {door}")), 0);
        check_facts(&mut session);
        check_staging(&mut session, door);
    }
}

#[test]
fn a_value_too_long_for_an_index_is_rejected() {
    let Ready { mut session, .. } = ready();
    let label = attribute(&mut session, "label", "text");
    session.exec(&format!(
        "CREATE INDEX ON entity_values_ts (value_text);
         INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_text)
         SELECT 1, n, {label}, CASE n WHEN {BAD}
             THEN (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 500) i) ELSE 'short' END
         FROM generate_series(1, {ROWS}) n"
    ));
    assert_eq!(session.number("SELECT stage_flush()"), ROWS - 1);
    let refused = rejected(&mut session);
    assert_eq!((refused.len(), &refused[0][1][..]), (1, "54000"), "{refused:?}");
    check_facts(&mut session);
}

#[test]
fn when_every_row_is_refused_all_are_rejected_in_bounded_time() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    session.exec("ALTER TABLE entity_values_ts ADD CHECK (value_num < 0)");
    stage(&mut session, "entity_values_ingest_durable", temperature, 1, ROWS);
    let start = Instant::now();
    assert_eq!(session.number("SELECT stage_flush()"), 0);
    let taken = start.elapsed();
    println!("{ROWS} refused rows: {taken:?}");
    assert!(taken < Duration::from_secs(60), "{taken:?}");
    assert_eq!(rejected(&mut session).len() as i64, ROWS);
    assert_eq!(everywhere(&mut session), (ROWS, ROWS));
}

#[test]
fn rows_wait_for_broken_code_to_be_mended() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    session.exec(
        "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM telemetry.not_there_any_more(); RETURN NEW; END $$;
         CREATE TRIGGER broken BEFORE INSERT ON entity_values_ts FOR EACH ROW EXECUTE FUNCTION broken()",
    );
    stage(&mut session, "entity_values_ingest", temperature, 1, ROWS);
    let failure = session.fails_with("42883", "SELECT stage_flush()");
    assert!(failure.detail.contains("entity_values_ts_p"), "{failure}");
    assert!(failure.detail.contains("wait in staging"), "{failure}");
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ingest"), ROWS);
    assert!(rejected(&mut session).is_empty());
    session.exec("DROP TRIGGER broken ON entity_values_ts");
    assert_eq!(session.number("SELECT stage_flush()"), ROWS);
    assert_eq!(everywhere(&mut session), (ROWS, ROWS));
}

#[test]
fn the_callers_transaction_goes_on_and_takes_everything_with_it() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    session.exec("CREATE TABLE notes (n int); ALTER TABLE entity_values_ts ADD CHECK (entity_id <> 5)");
    stage(&mut session, "entity_values_ingest", temperature, 1, 100);
    session.exec(
        "BEGIN; INSERT INTO notes VALUES (1); SELECT stage_flush(); INSERT INTO notes VALUES (2); ROLLBACK",
    );
    assert_eq!(session.number("SELECT count(*) FROM entity_values_ingest"), 100);
    assert!(rejected(&mut session).is_empty());
    session.exec("BEGIN; INSERT INTO notes VALUES (1)");
    assert_eq!(session.number("SELECT stage_flush()"), 99);
    session.exec("INSERT INTO notes VALUES (2); COMMIT");
    assert_eq!(session.number("SELECT count(*) FROM notes"), 2);
    assert_eq!(
        (everywhere(&mut session), rejected(&mut session).len()),
        ((100, 100), 1)
    );
}

#[test]
fn a_cancel_in_the_middle_of_the_search_passes_through() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    session.exec(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_catalog.pg_sleep(0.01); IF NEW.entity_id % 2 = 0 THEN RAISE 'no'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER slow BEFORE INSERT ON entity_values_ts FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    stage(&mut session, "entity_values_ingest_durable", temperature, 1, 500);
    session.exec("SET statement_timeout = '700ms'");
    session.fails_with("57014", "SELECT stage_flush()");
    session.exec("RESET statement_timeout");
    let flush = database.background_sql("SELECT stage_flush()");
    std::thread::sleep(Duration::from_millis(500));
    session.exec(&format!("SELECT pg_cancel_backend({})", flush.pid()));
    let failure = flush.join().expect_err("the flush was cancelled");
    assert_eq!(failure.code, "57014", "{failure}");
    assert_eq!(
        session.number("SELECT count(*) FROM entity_values_ingest_durable"),
        500
    );
    session.exec("DROP TRIGGER slow ON entity_values_ts");
    assert_eq!(session.number("SELECT stage_flush()"), 500);
    assert_eq!(everywhere(&mut session), (500, 500));
}

/// Makes the partition of the day after tomorrow, whose rows are accepted from now on, the one that is in the way.
fn two_partitions(session: &mut Session, id: i64) -> String {
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         SELECT 1, n, now() - interval '1 day', {id}, 1 FROM generate_series(-10, -1) n"
    ));
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    session.text("SELECT tableoid::regclass FROM entity_values_ts LIMIT 1")
}

fn stage_both(session: &mut Session, door: &str, id: i64, first: i64, last: i64) {
    session.exec(&format!(
        "INSERT INTO {door} (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         SELECT 1, n, now() - n % 2 * interval '1 day', {id}, 1 FROM generate_series({first}, {last}) n"
    ));
}

#[test]
fn a_locked_partition_holds_back_its_own_rows_only() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    let locked = two_partitions(&mut session, temperature);
    let mut holder = database.connect();
    holder.exec(&format!("BEGIN; LOCK {locked} IN ACCESS EXCLUSIVE MODE"));
    for door in DOORS {
        // The index sends the second one through SQL.
        if door == DOORS[1] {
            session.exec("CREATE INDEX ON entity_values_ingest_durable (entity_id)");
        }
        let first = if door == DOORS[0] { 1 } else { 3_001 };
        stage_both(&mut session, door, temperature, first, first + 2_999);
        session.exec("SET lock_timeout = '200ms'");
        assert_eq!(session.number("SELECT stage_flush()"), 1_500, "{door}");
        let row = session
            .rows("SELECT rows_flushed, rows_waiting, waiting_reason FROM last_flush()")
            .swap_remove(0);
        let short = locked.trim_start_matches("telemetry.");
        assert!(row[2].contains("55P03") && row[2].contains(short), "{row:?}");
    }
    assert_eq!(session.rows("SELECT rows_waiting FROM last_flush()"), [["3000"]]);
    let failure = session.fails_with("55P03", "SELECT stage_flush()");
    assert!(failure.detail.contains("wait in staging"), "{failure}");
    assert!(!session.is_true("SELECT drain('500ms')"));
    assert!(rejected(&mut session).is_empty());
    holder.exec("COMMIT");
    assert_eq!(session.number("SELECT stage_flush()"), 3_000);
    assert_eq!(everywhere(&mut session), (6_010, 6_010));
    check_facts(&mut session);
}

#[test]
fn workers_go_on_around_a_locked_partition_and_say_why_rows_wait() {
    let (database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    database
        .cluster()
        .set_and_reload("pg_telemetry.lock_timeout", "300ms");
    session.exec("SELECT pg_sleep(0.3)");
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         SELECT 1, n, now() - interval '1 day', {id}, 1 FROM generate_series(-10, -1) n"
    ));
    wait_for_facts(&mut session, 10);
    let locked = session.text("SELECT tableoid::regclass FROM entity_values_ts LIMIT 1");
    let mut holder = database.connect();
    holder.exec(&format!("BEGIN; LOCK {locked} IN ACCESS EXCLUSIVE MODE"));
    // Readers would wait for the lock as well: look at one partition.
    let open = "SELECT count(*) FROM ONLY entity_values_ts_p";
    let today = session.text("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')");
    for round in 0..8 {
        stage_both(
            &mut session,
            DOORS[round % 2],
            id,
            round as i64 * 100 + 1,
            round as i64 * 100 + 100,
        );
        let expected = (round as i64 + 1) * 50;
        eventually(
            Duration::from_secs(8),
            "rows of the other partition",
            || match session.number(&format!("{open}{today}")) {
                found if found == expected => Ok(()),
                found => Err(found),
            },
        );
    }
    let flush = "SELECT state, last_sqlstate, backoff_until > now(), detail, consecutive_errors > 0
                 FROM worker_status WHERE worker = 'flusher 1' AND task = 'flush'";
    eventually(SOON, "worker_status says why", || {
        let row = session.rows(flush).swap_remove(0);
        let told = row[3].contains("400 rows wait")
            && row[3].contains("55P03")
            && row[3].contains("entity_values_ts_p");
        if row[..2] == ["backoff", "55P03"] && told && row[4] == "t" {
            Ok(())
        } else {
            Err(row)
        }
    });
    holder.exec("COMMIT");
    wait_for_facts(&mut session, 810);
    eventually(SOON, "all is well again", || {
        let row = session
            .rows(
                "SELECT state IN ('sleeping', 'running'), detail IS NULL, consecutive_errors
            FROM worker_status WHERE worker = 'flusher 1' AND task = 'flush'",
            )
            .swap_remove(0);
        if row == ["t", "t", "0"] { Ok(()) } else { Err(row) }
    });
    assert!(rejected(&mut session).is_empty());
    check_facts(&mut session);
}

#[test]
fn workers_reject_what_facts_refuse_and_go_on() {
    let (_database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    session.exec("ALTER TABLE entity_values_ts ADD CHECK (entity_id % 1000 <> 0)");
    for round in 0..5 {
        stage(
            &mut session,
            DOORS[round % 2],
            id,
            round as i64 * 4_000 + 1,
            round as i64 * 4_000 + 4_000,
        );
    }
    wait_for_facts(&mut session, 20_000 - 20);
    let refused = rejected(&mut session);
    assert_eq!(refused.len(), 20);
    assert!(refused.iter().all(|row| row[1] == "23514"), "{refused:?}");
    assert_eq!(everywhere(&mut session), (20_000, 20_000));
}

#[test]
fn rows_do_not_grow_too_old_while_facts_cannot_be_written() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.accept_past", "60s")
        .start();
    let database = cluster.create_database("outage");
    let mut session = database.install();
    workers::wait_for_start(&cluster, "outage");
    let id = attribute(&mut session, "temperature", "number");
    session.exec(
        "CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE 'no space' USING ERRCODE = 'disk_full'; END $$;
         CREATE TRIGGER disk_is_full BEFORE INSERT ON entity_values_ts FOR EACH ROW EXECUTE FUNCTION disk_is_full()",
    );
    stage(&mut session, "entity_values_ingest", id, 1, 1);
    eventually(SOON, "the flush fails", || {
        let state =
            session.text("SELECT state FROM worker_status WHERE worker = 'flusher 1' AND task = 'flush'");
        if state == "backoff" { Ok(()) } else { Err(state) }
    });
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         SELECT 1, n, now() - interval '57 s', {id}, 1 FROM generate_series(2, 10) n"
    ));
    std::thread::sleep(Duration::from_secs(4));
    session.exec("DROP TRIGGER disk_is_full ON entity_values_ts");
    wait_for_facts(&mut session, 10);
    assert!(rejected(&mut session).is_empty());
    // Afterwards the bound is what it was.
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         VALUES (1, 11, now() - interval '120 s', {id}, 1)"
    ));
    eventually(SOON, "a row that is too old is rejected", || {
        match rejected(&mut session).len() {
            1 => Ok(()),
            other => Err(other),
        }
    });
}

#[test]
fn a_flush_that_a_savepoint_undid_does_not_make_rows_too_old() {
    let cluster = Cluster::builder()
        .preload()
        .set("pg_telemetry.background_workers", "off")
        .set("pg_telemetry.accept_past", "60s")
        .start();
    let database = cluster.create_database("undone");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    // Nothing waits now, and the board knows it.
    stage(&mut session, "entity_values_ingest", id, 1, 1);
    assert_eq!(session.number("SELECT stage_flush()"), 1);
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         VALUES (1, 2, now() - interval '57 s', {id}, 1)"
    ));
    std::thread::sleep(Duration::from_secs(4));
    session.exec("BEGIN; SAVEPOINT trial; SELECT stage_flush(); ROLLBACK TO trial; COMMIT");
    assert_eq!(session.number("SELECT stage_flush()"), 1);
    assert!(rejected(&mut session).is_empty());
}
