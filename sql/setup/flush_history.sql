-- What the keeper saves of the counters in shared memory. Times go in as a histogram, so that rows can be added up.
CREATE TABLE @extschema@.flush_history (
    minute timestamptz NOT NULL,
    source text NOT NULL,
    since timestamptz NOT NULL,
    batches bigint NOT NULL,
    rows_flushed bigint NOT NULL,
    rows_rejected bigint NOT NULL,
    rows_waiting bigint NOT NULL,
    longest_us bigint NOT NULL,
    durations integer[] NOT NULL,
    wal_bytes bigint NOT NULL,
    fallback_claims bigint NOT NULL,
    fallback_leaves bigint NOT NULL,
    retries bigint NOT NULL,
    errors bigint NOT NULL,
    partitions_created bigint NOT NULL,
    CONSTRAINT flush_history_pkey PRIMARY KEY (minute, source, since)
);
COMMENT ON TABLE @extschema@.flush_history IS 'Minutes of the view flush_stats that are over, for seven days';
COMMENT ON COLUMN @extschema@.flush_history.minute IS 'the minute, by its start';
COMMENT ON COLUMN @extschema@.flush_history.source IS 'worker or sql';
COMMENT ON COLUMN @extschema@.flush_history.since IS 'when counting began: a restart makes a second row of the same minute';
COMMENT ON COLUMN @extschema@.flush_history.batches IS 'as in flush_stats';
COMMENT ON COLUMN @extschema@.flush_history.rows_flushed IS 'as in flush_stats';
COMMENT ON COLUMN @extschema@.flush_history.rows_rejected IS 'as in flush_stats';
COMMENT ON COLUMN @extschema@.flush_history.rows_waiting IS 'as in flush_stats';
COMMENT ON COLUMN @extschema@.flush_history.longest_us IS 'microseconds of the longest flush';
COMMENT ON COLUMN @extschema@.flush_history.durations IS 'flushes by their duration, in buckets of 0.1 ms and less, then each √2 times as long as the one before';
COMMENT ON COLUMN @extschema@.flush_history.wal_bytes IS 'as in flush_stats';
COMMENT ON COLUMN @extschema@.flush_history.fallback_claims IS 'as in flush_stats';
COMMENT ON COLUMN @extschema@.flush_history.fallback_leaves IS 'as in flush_stats';
COMMENT ON COLUMN @extschema@.flush_history.retries IS 'as in flush_stats';
COMMENT ON COLUMN @extschema@.flush_history.errors IS 'as in flush_stats';
COMMENT ON COLUMN @extschema@.flush_history.partitions_created IS 'as in flush_stats';
GRANT SELECT ON @extschema@.flush_history TO telemetry_reader, telemetry_admin, pg_monitor;
