-- A row for each index of a partition that is to be made anew: some hundred at most, written once and deleted once.
CREATE TABLE @extschema@.fact_index_rebuilds (
    index_oid oid NOT NULL,
    index_name name NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    requested_by name NOT NULL,
    CONSTRAINT fact_index_rebuilds_pkey PRIMARY KEY (index_oid)
);
COMMENT ON TABLE @extschema@.fact_index_rebuilds IS
    'Indexes of partitions that reindex_facts() was called for; what is done has another OID and is removed';
COMMENT ON COLUMN @extschema@.fact_index_rebuilds.index_oid IS 'the index as it was at that time';
COMMENT ON COLUMN @extschema@.fact_index_rebuilds.index_name IS 'its name: after a restore the number may be another one''s';
COMMENT ON COLUMN @extschema@.fact_index_rebuilds.requested_at IS 'when it was asked for';
COMMENT ON COLUMN @extschema@.fact_index_rebuilds.requested_by IS 'who asked';
GRANT SELECT, DELETE ON @extschema@.fact_index_rebuilds TO telemetry_admin;
