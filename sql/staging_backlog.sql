-- What waits in each staging table, and what a crash would take. NULL is "not known", never zero.

CREATE FUNCTION @extschema@.staging_backlog_rows(
        OUT door text, OUT staging_table text, OUT rows_waiting bigint, OUT rows_are_estimated boolean, OUT bytes bigint,
        OUT oldest_at timestamptz, OUT rows_in_per_second double precision, OUT rows_out_per_second double precision,
        OUT drains_in interval, OUT exposed_rows bigint, OUT dead_bytes bigint, OUT pinned_bytes bigint, OUT pinned_by text,
        OUT paused_at timestamptz, OUT paused_by text, OUT pause_reason text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 2
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'staging_backlog_rows_wrapper';
COMMENT ON FUNCTION @extschema@.staging_backlog_rows() IS 'The rows of the view staging_backlog';
REVOKE ALL ON FUNCTION @extschema@.staging_backlog_rows() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.staging_backlog_rows() TO telemetry_reader, telemetry_admin, pg_monitor;

CREATE VIEW @extschema@.staging_backlog AS
    SELECT door, staging_table, rows_waiting, rows_are_estimated, bytes, oldest_at, clock_timestamp() - oldest_at AS oldest_age,
           rows_in_per_second, rows_out_per_second, drains_in, exposed_rows, dead_bytes, pinned_bytes, pinned_by,
           paused_at, paused_by, pause_reason
    FROM @extschema@.staging_backlog_rows();
COMMENT ON VIEW @extschema@.staging_backlog IS
    'The two staging tables: what waits, how fast it comes and goes, what a crash now would lose, who keeps dead rows; NULL: not known';
COMMENT ON COLUMN @extschema@.staging_backlog.door IS 'fast or durable';
COMMENT ON COLUMN @extschema@.staging_backlog.staging_table IS 'the table behind it';
COMMENT ON COLUMN @extschema@.staging_backlog.rows_waiting IS
    'rows that have not left it; NULL: a standby does not have them, or somebody locks the table';
COMMENT ON COLUMN @extschema@.staging_backlog.rows_are_estimated IS
    'the table is larger than 1024 pages, so a sample of about 400 stands for all';
COMMENT ON COLUMN @extschema@.staging_backlog.bytes IS 'size on disk, with room that is free or taken by dead rows';
COMMENT ON COLUMN @extschema@.staging_backlog.oldest_at IS 'the least ingested_at among the rows that wait; of the sample, where rows are estimated';
COMMENT ON COLUMN @extschema@.staging_backlog.oldest_age IS 'how long ago that is';
COMMENT ON COLUMN @extschema@.staging_backlog.rows_in_per_second IS
    'rows written over about the last minute, those rolled back included; NULL: no keeper has looked for long enough';
COMMENT ON COLUMN @extschema@.staging_backlog.rows_out_per_second IS 'rows that left over the same time';
COMMENT ON COLUMN @extschema@.staging_backlog.drains_in IS 'when it is empty at these rates; NULL: never, or not known';
COMMENT ON COLUMN @extschema@.staging_backlog.exposed_rows IS 'rows that a crash or failover at this moment would lose';
COMMENT ON COLUMN @extschema@.staging_backlog.dead_bytes IS 'moved rows that still take room, by the statistics of the server: an estimate';
COMMENT ON COLUMN @extschema@.staging_backlog.pinned_bytes IS 'how much of that may be kept by pinned_by';
COMMENT ON COLUMN @extschema@.staging_backlog.pinned_by IS
    'who holds a snapshot or slot for which moved rows are kept, oldest first; NULL: nobody';
COMMENT ON COLUMN @extschema@.staging_backlog.paused_at IS 'since when flushing is paused; NULL: it is not';
COMMENT ON COLUMN @extschema@.staging_backlog.paused_by IS 'who called pause()';
COMMENT ON COLUMN @extschema@.staging_backlog.pause_reason IS 'what they said';
GRANT SELECT ON @extschema@.staging_backlog TO telemetry_reader, telemetry_admin, pg_monitor;
