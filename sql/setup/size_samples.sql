CREATE TABLE @extschema@.size_samples (
    sampled_at timestamptz NOT NULL,
    bytes bigint NOT NULL,
    index_bytes bigint NOT NULL,
    rows_estimate bigint,
    partitions integer NOT NULL,
    relation text NOT NULL
) PARTITION BY RANGE (sampled_at);
COMMENT ON TABLE @extschema@.size_samples IS
    'Sizes of tables over time';
COMMENT ON COLUMN @extschema@.size_samples.sampled_at IS 'when it was taken';
COMMENT ON COLUMN @extschema@.size_samples.bytes IS 'its tables, with TOAST and without indexes';
COMMENT ON COLUMN @extschema@.size_samples.index_bytes IS 'its indexes';
COMMENT ON COLUMN @extschema@.size_samples.rows_estimate IS 'rows by the counters of the server or the last analyze; NULL: neither knows';
COMMENT ON COLUMN @extschema@.size_samples.partitions IS 'tables that it consists of: 1 when it is not partitioned';
COMMENT ON COLUMN @extschema@.size_samples.relation IS 'the table, with the schema; a partitioned one stands for all its partitions';
GRANT SELECT ON @extschema@.size_samples TO telemetry_admin, pg_monitor;
