-- As relation_samples: what was done between two samples.
CREATE TABLE @extschema@.statement_samples (
    sampled_at timestamptz NOT NULL,
    queryid bigint,
    exec_ms double precision NOT NULL,
    exec_ms_squared double precision NOT NULL,
    plan_ms double precision NOT NULL,
    calls bigint NOT NULL,
    rows bigint NOT NULL,
    blocks_hit bigint NOT NULL,
    blocks_read bigint NOT NULL,
    temp_bytes bigint NOT NULL,
    wal_bytes bigint NOT NULL,
    user_oid oid,
    toplevel boolean
) PARTITION BY RANGE (sampled_at);
COMMENT ON TABLE @extschema@.statement_samples IS
    'What statements of this database did between two samples: the 500 that took the most time, and a row for the rest';
COMMENT ON COLUMN @extschema@.statement_samples.sampled_at IS 'when it was taken';
COMMENT ON COLUMN @extschema@.statement_samples.queryid IS 'as in pg_stat_statements, see statement_texts; NULL: all others together';
COMMENT ON COLUMN @extschema@.statement_samples.exec_ms IS 'time spent in executing';
COMMENT ON COLUMN @extschema@.statement_samples.exec_ms_squared IS 'sum of the squares of the times of single executions, for the standard deviation';
COMMENT ON COLUMN @extschema@.statement_samples.plan_ms IS 'time spent in planning, where pg_stat_statements.track_planning is on';
COMMENT ON COLUMN @extschema@.statement_samples.calls IS 'executions';
COMMENT ON COLUMN @extschema@.statement_samples.rows IS 'rows returned or changed';
COMMENT ON COLUMN @extschema@.statement_samples.blocks_hit IS 'pages found in shared_buffers';
COMMENT ON COLUMN @extschema@.statement_samples.blocks_read IS 'pages read';
COMMENT ON COLUMN @extschema@.statement_samples.temp_bytes IS 'bytes of temporary files, read and written';
COMMENT ON COLUMN @extschema@.statement_samples.wal_bytes IS 'bytes of WAL';
COMMENT ON COLUMN @extschema@.statement_samples.user_oid IS 'who ran it';
COMMENT ON COLUMN @extschema@.statement_samples.toplevel IS 'sent by a client, and not run inside a function';
CREATE INDEX statement_samples_sampled_at_idx ON @extschema@.statement_samples (sampled_at);
COMMENT ON INDEX @extschema@.statement_samples_sampled_at_idx IS 'What happened in the last so much time, without the rest of the day';
GRANT SELECT ON @extschema@.statement_samples TO telemetry_admin, pg_monitor;
