-- What changed between two samples, not the counters of the server: sums over any time are right whatever was reset meanwhile, and
-- a table or index that nobody touched costs nothing.
CREATE TABLE @extschema@.relation_samples (
    sampled_at timestamptz NOT NULL,
    blocks_hit bigint NOT NULL,
    blocks_read bigint NOT NULL,
    scans bigint NOT NULL,
    rows_read bigint NOT NULL,
    rows_fetched bigint NOT NULL,
    rows_inserted bigint NOT NULL,
    rows_updated bigint NOT NULL,
    rows_hot_updated bigint NOT NULL,
    rows_deleted bigint NOT NULL,
    relation_oid oid NOT NULL,
    is_index boolean NOT NULL,
    relation text NOT NULL,
    root text NOT NULL,
    table_name text NOT NULL
) PARTITION BY RANGE (sampled_at);
COMMENT ON TABLE @extschema@.relation_samples IS
    'How tables and indexes were used between two samples; only those that were used';
COMMENT ON COLUMN @extschema@.relation_samples.sampled_at IS 'when it was taken';
COMMENT ON COLUMN @extschema@.relation_samples.blocks_hit IS 'pages of it that were found in shared_buffers';
COMMENT ON COLUMN @extschema@.relation_samples.blocks_read IS 'pages of it that were not';
COMMENT ON COLUMN @extschema@.relation_samples.scans IS 'of a table: sequential scans; of an index: all scans';
COMMENT ON COLUMN @extschema@.relation_samples.rows_read IS 'of a table: rows read by sequential scans; of an index: entries returned';
COMMENT ON COLUMN @extschema@.relation_samples.rows_fetched IS 'rows fetched by way of an index';
COMMENT ON COLUMN @extschema@.relation_samples.rows_inserted IS 'rows inserted';
COMMENT ON COLUMN @extschema@.relation_samples.rows_updated IS 'rows updated, HOT included';
COMMENT ON COLUMN @extschema@.relation_samples.rows_hot_updated IS 'of these, without new entries in indexes';
COMMENT ON COLUMN @extschema@.relation_samples.rows_deleted IS 'rows deleted';
COMMENT ON COLUMN @extschema@.relation_samples.relation_oid IS 'its oid at that time';
COMMENT ON COLUMN @extschema@.relation_samples.is_index IS 'whether it is an index';
COMMENT ON COLUMN @extschema@.relation_samples.relation IS 'its name at that time, with the schema';
COMMENT ON COLUMN @extschema@.relation_samples.root IS 'the partitioned table or index that it belonged to, or itself';
COMMENT ON COLUMN @extschema@.relation_samples.table_name IS 'of an index: its table, or the partitioned one; of a table: as root';
CREATE INDEX relation_samples_sampled_at_idx ON @extschema@.relation_samples (sampled_at);
COMMENT ON INDEX @extschema@.relation_samples_sampled_at_idx IS 'What happened in the last so much time, without the rest of the day';
GRANT SELECT ON @extschema@.relation_samples TO telemetry_admin, pg_monitor;
