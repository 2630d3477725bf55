-- Eight columns, wide ones first: the null bitmap still fits the 24-byte tuple header. No constraint and no index: a
-- bad row must not fail the COPY it came with, and goes to entity_values_rejected instead.
-- Truncating the emptied tail would lock writers out, so the file keeps its size and its pages are used again. The flush clears
-- what it moved; vacuum is for the rest, from 50,000 dead rows on however large the table is, and never for rows that were added.
CREATE UNLOGGED TABLE @extschema@.entity_values_ingest (
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
COMMENT ON TABLE @extschema@.entity_values_ingest IS 'The fast door: readings wait here for the flush. Not crash-safe: rows not yet flushed are lost on a crash or failover';
COMMENT ON COLUMN @extschema@.entity_values_ingest.tenant_id IS 'the tenant the reading belongs to';
COMMENT ON COLUMN @extschema@.entity_values_ingest.entity_id IS 'the robot or device it is about';
COMMENT ON COLUMN @extschema@.entity_values_ingest.ingested_at IS 'when it came in; the partition key of facts';
COMMENT ON COLUMN @extschema@.entity_values_ingest.observed_at IS 'when it was measured; NULL: as ingested_at';
COMMENT ON COLUMN @extschema@.entity_values_ingest.value_num IS 'the value of a number';
COMMENT ON COLUMN @extschema@.entity_values_ingest.value_int IS 'the value of an integer, boolean (0/1) or timestamp (microseconds since 1970)';
COMMENT ON COLUMN @extschema@.entity_values_ingest.attribute_id IS 'what was measured: attributes.attribute_id';
COMMENT ON COLUMN @extschema@.entity_values_ingest.value_text IS 'the value of a text or json';
GRANT INSERT ON @extschema@.entity_values_ingest TO telemetry_writer;
GRANT SELECT ON @extschema@.entity_values_ingest TO telemetry_admin;
