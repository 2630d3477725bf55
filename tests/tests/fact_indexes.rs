//! Indexes of facts are added, made anew and dropped while others write; whoever is interrupted, the next one goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster_tests::readings::{Ready, attribute, facts, ready, stage};
use cluster_tests::{Cluster, SOON, Session, eventually, shared, workers};

const PLAN: &str = "SELECT action || CASE WHEN busy THEN ' (busy)' ELSE '' END FROM fact_index_plan()";

/// Readings of three days, so that there are partitions that hold something.
fn with_readings() -> Ready {
    let mut ready = ready();
    let id = ready.temperature;
    ready.session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         SELECT 1, n, now() - n % 3 * interval '1 day', {id}, n FROM generate_series(1, 3000) n"
    ));
    ready.session.exec("SELECT stage_flush()");
    assert_eq!(facts(&mut ready.session), (3000, 3000));
    ready
}

fn partitions(session: &mut Session) -> i64 {
    session.number("SELECT count(*) FROM pg_inherits WHERE inhparent = 'entity_values_ts'::regclass")
}

/// As a person does it without workers: one statement after the other.
fn carry_out_one(session: &mut Session) -> Option<String> {
    let statement = session
        .column("SELECT statement FROM fact_index_plan() LIMIT 1")
        .pop()?;
    session.exec(&statement);
    Some(statement)
}

fn carry_out(session: &mut Session) -> usize {
    std::iter::from_fn(|| carry_out_one(session)).take(1000).count()
}

fn is_complete(session: &mut Session, name: &str) -> bool {
    session.is_true(&format!(
        "SELECT is_complete AND partitions_complete = partitions AND to_rebuild = 0 AND working_on IS NULL
         FROM fact_indexes WHERE index_name = '{name}'"
    ))
}

#[test]
fn without_workers_statement_after_statement() {
    let mut ready = with_readings();
    let session = &mut ready.session;
    let name = session.text(
        "SELECT add_fact_index(ARRAY['tenant_id', 'value_num DESC NULLS LAST', '(abs(entity_id))', 'value_text COLLATE \"C\" text_pattern_ops'],
             where_clause => 'value_num > 100 OR value_text IS NOT NULL -- whatever', include => '{value_int}',
             index_name => 'Of users', storage_parameters => '{\"fillfactor\": 80, \"deduplicate_items\": false}')",
    );
    assert_eq!(name, "Of users");
    let all = partitions(session);
    assert_eq!(session.column(PLAN).len() as i64, all);
    assert!(!is_complete(session, "Of users"));
    // The flush goes on at every step, and partitions that are made meanwhile have it.
    let mut steps = 0;
    while let Some(statement) = carry_out_one(session) {
        steps += 1;
        stage(
            session,
            "entity_values_ingest",
            ready.temperature,
            10_000 + steps,
            10_000 + steps,
        );
        assert_eq!(session.number("SELECT stage_flush()"), 1, "{statement}");
        if steps == 3 {
            session.exec(
                "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
                 SELECT 1, 20000, now() - interval '5 days', attribute_id, 1 FROM attributes",
            );
            assert_eq!(session.number("SELECT stage_flush()"), 1);
        }
    }
    assert_eq!(steps, 2 * all);
    assert_eq!(partitions(session), all + 1);
    assert!(is_complete(session, "Of users"));
    assert_eq!(facts(session), (3000 + steps + 1, 3000 + steps + 1));
    let same = "SELECT count(DISTINCT substr(pg_get_indexdef(i.indexrelid), strpos(pg_get_indexdef(i.indexrelid), 'USING')))
                FROM pg_index i WHERE i.indisvalid AND pg_get_indexdef(i.indexrelid) LIKE '%abs(entity_id)%'";
    assert_eq!(session.number(same), 1);
    let definition = session.text("SELECT definition FROM fact_indexes WHERE index_name = 'Of users'");
    for part in [
        "value_num DESC NULLS LAST",
        "value_text COLLATE \"C\" text_pattern_ops",
        "INCLUDE (value_int)",
        "fillfactor='80'",
    ] {
        assert!(definition.contains(part), "{definition}");
    }
    session.exec("SET enable_seqscan = off");
    let plan = session
        .column(
            "EXPLAIN SELECT FROM entity_values_ts WHERE tenant_id = 1 AND value_num > 2990 AND abs(entity_id) = 7",
        )
        .join("\n");
    assert!(plan.contains("Index"), "{plan}");
}

#[test]
fn what_makes_no_index_is_refused_and_leaves_nothing() {
    let mut ready = ready();
    let session = &mut ready.session;
    session.exec("CREATE TABLE taken (); CREATE TABLE victim ()");
    session.exec("SELECT add_fact_index('{entity_id}', index_name => 'there')");
    let indexes = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                   WHERE indrelid = 'entity_values_ts'::regclass";
    let before = session.number(indexes);
    for (code, arguments) in [
        ("42703", "'{no_such}'"),
        ("42703", "ARRAY['Entity_Id', '\"Value_Num\"']"),
        ("42703", "'{entity_id}', include => '{no_such}'"),
        ("42703", "ARRAY['(no_such + 1)']"),
        ("22023", "'{}'"),
        ("22023", "NULL"),
        ("22004", "ARRAY[NULL, 'entity_id']"),
        ("42601", "ARRAY['entity_id, value_num']"),
        ("42601", "ARRAY['entity_id) WHERE (true']"),
        ("42601", "ARRAY['entity_id) INCLUDE (value_num']"),
        ("42601", "ARRAY['entity_id) TABLESPACE pg_default --']"),
        ("42601", "ARRAY['entity_id); DROP TABLE victim; --']"),
        ("42601", "ARRAY['entity_id /*']"),
        ("42601", "ARRAY['']"),
        (
            "42601",
            "'{entity_id}', where_clause => 'true); DROP TABLE victim; SELECT (1'",
        ),
        (
            "42601",
            "'{entity_id}', where_clause => 'true; DROP TABLE victim'",
        ),
        ("42601", "'{entity_id}', where_clause => 'value_num >'"),
        ("42601", "'{entity_id}', where_clause => ''"),
        ("42804", "'{entity_id}', where_clause => 'value_num'"),
        (
            "0A000",
            "'{entity_id}', where_clause => 'entity_id IN (SELECT 1)'",
        ),
        ("42P17", "'{entity_id}', where_clause => 'ingested_at > now()'"),
        ("42883", "'{entity_id}', where_clause => 'no_such(entity_id)'"),
        ("42704", "'{entity_id}', 'no_such'"),
        (
            "42704",
            "'{entity_id}', 'btree (entity_id); DROP TABLE victim; --'",
        ),
        ("0A000", "'{entity_id}', 'unique btree'"),
        ("0A000", "ARRAY['entity_id', 'value_num'], 'hash'"),
        ("42704", "ARRAY['entity_id text_ops_of_mine']"),
        ("42804", "ARRAY['entity_id text_ops']"),
        ("42P07", "'{value_num}', index_name => 'taken'"),
        (
            "42P07",
            "'{value_num}', index_name => 'entity_values_ts_series_idx'",
        ),
        ("22023", "'{value_num}', index_name => repeat('x', 64)"),
        ("22023", "'{value_num}', index_name => ''"),
        ("42710", "'{entity_id}'"),
        ("42710", "'{entity_id}', index_name => 'other'"),
        ("22023", "'{value_num}', storage_parameters => '{\"no_such\": 1}'"),
        ("22023", "'{value_num}', storage_parameters => '[1]'"),
        (
            "22023",
            "'{value_num}', storage_parameters => '{\"fillfactor\": null}'",
        ),
        ("42704", "'{value_num}', tablespace => 'no_such'"),
    ] {
        let failure = session.fails_with(code, &format!("SELECT add_fact_index({arguments})"));
        let ours = ["42601", "42710", "42P07"].contains(&code);
        assert!(!ours || !failure.hint.is_empty(), "{arguments}: {failure}");
        assert_eq!(session.number(indexes), before, "{arguments}");
    }
    session.exec("SELECT FROM victim");
    for call in ["add_fact_index('{value_num}')", "drop_fact_index('there')"] {
        let failure = session.fails_with("25001", &format!("BEGIN; SELECT {call}"));
        assert!(failure.hint.contains("without BEGIN"), "{failure}");
        session.exec("ROLLBACK");
        session.exec("SET default_transaction_read_only = on");
        session.fails_with("25006", &format!("SELECT {call}"));
        session.exec("RESET default_transaction_read_only");
    }
    let failure = session.fails_with("42704", "SELECT drop_fact_index('no_such')");
    assert!(
        failure.detail.contains("entity_values_ts_series_idx"),
        "{failure}"
    );
    session.fails_with("42704", "SELECT reindex_facts('taken')");
    session.fails_with("22004", "SELECT drop_fact_index(NULL)");
}

#[test]
fn who_may_add_indexes_and_what_may_be_in_them() {
    let mut ready = with_readings();
    let session = &mut ready.session;
    let admin = ready.database.create_login(Some("telemetry_admin"));
    let reader = ready.database.create_login(Some("telemetry_reader"));
    session.exec(&format!(
        "CREATE SCHEMA of_admin AUTHORIZATION {admin}; GRANT USAGE ON SCHEMA of_admin TO PUBLIC;
         CREATE FUNCTION of_admin.trusted(bigint) RETURNS bigint LANGUAGE sql IMMUTABLE RETURN $1 % 7"
    ));
    let mut as_admin = ready.database.connect_as(&admin);
    as_admin.exec(
        "CREATE FUNCTION of_admin.planted(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
             $$BEGIN GRANT telemetry_owner TO PUBLIC; RETURN 1; EXCEPTION WHEN others THEN RETURN 2; END$$;
         CREATE DOMAIN of_admin.planted_type AS bigint CHECK (of_admin.planted(VALUE) > 0)",
    );
    for text in [
        "ARRAY['(of_admin.planted(entity_id))']",
        "ARRAY['((entity_id::of_admin.planted_type)::bigint)']",
        "'{entity_id}', where_clause => 'of_admin.planted(entity_id) > 0'",
    ] {
        let failure = as_admin.fails_with("42501", &format!("SELECT telemetry.add_fact_index({text})"));
        assert!(failure.message.contains("planted"), "{failure}");
        assert!(!failure.hint.is_empty(), "{failure}");
    }
    as_admin.exec(
        "SELECT telemetry.add_fact_index(ARRAY['(of_admin.trusted(entity_id))'], index_name => 'of_admin')",
    );
    assert!(carry_out(session) > 0);
    assert!(is_complete(session, "of_admin"));
    assert_eq!(
        session.text("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'of_admin'"),
        "telemetry_owner"
    );
    as_admin.exec("SELECT telemetry.reindex_facts('of_admin')");
    as_admin.exec("SELECT telemetry.drop_fact_index('of_admin')");
    let mut as_reader = ready.database.connect_as(&reader);
    as_reader.exec("SELECT * FROM telemetry.fact_indexes");
    for call in [
        "add_fact_index('{entity_id}')",
        "drop_fact_index('entity_values_ts_series_idx')",
        "reindex_facts()",
    ] {
        as_reader.fails_with("42501", &format!("SELECT telemetry.{call}"));
    }
}

#[test]
fn interrupted_statements_leave_nothing_behind() {
    let mut ready = with_readings();
    let session = &mut ready.session;
    session.exec("SELECT add_fact_index('{value_num}', index_name => 'again')");
    let statement = session.text("SELECT statement FROM fact_index_plan() LIMIT 1");
    let mut holder = ready.database.connect();
    // It waits for whoever may write, is cancelled, and its index stays invalid.
    let leaf = session.text("SELECT partition FROM fact_index_plan() LIMIT 1");
    holder.exec(&format!("BEGIN; LOCK TABLE {leaf} IN ROW EXCLUSIVE MODE"));
    session.exec("SET statement_timeout = '300ms'");
    session.fails_with("57014", &statement);
    session.exec("RESET statement_timeout");
    let plan = session.column(PLAN);
    assert_eq!(plan[0], "drop leftover", "{plan:?}");
    stage(session, "entity_values_ingest", ready.temperature, 20_001, 20_010);
    holder.exec("COMMIT");
    assert_eq!(
        session.number("SELECT stage_flush()"),
        10,
        "with an invalid index"
    );
    assert!(carry_out(session) > 0);
    assert!(is_complete(session, "again"));
    // The same of REINDEX.
    assert_eq!(
        session.number("SELECT reindex_facts('again')"),
        partitions(session)
    );
    assert_eq!(
        session.number("SELECT reindex_facts('again')"),
        0,
        "asked for already"
    );
    let statement = session.text("SELECT statement FROM fact_index_plan() LIMIT 1");
    let leaf = session.text("SELECT partition FROM fact_index_plan() LIMIT 1");
    holder.exec(&format!("BEGIN; LOCK TABLE {leaf} IN ROW EXCLUSIVE MODE"));
    session.exec("SET statement_timeout = '300ms'");
    session.fails_with("57014", &statement);
    session.exec("RESET statement_timeout");
    holder.exec("COMMIT");
    let leftovers = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                     WHERE NOT i.indisvalid AND c.relname LIKE '%ccnew%'";
    assert_eq!(session.number(leftovers), 1);
    assert_eq!(session.column(PLAN)[0], "drop leftover");
    let old = session.column("SELECT index_oid FROM fact_index_rebuilds");
    assert_eq!(carry_out(session) as i64, 1 + partitions(session));
    assert_eq!(session.number(leftovers), 0);
    assert!(is_complete(session, "again"));
    let still = format!("SELECT count(*) FROM pg_class WHERE oid IN ({})", old.join(", "));
    assert_eq!(session.number(&still), 0, "all are new");
    // An index that is dropped while it is being made takes with it what is not attached yet.
    session.exec("SELECT add_fact_index('{value_int}', index_name => 'given_up')");
    carry_out_one(session);
    session.exec("SELECT drop_fact_index('given_up')");
    assert_eq!(
        session.number("SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%(value_int)%'"),
        0
    );
    assert!(session.column(PLAN).is_empty());
}

#[test]
fn somebody_in_the_way_is_named_and_nobody_waits_behind_us() {
    let mut ready = with_readings();
    let session = &mut ready.session;
    let mut holder = ready.database.connect();
    holder.exec("BEGIN; LOCK TABLE entity_values_ts IN ROW EXCLUSIVE MODE");
    let adding = ready
        .database
        .background_sql("SELECT add_fact_index('{value_num}')");
    // Meanwhile others lock as writers do, and wait for one try at most, never for the holder.
    session.exec("SET lock_timeout = '500ms'");
    for _ in 0..20 {
        session.exec("BEGIN; LOCK TABLE entity_values_ts IN ROW EXCLUSIVE MODE; COMMIT");
    }
    let failure = adding.join().expect_err("somebody is in the way");
    assert_eq!(failure.code, "55P03");
    assert!(
        failure.message.contains(&format!("process {}", holder.pid())),
        "{failure}"
    );
    holder.exec("COMMIT");
    session.exec("SELECT add_fact_index('{value_num}', index_name => 'later')");
    carry_out(session);
    assert!(is_complete(session, "later"));
}

#[test]
fn autovacuum_makes_way_as_it_does_for_everybody() {
    let cluster = Cluster::builder()
        .set("autovacuum_naptime", "1s")
        .set("log_autovacuum_min_duration", "0")
        .start();
    let database = cluster.create_database("vacuumed");
    let mut session = database.install();
    session.exec("SELECT add_fact_index('{value_num}', index_name => 'unwanted')");
    carry_out(&mut session);
    let leaf = session
        .text("SELECT to_char(now() AT TIME ZONE 'UTC', '\"telemetry.entity_values_ts_p\"YYYYMMDD')")
        .replace('"', "");
    let id = attribute(&mut session, "temperature", "number");
    session.exec(&format!(
        "INSERT INTO entity_values_ts (tenant_id, entity_id, attribute_id, value_num)
         SELECT 1, n, {id}, n FROM generate_series(1, 20000) n"
    ));
    // It would take minutes.
    session.exec(&format!(
        "ALTER TABLE {leaf} SET (autovacuum_vacuum_insert_threshold = 1, autovacuum_vacuum_insert_scale_factor = 0,
             autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)"
    ));
    let at_work = format!("SELECT count(*) FROM pg_stat_progress_vacuum WHERE relid = '{leaf}'::regclass");
    eventually(SOON, "autovacuum is there", || match session.number(&at_work) {
        0 => Err(session.rows(
            "SELECT relname, n_ins_since_vacuum FROM pg_stat_user_tables WHERE n_ins_since_vacuum > 0",
        )),
        _ => Ok(()),
    });
    session.exec("SELECT drop_fact_index('unwanted')");
    assert!(!cluster.log().lines_with("canceling autovacuum task").is_empty());
}

#[test]
fn two_at_once_make_one_index() {
    let ready = with_readings();
    let mut session = ready.session;
    let both: Vec<_> = (0..2)
        .map(|_| {
            ready
                .database
                .background_sql("SELECT add_fact_index('{value_num}')")
        })
        .collect();
    let mut outcomes: Vec<Option<String>> = both
        .into_iter()
        .map(|one| one.join().err().map(|failure| failure.code))
        .collect();
    outcomes.sort();
    assert_eq!(outcomes, [None, Some("42710".to_owned())]);
    // Two people with the same plan: what is busy is left to the one who began.
    let statement = session.text("SELECT statement FROM fact_index_plan() LIMIT 1");
    let leaf = session.text("SELECT partition FROM fact_index_plan() LIMIT 1");
    let mut holder = ready.database.connect();
    holder.exec(&format!("BEGIN; LOCK TABLE {leaf} IN ROW EXCLUSIVE MODE"));
    let building = ready.database.background_sql(statement);
    eventually(SOON, "it is busy", || {
        let plan = session.column(PLAN);
        match plan[0].ends_with("(busy)") {
            true => Ok(()),
            false => Err(plan),
        }
    });
    let row = session
        .rows("SELECT working_on, waits_for FROM fact_indexes WHERE NOT is_complete")
        .swap_remove(0);
    assert!(leaf.ends_with(&row[0]), "{row:?}");
    assert_eq!(row[1], format!("process {}", holder.pid()));
    holder.exec("COMMIT");
    building.join().expect("it was only waited for");
    carry_out(&mut session);
    assert_eq!(
        session.number(
            "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                        WHERE c.relkind = 'i' AND pg_get_indexdef(i.indexrelid) LIKE '%(value_num)'"
        ),
        partitions(&mut session)
    );
}

#[test]
fn the_parent_notices_when_the_last_partition_without_it_goes() {
    let mut ready = with_readings();
    let session = &mut ready.session;
    session.exec("SELECT add_fact_index('{value_num}', index_name => 'noticed')");
    let last =
        session.text("SELECT partition FROM fact_index_plan() WHERE action = 'build' OFFSET 5 LIMIT 1");
    for statement in session.column(&format!(
        "SELECT statement FROM fact_index_plan() WHERE partition <> '{last}'"
    )) {
        session.exec(&statement);
    }
    for statement in session.column("SELECT statement FROM fact_index_plan() WHERE action = 'attach'") {
        session.exec(&statement);
    }
    session.exec(&format!("DROP TABLE {last}"));
    assert!(!is_complete(session, "noticed"));
    assert_eq!(session.column(PLAN), ["attach"]);
    carry_out(session);
    assert!(is_complete(session, "noticed"));
}

#[test]
fn the_workers_build_it_while_four_write() {
    let cluster = Cluster::builder()
        .preload()
        .set("log_lock_waits", "on")
        .set("deadlock_timeout", "100ms")
        .start();
    let database = cluster.create_database("indexed");
    let mut session = database.install();
    workers::wait_for_start(&cluster, "indexed");
    let id = attribute(&mut session, "temperature", "number");
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|number: i64| {
            let stop = done.clone();
            database.background(move |session| {
                let mut rounds = 0;
                while !stop.load(Ordering::Relaxed) {
                    let first = (number + 1) * 1_000_000 + rounds * 10;
                    // Through the doors, and straight into facts as applications may.
                    let table = ["entity_values_ingest", "entity_values_ts"][(rounds % 2) as usize];
                    session.exec(&format!(
                        "INSERT INTO telemetry.{table} (tenant_id, entity_id, attribute_id, value_num)
                         SELECT 1, n, {id}, n FROM generate_series({first}, {first} + 9) n"
                    ));
                    rounds += 1;
                }
                rounds * 10
            })
        })
        .collect();
    session.exec("SELECT add_fact_index('{tenant_id,value_num}', where_clause => 'value_num > 0', index_name => 'hot')");
    eventually(SOON, "it is complete", || {
        let row = session.rows("SELECT * FROM fact_indexes WHERE index_name = 'hot'");
        if is_complete(&mut session, "hot") {
            Ok(())
        } else {
            Err(row)
        }
    });
    session.exec("SELECT reindex_facts('hot')");
    eventually(SOON, "it is made anew", || {
        let row = session.rows("SELECT * FROM fact_indexes WHERE index_name = 'hot'");
        if is_complete(&mut session, "hot") {
            Ok(())
        } else {
            Err(row)
        }
    });
    // The janitor is at it again, and steps aside.
    session.exec("SELECT reindex_facts()");
    eventually(3 * SOON, "it is dropped", || {
        session.try_exec("SELECT drop_fact_index('hot')")
    });
    done.store(true, Ordering::Relaxed);
    let written: i64 = writers.into_iter().map(|writer| writer.join()).sum();
    eventually(SOON, "all is stored", || match facts(&mut session) {
        seen if seen == (written, written) => Ok(()),
        seen => Err(seen),
    });
    // Nobody who writes waited for a lock for a tenth of a second, by the server's own records.
    let waits = cluster.log().lines_with("still waiting for RowExclusiveLock");
    assert!(waits.is_empty(), "{waits:#?}");
    assert_eq!(
        session.text("SELECT coalesce(last_error, '') FROM worker_status WHERE task = 'flush'"),
        ""
    );
}

#[test]
fn a_dump_in_the_middle_and_a_standby_go_on_from_there() {
    let primary = Cluster::builder().start();
    let database = primary.create_database("halfway");
    let mut session = database.install();
    let id = attribute(&mut session, "temperature", "number");
    stage(&mut session, "entity_values_ingest_durable", id, 1, 100);
    session.exec("SELECT stage_flush()");
    session.exec("SELECT add_fact_index('{value_num}', index_name => 'half')");
    let all = partitions(&mut session) as usize;
    for _ in 0..3 {
        carry_out_one(&mut session);
    }
    let left = session.column(PLAN);
    assert_eq!(left.len(), all - 1 - 1 + 1, "{left:?}");

    let dump = database.tool("pg_dump", ["-d", "halfway"], "").success();
    let restored = primary.create_database("restored");
    restored.psql(&dump).success();
    let mut copy = restored.connect();
    copy.exec("SET search_path = telemetry, public");
    assert_eq!(copy.column(PLAN).len(), left.len());
    assert!(carry_out(&mut copy) > 0);
    assert!(is_complete(&mut copy, "half"));

    let standby = primary.standby();
    standby.catch_up_with(&primary);
    let mut replica = standby.connect("halfway");
    replica.exec("SET search_path = telemetry, public");
    assert_eq!(replica.column(PLAN), left);
    assert!(!is_complete(&mut replica, "half"));
    for call in [
        "add_fact_index('{entity_id}')",
        "drop_fact_index('half')",
        "reindex_facts()",
    ] {
        let failure = replica.fails_with("25006", &format!("SELECT {call}"));
        assert!(!failure.hint.is_empty(), "{failure}");
    }
    standby.promote();
    assert!(carry_out(&mut replica) > 0);
    assert!(is_complete(&mut replica, "half"));
}

#[test]
fn an_index_that_somebody_began_by_hand_is_finished() {
    let database = shared::database_with_workers();
    let mut session = database.install();
    session.exec(
        "CREATE INDEX by_hand ON ONLY entity_values_ts USING brin (observed_at) WITH (pages_per_range = 16)",
    );
    eventually(SOON, "it is complete", || {
        if is_complete(&mut session, "by_hand") {
            Ok(())
        } else {
            Err(session.rows("SELECT * FROM fact_indexes"))
        }
    });
}
