CREATE TABLE @extschema@.rejected_removed (
    day date NOT NULL,
    cause text NOT NULL,
    rows bigint NOT NULL,
    bytes bigint NOT NULL,
    partitions bigint NOT NULL,
    last_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT rejected_removed_pkey PRIMARY KEY (day, cause)
);
COMMENT ON TABLE @extschema@.rejected_removed IS 'What was removed from entity_values_rejected because it was too old or too much';
COMMENT ON COLUMN @extschema@.rejected_removed.day IS 'the day of the removal, in UTC';
COMMENT ON COLUMN @extschema@.rejected_removed.cause IS 'age (pg_telemetry.rejected_keep) or size (pg_telemetry.rejected_max_size)';
COMMENT ON COLUMN @extschema@.rejected_removed.rows IS 'how many readings; an estimate for whole partitions';
COMMENT ON COLUMN @extschema@.rejected_removed.bytes IS 'what they took';
COMMENT ON COLUMN @extschema@.rejected_removed.partitions IS 'partitions that were dropped';
COMMENT ON COLUMN @extschema@.rejected_removed.last_at IS 'when something was last removed';
GRANT SELECT ON @extschema@.rejected_removed TO telemetry_admin, pg_monitor;
