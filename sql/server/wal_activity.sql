-- How much WAL this server writes and keeps. One row; works on any node.

CREATE VIEW @extschema@.wal_activity AS
    SELECT w.wal_records AS records_total, w.wal_fpi AS full_page_images_total, w.wal_bytes::bigint AS bytes_total,
           w.wal_buffers_full AS buffers_full_total, w.stats_reset AS counted_since_at,
           d.directory_bytes, d.segments,
           pg_size_bytes(current_setting('max_wal_size')) AS max_wal_size_bytes,
           position.lsn AS current_position,
           c.checkpoint_time AS last_checkpoint_at,
           extract(epoch FROM clock_timestamp() - c.checkpoint_time)::double precision AS last_checkpoint_seconds,
           pg_wal_lsn_diff(position.lsn, c.redo_lsn)::bigint AS bytes_since_checkpoint
    FROM pg_stat_wal w
    CROSS JOIN pg_control_checkpoint() c
    CROSS JOIN LATERAL (
        SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS lsn) position
    CROSS JOIN LATERAL (
        SELECT CASE WHEN has_function_privilege('pg_ls_waldir()', 'EXECUTE')
                    THEN (SELECT sum(f.size)::bigint FROM pg_ls_waldir() f) END AS directory_bytes,
               CASE WHEN has_function_privilege('pg_ls_waldir()', 'EXECUTE')
                    THEN (SELECT count(*) FROM pg_ls_waldir() f) END AS segments) d;
COMMENT ON VIEW @extschema@.wal_activity IS 'WAL of this server: what was written since the statistics were reset, what is kept, how far it is from a checkpoint';
COMMENT ON COLUMN @extschema@.wal_activity.records_total IS 'records of WAL; a standby writes none';
COMMENT ON COLUMN @extschema@.wal_activity.full_page_images_total IS 'whole pages among them: each page once after a checkpoint';
COMMENT ON COLUMN @extschema@.wal_activity.bytes_total IS 'bytes of WAL';
COMMENT ON COLUMN @extschema@.wal_activity.buffers_full_total IS 'times that somebody had to write because wal_buffers were full: many mean that they are too small';
COMMENT ON COLUMN @extschema@.wal_activity.counted_since_at IS 'since when these are counted; a crash starts anew and leaves NULL or its own time';
COMMENT ON COLUMN @extschema@.wal_activity.directory_bytes IS 'size of pg_wal; NULL: not allowed to know';
COMMENT ON COLUMN @extschema@.wal_activity.segments IS 'files in it';
COMMENT ON COLUMN @extschema@.wal_activity.max_wal_size_bytes IS 'the setting: a checkpoint comes before more is written than this; slots and archiving may keep more';
COMMENT ON COLUMN @extschema@.wal_activity.current_position IS 'where it ends; on a standby what is replayed';
COMMENT ON COLUMN @extschema@.wal_activity.last_checkpoint_at IS 'when the last checkpoint, or restart point, was';
COMMENT ON COLUMN @extschema@.wal_activity.last_checkpoint_seconds IS 'how long ago that is';
COMMENT ON COLUMN @extschema@.wal_activity.bytes_since_checkpoint IS 'what a crash now would have to replay';
GRANT SELECT ON @extschema@.wal_activity TO telemetry_admin, pg_monitor;
