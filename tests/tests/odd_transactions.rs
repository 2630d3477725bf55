//! Flushes in transactions that do other things as well, from unusual places and under unusual settings: every row ends up in one
//! place.

use cluster_tests::integrity::{check_facts, check_staging};
use cluster_tests::readings::{DOORS, Ready, attribute, everywhere, facts, ready, stage};
use cluster_tests::{Cluster, Session};

/// An attribute that nobody registered.
const UNKNOWN: i64 = 999_999;

fn flush(session: &mut Session) -> i64 {
    session.number("SELECT stage_flush()")
}

#[test]
fn a_flush_can_be_prepared_and_ends_as_that_says_even_after_a_crash() {
    let cluster = Cluster::builder()
        .durable()
        .set("max_prepared_transactions", 4)
        .start();
    let database = cluster.create_database("prepared");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    for (n, (end, crash)) in [
        ("COMMIT", false),
        ("ROLLBACK", false),
        ("COMMIT", true),
        ("ROLLBACK", true),
    ]
    .into_iter()
    .enumerate()
    {
        let first = n as i64 * 100 + 1;
        stage(&mut session, DOORS[1], id, first, first + 9);
        stage(&mut session, DOORS[1], UNKNOWN, first + 10, first + 10);
        session.exec("BEGIN");
        assert_eq!(flush(&mut session), 10);
        session.exec("PREPARE TRANSACTION 'flush'");
        let mut other = database.connect();
        assert_eq!(
            flush(&mut other),
            0,
            "what a prepared flush holds is not taken again"
        );
        assert!(!other.is_true("SELECT drain('200ms')"));
        if crash {
            cluster.crash();
            cluster.start();
            session = database.connect();
            assert_eq!(flush(&mut session), 0);
        }
        session.exec(&format!("{end} PREPARED 'flush'"));
        assert_eq!(flush(&mut session), if end == "COMMIT" { 0 } else { 10 }, "{end}");
        let rows = (n as i64 + 1) * 11;
        assert_eq!(
            everywhere(&mut session),
            (rows, rows),
            "{end}, after a crash: {crash}"
        );
    }
    check_facts(&mut session);
    check_staging(&mut session, DOORS[1]);
}

#[test]
fn cursors_go_on_with_what_they_saw() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    for door in DOORS {
        stage(&mut session, door, temperature, 1, 5_000);
        for (flushes_itself, end) in [(true, "ROLLBACK"), (false, "COMMIT")] {
            session.exec(&format!(
                "BEGIN; DECLARE c CURSOR FOR SELECT entity_id FROM {door}; MOVE 10 IN c"
            ));
            if flushes_itself {
                assert_eq!(flush(&mut session), 5_000);
                assert_eq!(flush(&mut session), 0);
            } else {
                let mut other = database.connect();
                assert_eq!(flush(&mut other), 5_000);
                assert_eq!(flush(&mut other), 0);
                stage(&mut other, door, temperature, 5_001, 5_010);
                assert_eq!(flush(&mut session), 10);
            }
            assert_eq!(session.rows("FETCH ALL FROM c").len(), 4_990, "{door}");
            session.exec(end);
        }
        assert_eq!(everywhere(&mut session), (5_010, 5_010));
        session.exec("TRUNCATE entity_values_ts");
    }
}

#[test]
fn a_statement_may_flush_the_table_that_it_reads_or_writes() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    for door in DOORS {
        stage(&mut session, door, temperature, 1, 1_000);
        let rows = session.rows(&format!("SELECT entity_id, stage_flush(100) FROM {door}"));
        let flushed: i64 = rows
            .iter()
            .map(|row| row[1].parse::<i64>().expect("a number"))
            .sum();
        assert_eq!((rows.len(), flushed), (1_000, 1_000), "{door}");
        session.exec(&format!(
            "INSERT INTO {door} (tenant_id, entity_id, attribute_id, value_num)
             SELECT 1, n, {temperature}, stage_flush() FROM generate_series(1001, 1100) n"
        ));
        flush(&mut session);
        assert_eq!(everywhere(&mut session), (1_100, 1_100), "{door}");
        session.exec("TRUNCATE entity_values_ts");
    }
}

#[test]
fn a_trigger_on_staging_may_flush() {
    for when in ["BEFORE INSERT", "AFTER INSERT"] {
        for each in ["ROW", "STATEMENT"] {
            let Ready {
                mut session,
                temperature,
                ..
            } = ready();
            for door in DOORS {
                session.exec(&format!(
                    "CREATE OR REPLACE FUNCTION flush_now() RETURNS trigger LANGUAGE plpgsql AS
                         $$ BEGIN PERFORM telemetry.stage_flush(); RETURN NEW; END $$;
                     CREATE TRIGGER flush_now {when} ON {door} FOR EACH {each} EXECUTE FUNCTION flush_now()"
                ));
            }
            for (round, door) in DOORS.into_iter().enumerate() {
                let first = round as i64 * 1_000 + 1;
                let lines: String = (first..first + 500)
                    .map(|entity| format!("1\t{entity}\t{temperature}\t1\n"))
                    .collect();
                let target = format!("{door} (tenant_id, entity_id, attribute_id, value_num)");
                assert_eq!(session.copy(&target, &lines), 500);
                session.exec("BEGIN; SAVEPOINT before");
                stage(&mut session, door, temperature, first + 500, first + 599);
                session.exec("ROLLBACK TO before");
                stage(&mut session, door, temperature, first + 600, first + 699);
                session.exec("COMMIT");
            }
            flush(&mut session);
            assert_eq!(everywhere(&mut session), (1_200, 1_200), "{when} {each}");
            assert_eq!(facts(&mut session), (1_200, 1_200), "{when} {each}");
            for door in DOORS {
                check_staging(&mut session, door);
            }
        }
    }
}

#[test]
fn a_trigger_on_facts_may_flush_what_is_left() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    session.exec(
        "GRANT EXECUTE ON FUNCTION stage_flush(bigint) TO telemetry_owner;
         CREATE FUNCTION flush_more() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM telemetry.stage_flush(100); RETURN NULL; END $$;
         CREATE TRIGGER flush_more AFTER INSERT ON entity_values_ts FOR EACH STATEMENT EXECUTE FUNCTION flush_more()",
    );
    for door in DOORS {
        stage(&mut session, door, temperature, 1, 1_000);
        stage(&mut session, door, UNKNOWN, 1_001, 1_010);
        flush(&mut session);
        assert!(session.is_true("SELECT drain('10s')"));
        assert_eq!(facts(&mut session), (1_000, 1_000), "{door}");
        assert_eq!(everywhere(&mut session), (1_010, 1_010), "{door}");
        session.exec("TRUNCATE entity_values_ts, entity_values_rejected");
    }
}

#[test]
fn rows_that_were_copied_frozen_are_taken_like_others() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    for door in DOORS {
        for (first, flushes) in [(1, true), (2_001, false)] {
            session.exec(&format!("BEGIN; TRUNCATE {door}"));
            session.exec(&format!(
                "COPY {door} (tenant_id, entity_id, attribute_id, value_num)
                 FROM PROGRAM 'seq -f 1,%g,{temperature},1 {first} {}' (FORMAT csv, FREEZE)",
                first + 1_999
            ));
            if flushes {
                assert_eq!(flush(&mut session), 2_000, "{door}");
            }
            session.exec("COMMIT");
            assert_eq!(flush(&mut session), if flushes { 0 } else { 2_000 }, "{door}");
            check_staging(&mut session, door);
        }
        stage(&mut session, door, temperature, 4_001, 4_100);
        assert_eq!(flush(&mut session), 100);
        assert_eq!(everywhere(&mut session), (4_100, 4_100), "{door}");
        check_staging(&mut session, door);
        session.exec("TRUNCATE entity_values_ts");
    }
}

/// Settings of the caller's that might be taken over by the statements of the flush.
#[test]
fn settings_of_the_session_change_nothing() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    let parallel = if session.number("SELECT current_setting('server_version_num')") >= 160_000 {
        "debug_parallel_query"
    } else {
        "force_parallel_mode"
    };
    session.exec(&format!(
        "SET {parallel} = on; SET work_mem = '256kB'; SET plan_cache_mode = force_generic_plan;
         SET standard_conforming_strings = off; SET escape_string_warning = off; SET quote_all_identifiers = on;
         SET array_nulls = off; SET transform_null_equals = on; SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Pacific/Chatham';
         SET IntervalStyle = sql_standard; SET bytea_output = escape; SET lc_monetary = 'C'; SET extra_float_digits = -15;
         SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_partition_pruning = off;
         SET constraint_exclusion = on; SET default_tablespace = ''; SET default_table_access_method = heap;
         SET check_function_bodies = off; SET client_min_messages = error; SET default_transaction_deferrable = on;
         SET search_path = telemetry, public; SET xmlbinary = hex; SET jit_above_cost = 0"
    ));
    for triggers in [false, true] {
        if triggers {
            session.exec(
                "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
                 CREATE TRIGGER nothing BEFORE INSERT ON entity_values_ts FOR EACH ROW EXECUTE FUNCTION nothing();
                 CREATE INDEX ON entity_values_ingest (entity_id)",
            );
        }
        for row_security in ["on", "off"] {
            session.exec(&format!("SET row_security = {row_security}"));
            for door in DOORS {
                stage(&mut session, door, temperature, 1, 10_000);
                stage(&mut session, door, UNKNOWN, 10_001, 10_010);
                session.exec("SET temp_file_limit = 0");
                let empty = session.is_true("SELECT drain('20s')");
                assert!(empty, "{door}, triggers: {triggers}, row_security {row_security}");
                session.exec("RESET temp_file_limit");
                let facts = facts(&mut session);
                assert_eq!(facts, (10_000, 10_000), "{door}, triggers: {triggers}");
                assert_eq!(
                    everywhere(&mut session),
                    (10_010, 10_010),
                    "{door}, triggers: {triggers}"
                );
                session.exec("TRUNCATE entity_values_ts, entity_values_rejected");
            }
        }
    }
    session.exec(
        "ALTER TABLE entity_values_ts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         CREATE POLICY all_of_them ON entity_values_ts USING (true) WITH CHECK (true)",
    );
    for row_security in ["on", "off"] {
        session.exec(&format!("SET row_security = {row_security}"));
        stage(&mut session, DOORS[1], temperature, 1, 100);
        let flushed = session.try_exec("SELECT stage_flush()");
        if let Err(failure) = flushed {
            // As the server says it of any statement under this setting.
            assert_eq!(
                (failure.code.as_str(), row_security),
                ("42501", "off"),
                "{failure}"
            );
        }
        session.exec("SET row_security = on");
        flush(&mut session);
        assert_eq!(everywhere(&mut session), (100, 100), "{row_security}");
        session.exec("TRUNCATE entity_values_ts");
    }
}

#[test]
fn functions_that_promise_too_much_may_flush_and_parallel_ones_do_not() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    assert_eq!(
        session.column(
            "SELECT DISTINCT proparallel FROM pg_proc WHERE pronamespace = 'telemetry'::regnamespace
             AND proname IN ('stage_flush', 'drain', 'ingest', 'ingest_external', 'ingest_many', 'pause', 'resume', 'retry_rejected')"
        ),
        ["u"]
    );
    for (n, kind) in ["VOLATILE", "STABLE", "IMMUTABLE"].into_iter().enumerate() {
        session.exec(&format!(
            "CREATE FUNCTION flush_{kind}() RETURNS bigint LANGUAGE plpgsql {kind} AS
                 $$ BEGIN RETURN telemetry.stage_flush(); EXCEPTION WHEN division_by_zero THEN RETURN -1; END $$"
        ));
        let first = n as i64 * 100 + 1;
        for door in DOORS {
            stage(&mut session, door, temperature, first, first + 9);
            let outcome = session.try_rows(&format!("SELECT flush_{kind}()"));
            // The server forbids it, or it flushes; nothing in between.
            if let Err(failure) = outcome {
                assert_eq!(failure.code, "0A000", "{kind}: {failure}");
                assert_eq!(flush(&mut session), 10, "{kind}");
            }
        }
        session.exec("DO $$ BEGIN
                 BEGIN PERFORM telemetry.stage_flush(); PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END;
                 PERFORM telemetry.stage_flush();
             END $$");
    }
    assert_eq!(facts(&mut session).0, 60);
    assert_eq!(facts(&mut session).1, 30);
}
