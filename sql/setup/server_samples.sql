-- As relation_samples: what was done between two samples.
CREATE TABLE @extschema@.server_samples (
    sampled_at timestamptz NOT NULL,
    wal_bytes bigint NOT NULL,
    wal_records bigint NOT NULL,
    wal_full_page_images bigint NOT NULL,
    checkpoints_timed bigint NOT NULL,
    checkpoints_requested bigint NOT NULL,
    checkpoint_write_ms double precision NOT NULL,
    checkpoint_sync_ms double precision NOT NULL,
    buffers_written bigint NOT NULL,
    commits bigint NOT NULL,
    rollbacks bigint NOT NULL,
    blocks_hit bigint NOT NULL,
    blocks_read bigint NOT NULL,
    rows_inserted bigint NOT NULL,
    rows_updated bigint NOT NULL,
    rows_deleted bigint NOT NULL,
    temp_bytes bigint NOT NULL,
    deadlocks bigint NOT NULL
) PARTITION BY RANGE (sampled_at);
COMMENT ON TABLE @extschema@.server_samples IS
    'WAL, checkpoints and the totals of this database between two samples';
COMMENT ON COLUMN @extschema@.server_samples.sampled_at IS 'when it was taken';
COMMENT ON COLUMN @extschema@.server_samples.wal_bytes IS 'WAL written, by its positions';
COMMENT ON COLUMN @extschema@.server_samples.wal_records IS 'records of WAL';
COMMENT ON COLUMN @extschema@.server_samples.wal_full_page_images IS 'whole pages in WAL';
COMMENT ON COLUMN @extschema@.server_samples.checkpoints_timed IS 'checkpoints that came in time';
COMMENT ON COLUMN @extschema@.server_samples.checkpoints_requested IS 'checkpoints that came for another reason';
COMMENT ON COLUMN @extschema@.server_samples.checkpoint_write_ms IS 'time spent in writing pages for checkpoints';
COMMENT ON COLUMN @extschema@.server_samples.checkpoint_sync_ms IS 'time spent in fsync for checkpoints';
COMMENT ON COLUMN @extschema@.server_samples.buffers_written IS 'pages written by checkpoints';
COMMENT ON COLUMN @extschema@.server_samples.commits IS 'transactions of this database that committed';
COMMENT ON COLUMN @extschema@.server_samples.rollbacks IS 'transactions of this database that were rolled back';
COMMENT ON COLUMN @extschema@.server_samples.blocks_hit IS 'pages of this database found in shared_buffers';
COMMENT ON COLUMN @extschema@.server_samples.blocks_read IS 'pages of this database that were not';
COMMENT ON COLUMN @extschema@.server_samples.rows_inserted IS 'rows inserted in this database';
COMMENT ON COLUMN @extschema@.server_samples.rows_updated IS 'rows updated in this database';
COMMENT ON COLUMN @extschema@.server_samples.rows_deleted IS 'rows deleted in this database';
COMMENT ON COLUMN @extschema@.server_samples.temp_bytes IS 'bytes of temporary files of this database';
COMMENT ON COLUMN @extschema@.server_samples.deadlocks IS 'deadlocks in this database';
GRANT SELECT ON @extschema@.server_samples TO telemetry_admin, pg_monitor;
