-- The original row with nothing assumed about it, so every column of it may be NULL.
CREATE TABLE @extschema@.entity_values_rejected (
    rejected_at timestamptz NOT NULL DEFAULT now(),
    tenant_id bigint,
    entity_id bigint,
    ingested_at timestamptz,
    observed_at timestamptz,
    value_num double precision,
    value_int bigint,
    attribute_id integer,
    value_text text,
    durable boolean NOT NULL,
    sqlstate text NOT NULL,
    reason text NOT NULL
) PARTITION BY RANGE (rejected_at);
COMMENT ON TABLE @extschema@.entity_values_rejected IS
    'Readings that can never be stored as facts, with the reason; in partitions by the day of the flush that refused them';
COMMENT ON COLUMN @extschema@.entity_values_rejected.rejected_at IS 'when the flush refused it';
COMMENT ON COLUMN @extschema@.entity_values_rejected.tenant_id IS 'the tenant the reading belongs to';
COMMENT ON COLUMN @extschema@.entity_values_rejected.entity_id IS 'the robot or device it is about';
COMMENT ON COLUMN @extschema@.entity_values_rejected.ingested_at IS 'when it came in; the partition key of facts';
COMMENT ON COLUMN @extschema@.entity_values_rejected.observed_at IS 'when it was measured; NULL: as ingested_at';
COMMENT ON COLUMN @extschema@.entity_values_rejected.value_num IS 'the value of a number';
COMMENT ON COLUMN @extschema@.entity_values_rejected.value_int IS 'the value of an integer, boolean (0/1) or timestamp (microseconds since 1970)';
COMMENT ON COLUMN @extschema@.entity_values_rejected.attribute_id IS 'what was measured: attributes.attribute_id';
COMMENT ON COLUMN @extschema@.entity_values_rejected.value_text IS 'the value of a text or json';
COMMENT ON COLUMN @extschema@.entity_values_rejected.durable IS 'came in by entity_values_ingest_durable';
COMMENT ON COLUMN @extschema@.entity_values_rejected.sqlstate IS 'the class of the fault';
COMMENT ON COLUMN @extschema@.entity_values_rejected.reason IS 'the fault, for people';
GRANT SELECT ON @extschema@.entity_values_rejected TO telemetry_admin;
