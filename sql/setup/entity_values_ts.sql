CREATE TABLE @extschema@.entity_values_ts (
    tenant_id bigint NOT NULL,
    entity_id bigint NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    observed_at timestamptz,
    value_num double precision,
    value_int bigint,
    attribute_id integer NOT NULL,
    value_text text
) PARTITION BY RANGE (ingested_at);
COMMENT ON TABLE @extschema@.entity_values_ts IS 'Facts: every reading, typed, in partitions by the time it came in';
COMMENT ON COLUMN @extschema@.entity_values_ts.tenant_id IS 'the tenant the reading belongs to';
COMMENT ON COLUMN @extschema@.entity_values_ts.entity_id IS 'the robot or device it is about';
COMMENT ON COLUMN @extschema@.entity_values_ts.ingested_at IS 'when it came in; the partition key of facts';
COMMENT ON COLUMN @extschema@.entity_values_ts.observed_at IS 'when it was measured; NULL: as ingested_at';
COMMENT ON COLUMN @extschema@.entity_values_ts.value_num IS 'the value of a number';
COMMENT ON COLUMN @extschema@.entity_values_ts.value_int IS 'the value of an integer, boolean (0/1) or timestamp (microseconds since 1970)';
COMMENT ON COLUMN @extschema@.entity_values_ts.attribute_id IS 'what was measured: attributes.attribute_id';
COMMENT ON COLUMN @extschema@.entity_values_ts.value_text IS 'the value of a text or json';
CREATE INDEX entity_values_ts_ingested_at_brin ON @extschema@.entity_values_ts
    USING brin (ingested_at) WITH (pages_per_range = 32, autosummarize = on);
COMMENT ON INDEX @extschema@.entity_values_ts_ingested_at_brin IS 'Time windows over all tenants, for next to nothing';
CREATE INDEX entity_values_ts_series_idx ON @extschema@.entity_values_ts
    (tenant_id, attribute_id, entity_id, ingested_at);
COMMENT ON INDEX @extschema@.entity_values_ts_series_idx IS
    'One attribute of one entity over time, and one attribute of all entities of a tenant';
GRANT SELECT ON @extschema@.entity_values_ts TO telemetry_reader, telemetry_admin;
