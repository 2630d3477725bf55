-- Whether WAL reaches the archive, and how much would be lost with this server if it does not. One row.

CREATE VIEW @extschema@.archiver_health AS
    WITH facts AS (
        SELECT a.archived_count, a.last_archived_wal, a.last_archived_time, a.failed_count, a.last_failed_wal, a.last_failed_time,
               current_setting('archive_mode') AS mode, pg_is_in_recovery() AS in_recovery,
               -- pg_monitor may list it; others learn that this is not known.
               CASE WHEN has_function_privilege('pg_ls_archive_statusdir()', 'EXECUTE')
                    THEN (SELECT count(*) FROM pg_ls_archive_statusdir() f WHERE f.name LIKE '%.ready') END AS waiting
        FROM pg_stat_archiver a),
    judged AS (
        SELECT f.*, f.mode = 'always' OR (f.mode = 'on' AND NOT f.in_recovery) AS wanted,
               f.last_failed_time > coalesce(f.last_archived_time, '-infinity') AS failing,
               pg_size_bytes(current_setting('wal_segment_size')) AS segment_bytes
        FROM facts f)
    SELECT mode AS archive_mode, archived_count AS archived_total, last_archived_wal, last_archived_time AS last_archived_at,
           failed_count AS failed_total, last_failed_wal, last_failed_time AS last_failed_at,
           waiting AS waiting_segments, waiting * segment_bytes AS waiting_bytes,
           CASE WHEN wanted AND (waiting > 0 OR failing)
                THEN extract(epoch FROM clock_timestamp() - last_archived_time)::double precision END AS exposed_seconds,
           CASE WHEN NOT wanted THEN 'off' WHEN failing THEN 'failing' WHEN waiting IS NULL THEN 'unknown'
                WHEN waiting > 10 THEN 'behind' ELSE 'ok' END AS verdict,
           CASE WHEN wanted AND failing
                THEN 'read the server log for what archive_command or archive_library said; WAL is kept until it succeeds and fills the disk meanwhile'
                WHEN wanted AND waiting > 10
                THEN 'archiving is slower than WAL is written: look at the archive''s network and disk' END AS remedy
    FROM judged;
COMMENT ON VIEW @extschema@.archiver_health IS 'Whether WAL reaches the archive, and what would be lost with this server';
COMMENT ON COLUMN @extschema@.archiver_health.archive_mode IS 'the setting: off, on or always';
COMMENT ON COLUMN @extschema@.archiver_health.archived_total IS 'segments archived since the statistics were last reset';
COMMENT ON COLUMN @extschema@.archiver_health.last_archived_wal IS 'the last of them';
COMMENT ON COLUMN @extschema@.archiver_health.last_archived_at IS 'when that was; NULL: none since the statistics were reset';
COMMENT ON COLUMN @extschema@.archiver_health.failed_total IS 'attempts that failed since then';
COMMENT ON COLUMN @extschema@.archiver_health.last_failed_wal IS 'the segment that failed last';
COMMENT ON COLUMN @extschema@.archiver_health.last_failed_at IS 'when that was';
COMMENT ON COLUMN @extschema@.archiver_health.waiting_segments IS 'segments that are complete and not archived; NULL: not allowed to know';
COMMENT ON COLUMN @extschema@.archiver_health.waiting_bytes IS 'their size';
COMMENT ON COLUMN @extschema@.archiver_health.exposed_seconds IS
    'how far back the archive ends while something waits for it; NULL: nothing waits, or nothing was archived yet';
COMMENT ON COLUMN @extschema@.archiver_health.verdict IS 'off, ok, behind (more than ten segments wait), failing (the last attempt failed) or unknown';
COMMENT ON COLUMN @extschema@.archiver_health.remedy IS 'what to do';
GRANT SELECT ON @extschema@.archiver_health TO telemetry_admin, pg_monitor;
