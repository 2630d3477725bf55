//! What the views say of the server around the extension: each condition is made, seen, and gone again.

use std::time::Duration;

use cluster_tests::{Cluster, NULL, SOON, Session, eventually, shared, within};

/// All of them, as they are named.
const VIEWS: &[&str] = &[
    "xmin_horizon",
    "blocking",
    "connection_saturation",
    "wraparound",
    "autovacuum_lag",
    "sequences_health",
    "settings_pending",
    "archiver_health",
    "hot_updates",
    "wal_activity",
    "checkpoint_activity",
];

/// The statistics of what the session has done, for all to see.
fn publish_statistics(session: &mut Session) {
    session.exec("SELECT pg_stat_force_next_flush()");
    session.exec("SELECT 1");
}

#[test]
fn everybody_who_holds_the_horizon_back_is_named_with_a_remedy() {
    let cluster = Cluster::builder()
        .set("max_prepared_transactions", 5)
        .set("wal_level", "logical")
        .start();
    let database = cluster.create_database("horizon");
    let mut session = database.install();
    session.exec("CREATE TABLE written (n integer)");
    let found = "SELECT kind, holder, is_oldest FROM xmin_horizon ORDER BY kind, held_since_at";
    assert!(session.rows(found).is_empty());

    // Before the others: it waits until those who run now have ended.
    session.exec("SELECT pg_create_logical_replication_slot('behind', 'pgoutput')");
    let mut idle = database.connect();
    session.exec("INSERT INTO written VALUES (0)");
    idle.exec("SET application_name = 'forgotten'; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM written");
    let idle_pid = idle.pid();
    session.exec("BEGIN; INSERT INTO written VALUES (1); PREPARE TRANSACTION 'it''s left'");
    for _ in 0..3 {
        session.exec("INSERT INTO written VALUES (2)");
    }
    assert_eq!(
        session.rows(found),
        [
            ["idle transaction", "forgotten", "f"],
            ["prepared transaction", "it's left", "f"],
            ["slot", "behind", "t"]
        ]
        .map(|row| row.map(str::to_owned).to_vec())
    );
    let ages = session.rows("SELECT xid_age, catalog_xid_age FROM xmin_horizon WHERE kind = 'slot'");
    assert_eq!(ages[0][0], NULL, "a logical slot holds the catalogs: {ages:?}");
    assert!(session.is_true("SELECT bool_and(held_seconds >= 0 OR kind = 'slot') FROM xmin_horizon"));

    assert_eq!(
        session.text("SELECT remedy FROM xmin_horizon WHERE kind = 'idle transaction'"),
        format!("SELECT pg_terminate_backend({idle_pid});")
    );
    assert_eq!(
        session.text("SELECT remedy FROM xmin_horizon WHERE kind = 'prepared transaction'"),
        "COMMIT PREPARED 'it''s left'; or ROLLBACK PREPARED 'it''s left'; in database horizon"
    );
    for kind in ["idle transaction", "slot"] {
        let remedy = session.text(&format!("SELECT remedy FROM xmin_horizon WHERE kind = '{kind}'"));
        session.exec(remedy.split(": ").last().expect("a statement"));
    }
    session.exec("ROLLBACK PREPARED 'it''s left'");
    eventually(SOON, "nobody holds it any more", || match session.rows(found) {
        rows if rows.is_empty() => Ok(()),
        rows => Err(rows),
    });
}

#[test]
fn whoever_blocks_is_found_behind_those_who_wait() {
    let database = shared::database();
    let mut session = database.install();
    session.exec("CREATE TABLE public.wanted (n integer)");
    assert!(session.rows("SELECT * FROM blocking").is_empty());
    let mut root = database.connect();
    root.exec("SET application_name = 'the root'; BEGIN; LOCK TABLE public.wanted IN ACCESS SHARE MODE");
    let second = database.background_sql("BEGIN; LOCK TABLE public.wanted IN ACCESS EXCLUSIVE MODE; COMMIT");
    let waiting = |session: &mut Session, count: i64| {
        eventually(SOON, "somebody waits", || {
            match session.number("SELECT count(*) FROM blocking") {
                found if found == count => Ok(()),
                found => Err(found),
            }
        });
    };
    waiting(&mut session, 1);
    let third = database.background_sql("SELECT count(*) FROM public.wanted");
    waiting(&mut session, 2);
    let rows = session.rows(&format!(
        "SELECT blocked_pid = {}, root_pid = {}, depth, relation, root_application, root_state, waited_seconds >= 0, remedy
         FROM blocking ORDER BY depth",
        second.pid(),
        root.pid()
    ));
    let remedy = format!("SELECT pg_terminate_backend({});", root.pid());
    let expected = |blocked: &str, depth: &str| {
        [
            blocked,
            "t",
            depth,
            "public.wanted",
            "the root",
            "idle in transaction",
            "t",
            &remedy,
        ]
        .map(str::to_owned)
        .to_vec()
    };
    assert_eq!(rows, [expected("t", "1"), expected("f", "2")]);
    session.exec(&remedy);
    second.join().expect("the way is free");
    third.join().expect("the way is free");
    assert!(session.rows("SELECT * FROM blocking").is_empty());
}

#[test]
fn a_prepared_transaction_that_blocks_is_a_root_without_a_process() {
    let cluster = Cluster::builder().set("max_prepared_transactions", 5).start();
    let database = cluster.create_database("prepared");
    let mut session = database.install();
    session.exec("CREATE TABLE public.wanted (n integer)");
    session.exec("BEGIN; LOCK TABLE public.wanted IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION 'left'");
    let waits = database.background_sql("SELECT count(*) FROM public.wanted");
    let row = eventually(SOON, "somebody waits", || {
        let mut rows = session.rows("SELECT root_pid, root_state, depth FROM blocking");
        rows.pop().ok_or("nobody")
    });
    assert_eq!(row, [NULL, "prepared transaction", "1"]);
    session.exec("ROLLBACK PREPARED 'left'");
    waits.join().expect("the way is free");
}

#[test]
fn connections_are_counted_against_the_limit_they_meet() {
    let cluster = Cluster::builder()
        .set("max_connections", 20)
        .set("superuser_reserved_connections", 4)
        .start();
    let database = cluster.create_database("limited");
    let mut session = database.install();
    session.exec("ALTER DATABASE limited CONNECTION LIMIT 10");
    let login = database.create_login(None);
    session.exec(&format!("ALTER ROLE {login} CONNECTION LIMIT 2"));
    let mut idle = database.connect_as(&login);
    idle.exec("BEGIN; SELECT 1");
    let rows = session.rows(
        "SELECT scope, usable_connections, used_connections, round(used_ratio::numeric, 3), active_connections,
                idle_in_transaction_connections, lock_waiting_connections, oldest_idle_in_transaction_seconds >= 0
         FROM connection_saturation ORDER BY scope",
    );
    assert_eq!(
        rows,
        [
            ["database", "10", "2", "0.200", "1", "1", "0", "t"],
            ["role", "2", "1", "0.500", "0", "1", "0", "t"],
            ["server", "16", "2", "0.125", "1", "1", "0", "t"]
        ]
        .map(|row| row.map(str::to_owned).to_vec())
    );
}

#[test]
fn ages_are_those_of_the_catalog() {
    let database = shared::database();
    let mut session = database.install();
    let row = session
        .rows(&format!(
            "SELECT v.xid_age - age(d.datfrozenxid) BETWEEN -100 AND 100, v.xid_used_ratio BETWEEN 0 AND 0.01,
                    v.xid_freeze_ratio = v.xid_age / 200000000.0, v.multixact_age >= 0
             FROM wraparound v JOIN pg_database d ON d.datname = v.name
             WHERE v.scope = 'database' AND v.name = '{}'",
            database.name()
        ))
        .swap_remove(0);
    assert_eq!(row, ["t", "t", "t", "t"]);
    assert_eq!(
        session.number("SELECT count(*) FROM wraparound WHERE scope = 'table'"),
        20
    );
    session.exec("CREATE TABLE public.\"Fresh \"\"one\" (n integer)");
    assert_eq!(
        session.number("SELECT count(*) FROM wraparound WHERE name LIKE '%Fresh%'"),
        0,
        "it is younger than those of the catalog"
    );
}

#[test]
fn a_table_that_autovacuum_leaves_alone_is_seen_and_vacuum_helps() {
    let database = shared::database();
    let mut session = database.install();
    session.exec(
        "CREATE TABLE public.churned (n integer) WITH (autovacuum_enabled = off, autovacuum_vacuum_scale_factor = 0.1);
         INSERT INTO public.churned SELECT generate_series(1, 1000)",
    );
    session.exec("ANALYZE public.churned");
    session.exec("UPDATE public.churned SET n = n + 1");
    publish_statistics(&mut session);
    let row = session
        .rows(
            "SELECT is_enabled, dead_rows, dead_rows_allowed, dead_ratio > 6, analyze_ratio > 6, remedy
             FROM autovacuum_lag WHERE table_name = 'churned'",
        )
        .swap_remove(0);
    assert_eq!(
        row,
        [
            "f",
            "1000",
            "150",
            "t",
            "t",
            "autovacuum is off: VACUUM public.churned; or ALTER TABLE public.churned RESET (autovacuum_enabled);"
        ]
    );
    session.exec("VACUUM (ANALYZE) public.churned");
    publish_statistics(&mut session);
    assert_eq!(
        session.number("SELECT count(*) FROM autovacuum_lag WHERE table_name = 'churned'"),
        0
    );
}

#[test]
fn a_sequence_ends_where_its_column_does() {
    let database = shared::database();
    let mut session = database.install();
    session.exec(
        "CREATE SEQUENCE public.wide AS bigint;
         CREATE TABLE public.narrow (id integer DEFAULT nextval('public.wide'), n integer GENERATED ALWAYS AS IDENTITY);
         ALTER SEQUENCE public.wide OWNED BY public.narrow.id;
         SELECT setval('public.wide', 2040109466);
         CREATE SEQUENCE public.down INCREMENT -1 MINVALUE -100 MAXVALUE 0 START 0;
         SELECT setval('public.down', -90);
         CREATE SEQUENCE public.round MAXVALUE 10 CYCLE;
         SELECT setval('public.round', 10)",
    );
    let of = |name: &str| {
        format!(
            "SELECT last_value, end_value, round(used_ratio::numeric, 2), remedy FROM sequences_health
             WHERE schema_name = 'public' AND sequence_name = '{name}'"
        )
    };
    assert_eq!(
        session.rows(&of("wide")),
        [[
            "2040109466",
            "2147483647",
            "0.95",
            "ALTER TABLE public.narrow ALTER COLUMN id TYPE bigint; rewrites and locks the table: plan it"
        ]]
    );
    assert_eq!(
        session.rows(&of("down")),
        [[
            "-90",
            "-100",
            "0.90",
            "ALTER SEQUENCE public.down AS bigint NO MAXVALUE;"
        ]]
    );
    assert_eq!(session.rows(&of("round")), [["10", "10", "1.00", NULL]]);
    assert_eq!(
        session.rows(&of("narrow_n_seq")),
        [[NULL, "2147483647", NULL, NULL]],
        "nothing was taken from it yet"
    );

    // Not allowed to read it, and locked: not known, and nobody waits.
    let monitor = database.create_login(Some("pg_monitor"));
    assert_eq!(
        database
            .connect_as(&monitor)
            .rows(&of("down").replace("sequences_health", "telemetry.sequences_health")),
        [[NULL, "-100", NULL, NULL]]
    );
    let mut locker = database.connect();
    locker.exec("BEGIN; ALTER SEQUENCE public.down RESTART");
    session.exec("SET lock_timeout = '1s'");
    assert_eq!(session.rows(&of("down")), [[NULL, "-100", NULL, NULL]]);
}

#[test]
fn a_setting_that_waits_for_a_restart_is_shown() {
    let cluster = Cluster::builder().set("max_connections", 30).start();
    let database = cluster.create_database("settings");
    let mut session = database.install();
    assert!(session.rows("SELECT * FROM settings_pending").is_empty());
    cluster.set("max_connections", 31);
    cluster.reload();
    eventually(SOON, "the change is noticed", || {
        match session.rows("SELECT name, value_now, noticed_seconds >= 0 FROM settings_pending") {
            rows if rows.is_empty() => Err("not yet"),
            rows => {
                assert_eq!(rows, [["max_connections", "30", "t"]]);
                Ok(())
            }
        }
    });
}

#[test]
fn an_archive_that_refuses_is_failing_until_it_takes_again() {
    let cluster = Cluster::builder()
        .set("archive_mode", "on")
        .set("archive_command", "true")
        .start();
    let database = cluster.create_database("archived");
    let mut session = database.install();
    let verdict = |session: &mut Session, wanted: &str| {
        eventually(Duration::from_secs(30), wanted, || {
            match session.text("SELECT verdict FROM archiver_health") {
                found if found == wanted => Ok(()),
                found => Err(found),
            }
        });
    };
    let switch = "CREATE TABLE IF NOT EXISTS public.wal (n integer); INSERT INTO public.wal VALUES (1); SELECT pg_switch_wal()";
    session.exec(switch);
    eventually(SOON, "a segment is archived", || {
        match session.is_true("SELECT archived_total > 0 FROM archiver_health") {
            true => Ok(()),
            false => Err(()),
        }
    });
    verdict(&mut session, "ok");
    cluster.set_and_reload("archive_command", "'false'");
    session.exec(switch);
    verdict(&mut session, "failing");
    let row = session
        .rows(
            "SELECT waiting_segments > 0, waiting_bytes >= 16777216, exposed_seconds >= 0, failed_total > 0, remedy IS NOT NULL
             FROM archiver_health",
        )
        .swap_remove(0);
    assert_eq!(row, ["t", "t", "t", "t", "t"]);
    cluster.set_and_reload("archive_command", "'true'");
    verdict(&mut session, "ok");
    assert_eq!(
        session.rows("SELECT waiting_segments, exposed_seconds, remedy FROM archiver_health"),
        [["0", NULL, NULL]]
    );
}

#[test]
fn updates_that_touch_an_index_are_told_from_those_that_do_not() {
    let database = shared::database();
    let mut session = database.install();
    session.exec(
        "CREATE TABLE public.hot (id integer PRIMARY KEY, n integer) WITH (fillfactor = 10);
         CREATE TABLE public.cold (id integer PRIMARY KEY, n integer);
         CREATE INDEX changes ON public.cold (n);
         INSERT INTO public.hot SELECT i, i FROM generate_series(1, 100) i;
         INSERT INTO public.cold SELECT i, i FROM generate_series(1, 100) i",
    );
    session.exec("UPDATE public.hot SET n = n + 1; UPDATE public.cold SET n = n + 1");
    publish_statistics(&mut session);
    assert_eq!(
        session.rows(
            "SELECT table_name, updates_total, hot_ratio, fillfactor, other_indexes FROM hot_updates
             WHERE schema_name = 'public' ORDER BY table_name"
        ),
        [
            ["cold", "100", "0", "100", "{changes}"],
            ["hot", "100", "1", "10", NULL]
        ]
        .map(|row| row.map(str::to_owned).to_vec())
    );
}

#[test]
fn wal_and_checkpoints_are_counted() {
    let cluster = Cluster::builder().start();
    let database = cluster.create_database("wal");
    let mut session = database.install();
    let before = session.number("SELECT bytes_total FROM wal_activity");
    let checkpoints = session.number("SELECT requested_total FROM checkpoint_activity");
    session.exec("CREATE TABLE public.filled AS SELECT generate_series(1, 10000) AS n");
    publish_statistics(&mut session);
    assert!(session.number("SELECT bytes_total FROM wal_activity") > before + 100_000);
    assert!(session.is_true(
        "SELECT bytes_since_checkpoint > 100000 AND directory_bytes >= 16777216 AND segments >= 1 FROM wal_activity"
    ));
    session.exec("CHECKPOINT");
    assert!(session.is_true(
        "SELECT bytes_since_checkpoint < 100000 AND last_checkpoint_seconds < 60 FROM wal_activity"
    ));
    eventually(SOON, "the checkpoint is counted", || {
        match session.number("SELECT requested_total FROM checkpoint_activity") {
            found if found > checkpoints => Ok(()),
            found => Err(found),
        }
    });
}

/// By a member of pg_monitor, on a primary and on a standby, while somebody has locked everything there is.
#[test]
fn every_view_answers_whatever_is_locked_and_wherever_it_is_asked() {
    let primary = Cluster::builder().preload().start();
    let database = primary.create_database("watched");
    let mut session = database.install();
    session.exec("CREATE TABLE public.locked (id serial PRIMARY KEY)");
    session.exec("INSERT INTO public.locked DEFAULT VALUES");
    let monitor = database.create_login(Some("pg_monitor"));
    let standby = primary.standby();
    standby.catch_up_with(&primary);
    let mut locker = database.connect();
    locker.exec(
        "BEGIN; LOCK TABLE public.locked, telemetry.entity_values_ts, telemetry.entity_values_ingest,
         telemetry.flush_history, telemetry.attributes IN ACCESS EXCLUSIVE MODE;
         ALTER SEQUENCE public.locked_id_seq RESTART",
    );
    for (node, cluster) in [("primary", &primary), ("standby", &standby)] {
        let mut watcher = cluster.connect_as(&monitor, "watched");
        watcher.exec("SET statement_timeout = '20s'");
        for view in VIEWS {
            within(SOON, &format!("{view} on the {node}"), || {
                watcher.exec(&format!("SELECT v::text FROM telemetry.{view} v"));
            });
        }
    }
}
