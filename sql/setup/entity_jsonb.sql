-- HASH leaves keep each vacuum short and spread one large tenant; their number is chosen once, here. Pages that are not
-- full keep updates HOT.
CREATE TABLE @extschema@.entity_jsonb (
    tenant_id bigint NOT NULL,
    entity_id bigint NOT NULL,
    as_of timestamptz NOT NULL,
    deleted_at timestamptz,
    hot_attrs jsonb NOT NULL DEFAULT '{}',
    hot_times bytea,
    CONSTRAINT entity_jsonb_pkey PRIMARY KEY (tenant_id, entity_id)
) PARTITION BY HASH (tenant_id, entity_id);
COMMENT ON TABLE @extschema@.entity_jsonb IS 'The projection: the latest value of each hot attribute of an entity, newest observation wins';
COMMENT ON COLUMN @extschema@.entity_jsonb.tenant_id IS 'the tenant the entity belongs to';
COMMENT ON COLUMN @extschema@.entity_jsonb.entity_id IS 'the robot or device';
COMMENT ON COLUMN @extschema@.entity_jsonb.as_of IS 'the newest observation in the document';
COMMENT ON COLUMN @extschema@.entity_jsonb.deleted_at IS 'when the entity was deleted, NULL while it is there';
COMMENT ON COLUMN @extschema@.entity_jsonb.hot_attrs IS 'attribute name to value';
COMMENT ON COLUMN @extschema@.entity_jsonb.hot_times IS 'when each value was observed, packed';
GRANT SELECT ON @extschema@.entity_jsonb TO telemetry_reader, telemetry_admin;
DO $leaves$
DECLARE
    leaves CONSTANT integer := current_setting('pg_telemetry.hot_leaves');
BEGIN
    FOR leaf IN 0 .. leaves - 1 LOOP
        EXECUTE format(
            'CREATE TABLE %1$s.%2$I PARTITION OF %1$s.entity_jsonb
                 FOR VALUES WITH (MODULUS %3$s, REMAINDER %4$s)
                 -- What updates leave behind is cleared page by page by those that follow; vacuum is for the rest. A fiftieth: by
                 -- the default of a fifth, millions of dead versions of a large leaf would wait. And a thousand: a leaf of
                 -- some hundred entities would be vacuumed each minute for nothing.
                 WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000)',
            '@extschema@', 'entity_jsonb_' || lpad(leaf::text, greatest(2, length(leaf::text)), '0'), leaves, leaf);
    END LOOP;
END
$leaves$;
