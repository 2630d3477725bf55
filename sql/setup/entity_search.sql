-- The latest value of each searchable attribute of an entity, for finding entities by it. Narrow, and written only when a value
-- changes; when it was observed is in entity_jsonb. Nobody but the extension reads it: policies are on entity_jsonb.
CREATE TABLE @extschema@.entity_search (
    tenant_id bigint NOT NULL,
    entity_id bigint NOT NULL,
    value_num double precision,
    value_int bigint,
    document_place bigint NOT NULL DEFAULT 0,
    attribute_id integer NOT NULL,
    value_text text COLLATE "C",
    CONSTRAINT entity_search_pkey PRIMARY KEY (tenant_id, attribute_id, entity_id)
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 20000);
CREATE INDEX entity_search_num_idx ON @extschema@.entity_search (tenant_id, attribute_id, value_num, entity_id) INCLUDE (document_place)
    WHERE value_num IS NOT NULL;
CREATE INDEX entity_search_int_idx ON @extschema@.entity_search (tenant_id, attribute_id, value_int, entity_id) INCLUDE (document_place)
    WHERE value_int IS NOT NULL;
CREATE INDEX entity_search_text_idx ON @extschema@.entity_search (tenant_id, attribute_id, value_text, entity_id) INCLUDE (document_place)
    WHERE value_text IS NOT NULL;
COMMENT ON INDEX @extschema@.entity_search_num_idx IS 'Entities by a number, or a range of it';
COMMENT ON INDEX @extschema@.entity_search_int_idx IS 'Entities by an integer, boolean or timestamp, or a range of it';
COMMENT ON INDEX @extschema@.entity_search_text_idx IS 'Entities by a text, or a range of it';
COMMENT ON TABLE @extschema@.entity_search IS
    'Latest values of searchable attributes, by value; candidates only: what counts is in entity_jsonb';
COMMENT ON COLUMN @extschema@.entity_search.tenant_id IS 'the tenant the entity belongs to';
COMMENT ON COLUMN @extschema@.entity_search.entity_id IS 'the robot or device';
COMMENT ON COLUMN @extschema@.entity_search.value_num IS 'the value of a number';
COMMENT ON COLUMN @extschema@.entity_search.value_int IS 'the value of an integer, boolean (0/1) or timestamp (microseconds since 1970)';
COMMENT ON COLUMN @extschema@.entity_search.document_place IS
    'where the document was when the value was written (block * 65536 + number), 0: unknown; a hint, no more';
COMMENT ON COLUMN @extschema@.entity_search.attribute_id IS 'the searchable attribute';
COMMENT ON COLUMN @extschema@.entity_search.value_text IS 'the first 200 bytes of a text';
GRANT SELECT ON @extschema@.entity_search TO telemetry_admin;
