CREATE TABLE @extschema@.attribute_use (
    tenant_id bigint NOT NULL,
    attribute_id integer NOT NULL,
    asked bigint NOT NULL,
    filtered bigint NOT NULL,
    written bigint NOT NULL,
    counted_since timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT attribute_use_pkey PRIMARY KEY (tenant_id, attribute_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.2, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE @extschema@.attribute_use IS
    'How often attributes are asked for, filtered by and written, up to the last minute; see the view attribute_heat. May be emptied to count anew';
COMMENT ON COLUMN @extschema@.attribute_use.tenant_id IS 'who uses it; 0 with attribute 0: all that found no place of their own';
COMMENT ON COLUMN @extschema@.attribute_use.attribute_id IS 'the attribute';
COMMENT ON COLUMN @extschema@.attribute_use.asked IS 'by readings(), entity_latest() and their like';
COMMENT ON COLUMN @extschema@.attribute_use.filtered IS 'by find_entities_by_attributes()';
COMMENT ON COLUMN @extschema@.attribute_use.written IS 'readings that were flushed, about: one in 61 is counted, for all of them';
COMMENT ON COLUMN @extschema@.attribute_use.counted_since IS 'when counting began';
COMMENT ON COLUMN @extschema@.attribute_use.last_used_at IS 'when anything was last added';
GRANT SELECT, DELETE ON @extschema@.attribute_use TO telemetry_admin;
