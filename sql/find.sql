-- Searching for entities. With the rights of the caller: he needs SELECT on entity_jsonb, attributes, and facts for attributes that
-- are not kept hot; his policies count.

CREATE FUNCTION @extschema@.find_entities_by_attributes(
        tenant_id bigint, filters jsonb, within interval DEFAULT '7 days', max_results integer DEFAULT 1000,
        after_entity bigint DEFAULT NULL,
        OUT entity_id bigint, OUT hot_attrs jsonb, OUT last_observed_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'find_entities_by_attributes_wrapper';
COMMENT ON FUNCTION @extschema@.find_entities_by_attributes(bigint, jsonb, interval, integer, bigint) IS
    'Entities whose latest values, observed within that time, satisfy all filters, in order; the next ones by after_entity';
REVOKE ALL ON FUNCTION @extschema@.find_entities_by_attributes(bigint, jsonb, interval, integer, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.find_entities_by_attributes(bigint, jsonb, interval, integer, bigint)
    TO telemetry_reader, telemetry_admin;

CREATE FUNCTION @extschema@.explain_find(
        tenant_id bigint, filters jsonb, within interval DEFAULT '7 days',
        OUT step integer, OUT attribute text, OUT reads text, OUT purpose text, OUT expected_rows bigint,
        OUT cost double precision, OUT note text)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 5
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'explain_find_wrapper';
COMMENT ON FUNCTION @extschema@.explain_find(bigint, jsonb, interval) IS
    'How find_entities_by_attributes() would search, and what the planner expects it to read, without searching';
REVOKE ALL ON FUNCTION @extschema@.explain_find(bigint, jsonb, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.explain_find(bigint, jsonb, interval) TO telemetry_reader, telemetry_admin;
