-- Checkpoints. The server keeps these figures in other places from PostgreSQL 17 on, so a function reads them. One row.

CREATE FUNCTION @extschema@.checkpoint_activity_rows(
        OUT timed_total bigint, OUT requested_total bigint, OUT write_ms_total double precision, OUT sync_ms_total double precision,
        OUT buffers_written_total bigint, OUT counted_since_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'checkpoint_activity_rows_wrapper';
COMMENT ON FUNCTION @extschema@.checkpoint_activity_rows() IS 'The row of the view checkpoint_activity';
REVOKE ALL ON FUNCTION @extschema@.checkpoint_activity_rows() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.checkpoint_activity_rows() TO telemetry_admin, pg_monitor;

CREATE VIEW @extschema@.checkpoint_activity AS
    SELECT timed_total, requested_total, requested_total::double precision / nullif(timed_total + requested_total, 0) AS requested_ratio,
           write_ms_total, sync_ms_total, buffers_written_total, counted_since_at,
           CASE WHEN requested_total > 10 AND requested_total > timed_total
                THEN 'WAL fills up before the time is over: raise max_wal_size' END AS remedy
    FROM @extschema@.checkpoint_activity_rows();
COMMENT ON VIEW @extschema@.checkpoint_activity IS 'Checkpoints since the statistics were last reset, and whether WAL forces them';
COMMENT ON COLUMN @extschema@.checkpoint_activity.timed_total IS 'checkpoints that came because checkpoint_timeout was over';
COMMENT ON COLUMN @extschema@.checkpoint_activity.requested_total IS 'checkpoints that came for another reason: max_wal_size was reached, or somebody asked';
COMMENT ON COLUMN @extschema@.checkpoint_activity.requested_ratio IS 'their share: well below a half is good';
COMMENT ON COLUMN @extschema@.checkpoint_activity.write_ms_total IS 'time spent in writing pages';
COMMENT ON COLUMN @extschema@.checkpoint_activity.sync_ms_total IS 'time spent in fsync';
COMMENT ON COLUMN @extschema@.checkpoint_activity.buffers_written_total IS 'pages written';
COMMENT ON COLUMN @extschema@.checkpoint_activity.counted_since_at IS 'since when these are counted; NULL: since the last crash, or ever';
COMMENT ON COLUMN @extschema@.checkpoint_activity.remedy IS 'what to do';
GRANT SELECT ON @extschema@.checkpoint_activity TO telemetry_admin, pg_monitor;
