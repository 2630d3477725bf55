//! What is kept of rejected readings is bounded by age and by size, and there is an overview of it.

use std::time::Duration;

use cluster_tests::readings::{DOORS, Ready, facts, ready, stage};
use cluster_tests::{Cluster, NULL, SOON, Session, eventually, within};

/// A partition of an earlier day, with rows.
fn add_past_day(session: &mut Session, days_ago: i64, rows: i64) {
    session.exec(&format!(
        "DO $$
         DECLARE
             day timestamp := date_trunc('day', now() AT TIME ZONE 'UTC') - {days_ago} * interval '1 day';
             child text := 'telemetry.past_{days_ago}';
         BEGIN
             EXECUTE format('CREATE TABLE %s (LIKE entity_values_rejected INCLUDING DEFAULTS)', child);
             EXECUTE format('ALTER TABLE %s OWNER TO telemetry_owner', child);
             EXECUTE format('ALTER TABLE entity_values_rejected ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
                            child, day || '+00', day + interval '1 day' || '+00');
             EXECUTE format('INSERT INTO %s SELECT %L, 1, n, now(), NULL, 1, NULL, 7, NULL, true, ''42704'', ''x''
                             FROM generate_series(1, {rows}) n', child, day || '+00');
         END $$;
         ANALYZE past_{days_ago}"
    ));
}

fn trim(session: &mut Session) -> Vec<String> {
    session.rows("SELECT * FROM trim_rejected()").swap_remove(0)
}

fn rejected(session: &mut Session) -> i64 {
    session.number("SELECT count(*) FROM entity_values_rejected")
}

fn size(session: &mut Session) -> i64 {
    session.number(
        "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits
         WHERE inhparent = 'entity_values_rejected'::regclass",
    )
}

#[test]
fn partitions_that_are_too_old_are_dropped_whole() {
    let Ready { mut session, .. } = ready();
    for (days, rows) in [(40, 100), (31, 200), (30, 300), (1, 400)] {
        add_past_day(&mut session, days, rows);
    }
    stage(&mut session, DOORS[0], 0, 1, 10);
    session.exec("SELECT stage_flush()");
    assert_eq!(trim(&mut session), ["2", "300", NULL]);
    assert_eq!(rejected(&mut session), 710);
    assert_eq!(
        session.rows("SELECT cause, rows, partitions, bytes > 0 FROM rejected_removed"),
        [["age", "300", "2", "t"]]
    );
    assert_eq!(trim(&mut session), ["0", "0", NULL]);
}

#[test]
fn days_are_those_of_utc_whatever_the_session_says() {
    for zone in ["Pacific/Kiritimati", "Etc/GMT+12"] {
        let Ready { mut session, .. } = ready();
        session.exec(&format!("SET TimeZone = '{zone}'"));
        add_past_day(&mut session, 30, 5);
        add_past_day(&mut session, 31, 7);
        assert_eq!(trim(&mut session), ["1", "7", NULL], "{zone}");
    }
}

#[test]
fn a_reader_delays_the_drop_and_no_writer_waits_for_it() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    add_past_day(&mut session, 40, 100);
    let mut reader = database.connect();
    reader.exec("BEGIN; SELECT count(*) FROM entity_values_rejected");
    let trimmed = within(Duration::from_secs(2), "a trim that cannot have its lock", || {
        trim(&mut session)
    });
    assert_eq!(trimmed[..2], ["0", "0"]);
    assert!(
        trimmed[2].contains("55P03") && trimmed[2].contains("past_40"),
        "{trimmed:?}"
    );

    // A flush that rejects, while somebody keeps trying.
    let mut trimmer = database.connect();
    let trying = std::thread::spawn(move || {
        for _ in 0..20 {
            trim(&mut trimmer);
        }
    });
    for _ in 0..20 {
        stage(&mut session, DOORS[0], temperature, 1, 1);
        stage(&mut session, DOORS[0], 0, 1, 1);
        within(Duration::from_millis(500), "a flush beside a trim", || {
            session.exec("SELECT stage_flush()");
        });
    }
    trying.join().expect("trims do not fail");
    reader.exec("COMMIT");
    assert_eq!(trim(&mut session), ["1", "100", NULL]);
    assert_eq!(facts(&mut session).0, 20);
    assert_eq!(rejected(&mut session), 20);
}

/// One cluster for what depends on settings.
fn with_cap(megabytes: i32, preload: bool) -> (cluster_tests::Database, Session) {
    let mut builder = Cluster::builder().set("pg_telemetry.rejected_max_size", format!("{megabytes}MB"));
    if preload {
        builder = builder.preload();
    }
    let database = builder.start().create_database("capped");
    let session = database.install();
    (database, session)
}

#[test]
fn past_days_go_first_when_all_is_too_large() {
    let (_database, mut session) = with_cap(2, false);
    add_past_day(&mut session, 3, 10_000);
    add_past_day(&mut session, 2, 10_000);
    stage(&mut session, DOORS[0], 0, 1, 5_000);
    session.exec("SELECT stage_flush()");
    assert!(size(&mut session) > 2 << 20);
    assert_eq!(trim(&mut session), ["1", "10000", NULL]);
    assert!(size(&mut session) <= 2 << 20);
    assert_eq!(rejected(&mut session), 15_000);
    assert_eq!(
        session.rows("SELECT cause, rows, partitions FROM rejected_removed"),
        [["size", "10000", "1"]]
    );
}

#[test]
fn a_storm_stays_below_the_cap_and_what_comes_between_two_runs() {
    const MEGABYTE: i64 = 1 << 20;
    let (_database, mut session) = with_cap(4, false);
    let mut sent = 0;
    let mut between = 0;
    for round in 0..30 {
        let before = size(&mut session);
        stage(
            &mut session,
            DOORS[1],
            0,
            round * 10_000 + 1,
            (round + 1) * 10_000,
        );
        session.exec("SELECT stage_flush()");
        between = between.max(size(&mut session) - before);
        sent += 10_000;
        trim(&mut session);
        session.exec("VACUUM (TRUNCATE false) entity_values_rejected");
        let now = size(&mut session);
        assert!(
            now <= 4 * MEGABYTE + between,
            "round {round}: {now} bytes, {between} in a round"
        );
        let removed = session.number("SELECT coalesce(sum(rows), 0) FROM rejected_removed");
        assert_eq!(
            rejected(&mut session) + removed,
            sent,
            "every row is counted once"
        );
    }
    // Of the last rows none is missing, and of what is kept none is older than what was removed.
    let kept = rejected(&mut session);
    assert!(kept > 15_000, "{kept} rows are kept");
    assert_eq!(
        session.number(&format!(
            "SELECT count(*) FROM entity_values_rejected WHERE entity_id > {}",
            sent - 10_000
        )),
        10_000
    );
    let oldest = session.number("SELECT min(entity_id) FROM entity_values_rejected");
    assert!(
        oldest > sent - kept - 20_000,
        "{oldest} is still there, of {sent} the last {kept} should be"
    );
}

#[test]
fn the_keeper_bounds_a_storm_and_the_janitor_makes_room() {
    let (database, mut session) = with_cap(2, true);
    for round in 0..4 {
        stage(
            &mut session,
            DOORS[1],
            0,
            round * 20_000 + 1,
            (round + 1) * 20_000,
        );
    }
    eventually(SOON, "all are judged", || {
        match session.number("SELECT count(*) FROM entity_values_ingest_durable") {
            0 => Ok(()),
            rows => Err(rows),
        }
    });
    // The keeper comes every ten seconds.
    eventually(SOON * 2, "the oldest are removed", || {
        let removed = session.number("SELECT coalesce(sum(rows), 0) FROM rejected_removed");
        let kept = rejected(&mut session);
        if removed + kept == 80_000 && kept < 20_000 {
            Ok(())
        } else {
            Err((removed, kept))
        }
    });
    let vacuums = "SELECT runs_total FROM worker_status WHERE task = 'vacuum_rejected'";
    eventually(SOON, "the janitor vacuums", || {
        match session.text(vacuums).as_str() {
            "0" | NULL => Err(()),
            _ => Ok(()),
        }
    });
    let full = size(&mut session);
    stage(&mut session, DOORS[1], 0, 1, 4_000);
    eventually(SOON, "more are judged", || match rejected(&mut session) {
        rows if rows >= 4_000 && session.number("SELECT count(*) FROM entity_values_ingest_durable") == 0 => {
            Ok(())
        }
        rows => Err(rows),
    });
    assert!(size(&mut session) <= full + 65_536, "the room is used again");
    drop(database);
}

#[test]
fn rows_that_somebody_holds_are_left_alone() {
    let (database, mut session) = with_cap(1, false);
    stage(&mut session, DOORS[0], 0, 1, 30_000);
    session.exec("SELECT stage_flush()");
    let mut holder = database.connect();
    holder.exec("BEGIN; SELECT retry_rejected('{\"entity_id\": 1}')");
    let trimmed = within(Duration::from_secs(5), "a trim beside a retry", || {
        trim(&mut session)
    });
    assert!(trimmed[2].contains("55P03"), "{trimmed:?}");
    holder.exec("COMMIT");
    let removed = session.number("SELECT sum(rows) FROM rejected_removed");
    assert!(removed > 15_000, "{removed}");
    assert_eq!(rejected(&mut session) + removed, 29_999);
}

#[test]
fn minus_one_keeps_everything() {
    let (database, mut session) = with_cap(1, false);
    for setting in ["rejected_max_size", "rejected_keep"] {
        database
            .cluster()
            .set_and_reload(&format!("pg_telemetry.{setting}"), -1);
    }
    add_past_day(&mut session, 4000, 20_000);
    assert_eq!(trim(&mut session), ["0", "0", NULL]);
    assert_eq!(rejected(&mut session), 20_000);
}

#[test]
fn the_summary_counts_by_reason_and_estimates_what_is_large() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    stage(&mut session, DOORS[0], 0, 1, 30);
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_text) VALUES (1, 1, {temperature}, 'x'),
             (NULL, 1, 1, 'x')"
    ));
    session.exec("SELECT stage_flush()");
    let summary = "SELECT tenant_id, sqlstate, rows, bytes > 80 * rows, first_at = last_at, is_estimate,
                          day = (now() AT TIME ZONE 'UTC')::date
                   FROM rejected_summary ORDER BY sqlstate";
    assert_eq!(
        session.rows(summary),
        [
            [NULL, "23502", "1", "t", "t", "f", "t"],
            ["1", "42704", "30", "t", "t", "f", "t"],
            ["1", "42804", "1", "t", "t", "f", "t"]
        ]
    );
    add_past_day(&mut session, 1, 1_000_000);
    let rows = session.rows("SELECT rows, is_estimate FROM rejected_summary WHERE reason = 'x'");
    let estimate: i64 = rows[0][0].parse().expect("a number");
    assert_eq!(rows[0][1], "t");
    assert!((850_000..1_150_000).contains(&estimate), "{estimate}");
}
