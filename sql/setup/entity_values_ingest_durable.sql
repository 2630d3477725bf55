-- Eight columns, wide ones first: the null bitmap still fits the 24-byte tuple header. No constraint and no index: a
-- bad row must not fail the COPY it came with, and goes to entity_values_rejected instead.
-- Truncating the emptied tail would lock writers out, so the file keeps its size and its pages are used again.
CREATE TABLE @extschema@.entity_values_ingest_durable (
    tenant_id bigint,
    entity_id bigint,
    ingested_at timestamptz DEFAULT now(),
    observed_at timestamptz,
    value_num double precision,
    value_int bigint,
    attribute_id integer,
    value_text text
) WITH (vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000,
        autovacuum_vacuum_insert_threshold = -1, toast.vacuum_truncate = off);
COMMENT ON TABLE @extschema@.entity_values_ingest_durable IS 'The durable door: as safe as an ordinary table under the synchronous_commit of the writer';
COMMENT ON COLUMN @extschema@.entity_values_ingest_durable.tenant_id IS 'the tenant the reading belongs to';
COMMENT ON COLUMN @extschema@.entity_values_ingest_durable.entity_id IS 'the robot or device it is about';
COMMENT ON COLUMN @extschema@.entity_values_ingest_durable.ingested_at IS 'when it came in; the partition key of facts';
COMMENT ON COLUMN @extschema@.entity_values_ingest_durable.observed_at IS 'when it was measured; NULL: as ingested_at';
COMMENT ON COLUMN @extschema@.entity_values_ingest_durable.value_num IS 'the value of a number';
COMMENT ON COLUMN @extschema@.entity_values_ingest_durable.value_int IS 'the value of an integer, boolean (0/1) or timestamp (microseconds since 1970)';
COMMENT ON COLUMN @extschema@.entity_values_ingest_durable.attribute_id IS 'what was measured: attributes.attribute_id';
COMMENT ON COLUMN @extschema@.entity_values_ingest_durable.value_text IS 'the value of a text or json';
GRANT INSERT ON @extschema@.entity_values_ingest_durable TO telemetry_writer;
GRANT SELECT ON @extschema@.entity_values_ingest_durable TO telemetry_admin;
