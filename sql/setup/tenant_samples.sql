CREATE TABLE @extschema@.tenant_samples (
    sampled_at timestamptz NOT NULL,
    tenant_id bigint,
    rows_estimate bigint NOT NULL,
    bytes_estimate bigint NOT NULL,
    place text NOT NULL,
    relation_oid oid NOT NULL
) PARTITION BY RANGE (sampled_at);
COMMENT ON TABLE @extschema@.tenant_samples IS
    'Readings of each tenant in the partitions that were looked at; of each partition the last look counts';
COMMENT ON COLUMN @extschema@.tenant_samples.sampled_at IS 'when it was taken';
COMMENT ON COLUMN @extschema@.tenant_samples.tenant_id IS 'the tenant; NULL: all beyond the first hundred, and rejected readings that name none';
COMMENT ON COLUMN @extschema@.tenant_samples.rows_estimate IS 'readings of the tenant, estimated from a sample of the pages';
COMMENT ON COLUMN @extschema@.tenant_samples.bytes_estimate IS 'their share of the table and its indexes';
COMMENT ON COLUMN @extschema@.tenant_samples.place IS 'facts, rejected, staging or durable staging';
COMMENT ON COLUMN @extschema@.tenant_samples.relation_oid IS 'the partition or table that was looked at';
GRANT SELECT ON @extschema@.tenant_samples TO telemetry_admin, pg_monitor;
