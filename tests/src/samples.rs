//! Samples as a test takes and reads them.

use crate::session::Session;

/// Takes all samples, with the statistics of what this session did before.
#[track_caller]
pub fn sample(session: &mut Session) {
    session.exec("SELECT pg_stat_force_next_flush()");
    session.exec("SELECT 1");
    session.exec("SELECT telemetry.take_samples()");
}

/// What the last run said of a source.
#[track_caller]
pub fn state(session: &mut Session, source: &str) -> String {
    session.text(&format!(
        "SELECT state FROM telemetry.sample_runs WHERE source = '{source}' ORDER BY sampled_at DESC LIMIT 1"
    ))
}

/// That no sample says less than nothing, or more than can have been, that none is there twice, and that no time counts twice.
#[track_caller]
pub fn nothing_absurd(session: &mut Session) {
    for (table, figures) in [
        (
            "relation_samples",
            "least(blocks_hit, blocks_read, scans, rows_read, rows_fetched, rows_inserted, rows_updated, rows_hot_updated, rows_deleted)",
        ),
        (
            "statement_samples",
            "least(exec_ms, exec_ms_squared, calls, rows, blocks_hit, blocks_read, temp_bytes, wal_bytes)",
        ),
        (
            "server_samples",
            "least(wal_bytes, wal_records, checkpoints_timed, checkpoints_requested, checkpoint_write_ms, buffers_written, commits, blocks_hit, rows_inserted)",
        ),
    ] {
        let rows = session.rows(&format!("SELECT * FROM telemetry.{table} WHERE {figures} < 0"));
        assert!(rows.is_empty(), "{table}: {rows:?}");
    }
    assert!(
        session.is_true("SELECT coalesce(max(rows_inserted), 0) <= 100000 FROM telemetry.relation_samples")
    );
    for (table, key) in [
        ("sample_runs", "sampled_at, source"),
        ("relation_samples", "sampled_at, relation_oid"),
        ("statement_samples", "sampled_at, queryid, user_oid, toplevel"),
        ("server_samples", "sampled_at"),
        ("size_samples", "sampled_at, relation"),
        ("tenant_samples", "sampled_at, relation_oid, place, tenant_id"),
    ] {
        let twice = session.rows(&format!(
            "SELECT {key}, count(*) FROM telemetry.{table} GROUP BY {key} HAVING count(*) > 1"
        ));
        assert!(twice.is_empty(), "{table}: {twice:?}");
    }
    let overlapping = session.rows(
        "SELECT * FROM (SELECT source, covers_from, sampled_at,
                               lag(sampled_at) OVER (PARTITION BY source ORDER BY sampled_at) AS before
                        FROM telemetry.sample_runs WHERE state IN ('sampled', 'began')) AS r
         WHERE covers_from < before",
    );
    assert!(overlapping.is_empty(), "{overlapping:?}");
}

/// A partition of a table of samples for a day so many days ago.
#[track_caller]
pub fn old_day(session: &mut Session, table: &str, ago: i64) {
    session.exec(&format!(
        "DO $$ DECLARE day date := (now() AT TIME ZONE 'UTC')::date - {ago}; BEGIN
             EXECUTE format('CREATE TABLE telemetry.{table}_old{ago} PARTITION OF telemetry.{table} FOR VALUES FROM (%L) TO (%L)',
                            day || ' 00:00+00', day + 1 || ' 00:00+00');
             EXECUTE 'ALTER TABLE telemetry.{table}_old{ago} OWNER TO telemetry_owner';
         END $$"
    ));
}
