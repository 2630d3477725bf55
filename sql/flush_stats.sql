-- What flushes did, minute by minute: those in flush_history, and those that are in shared memory yet.

CREATE FUNCTION @extschema@.flush_stats_rows(
        OUT minute timestamptz, OUT source text, OUT batches bigint, OUT rows_flushed bigint, OUT rows_rejected bigint,
        OUT rows_waiting bigint, OUT p50_ms double precision, OUT p95_ms double precision, OUT p99_ms double precision,
        OUT max_ms double precision, OUT wal_bytes bigint, OUT fallback_claims bigint, OUT fallback_leaves bigint,
        OUT retries bigint, OUT errors bigint, OUT partitions_created bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 1000
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'flush_stats_rows_wrapper';
COMMENT ON FUNCTION @extschema@.flush_stats_rows() IS 'The rows of the view flush_stats';
REVOKE ALL ON FUNCTION @extschema@.flush_stats_rows() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.flush_stats_rows() TO telemetry_reader, telemetry_admin, pg_monitor;

CREATE VIEW @extschema@.flush_stats AS
    SELECT minute, source, batches, rows_flushed, rows_rejected, rows_waiting, p50_ms, p95_ms, p99_ms, max_ms, wal_bytes,
           fallback_claims, fallback_leaves, retries, errors, partitions_created
    FROM @extschema@.flush_stats_rows();
COMMENT ON VIEW @extschema@.flush_stats IS
    'What flushes did in each minute in which there was something to do, for seven days; a crash forgets the last minute';
COMMENT ON COLUMN @extschema@.flush_stats.minute IS 'the minute, by its start; a flush counts when it commits';
COMMENT ON COLUMN @extschema@.flush_stats.source IS
    'worker; sql: stage_flush() and drain(); not preloaded: one row that says that nothing is counted on this server';
COMMENT ON COLUMN @extschema@.flush_stats.batches IS 'flushes that moved rows, or left some waiting';
COMMENT ON COLUMN @extschema@.flush_stats.rows_flushed IS 'rows that reached facts';
COMMENT ON COLUMN @extschema@.flush_stats.rows_rejected IS 'rows that went to entity_values_rejected';
COMMENT ON COLUMN @extschema@.flush_stats.rows_waiting IS 'the most rows that one of these flushes had to leave in staging';
COMMENT ON COLUMN @extschema@.flush_stats.p50_ms IS
    'half of the batches took no longer; at most 41 percent too long. Of workers the commit is included, of sql it is not';
COMMENT ON COLUMN @extschema@.flush_stats.p95_ms IS '95 percent of the batches took no longer, as p50_ms';
COMMENT ON COLUMN @extschema@.flush_stats.p99_ms IS '99 percent of the batches took no longer, as p50_ms';
COMMENT ON COLUMN @extschema@.flush_stats.max_ms IS 'the longest batch, exactly';
COMMENT ON COLUMN @extschema@.flush_stats.wal_bytes IS 'WAL that the flushes wrote';
COMMENT ON COLUMN @extschema@.flush_stats.fallback_claims IS
    'times that rows were taken from a staging table by SQL, because the direct way would not have been the same';
COMMENT ON COLUMN @extschema@.flush_stats.fallback_leaves IS 'times that a partition was written by SQL for the same reason';
COMMENT ON COLUMN @extschema@.flush_stats.retries IS 'batches that came after a failure of the same process';
COMMENT ON COLUMN @extschema@.flush_stats.errors IS 'flushes that were rolled back, by an error or by their caller';
COMMENT ON COLUMN @extschema@.flush_stats.partitions_created IS 'partitions made for rows that had none';
GRANT SELECT ON @extschema@.flush_stats TO telemetry_reader, telemetry_admin, pg_monitor;
