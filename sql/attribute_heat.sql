-- Which attributes are used.

CREATE FUNCTION @extschema@.attribute_heat_rows(
        OUT tenant_id bigint, OUT attribute_id integer, OUT attribute text, OUT is_hot boolean, OUT is_searchable boolean,
        OUT asked bigint, OUT filtered bigint, OUT written bigint, OUT counted_since timestamptz, OUT state text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 1000
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'attribute_heat_rows_wrapper';
COMMENT ON FUNCTION @extschema@.attribute_heat_rows() IS 'The rows of the view attribute_heat';
REVOKE ALL ON FUNCTION @extschema@.attribute_heat_rows() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.attribute_heat_rows() TO telemetry_admin, pg_monitor;

CREATE VIEW @extschema@.attribute_heat AS
    SELECT tenant_id, attribute_id, attribute, is_hot, is_searchable, asked, filtered, written, counted_since, state
    FROM @extschema@.attribute_heat_rows();
COMMENT ON VIEW @extschema@.attribute_heat IS
    'How often each attribute is asked for, filtered by and written, by whom, and whether it is hot; a crash forgets the last minute';
COMMENT ON COLUMN @extschema@.attribute_heat.tenant_id IS
    'the tenant that uses it; 0 where a shared attribute was not used yet; NULL: all uses that found no place of their own';
COMMENT ON COLUMN @extschema@.attribute_heat.attribute_id IS 'the attribute';
COMMENT ON COLUMN @extschema@.attribute_heat.attribute IS 'its name';
COMMENT ON COLUMN @extschema@.attribute_heat.is_hot IS 'whether it is kept in entity_jsonb';
COMMENT ON COLUMN @extschema@.attribute_heat.is_searchable IS 'whether it is indexed by value';
COMMENT ON COLUMN @extschema@.attribute_heat.asked IS 'times it was asked for by name; NULL: not counted, the library is not preloaded';
COMMENT ON COLUMN @extschema@.attribute_heat.filtered IS 'searches that had a filter on it; NULL as asked';
COMMENT ON COLUMN @extschema@.attribute_heat.written IS 'readings that were flushed, about: one in 61 is counted, for all; NULL as asked';
COMMENT ON COLUMN @extschema@.attribute_heat.counted_since IS 'when counting began; NULL: nothing is written down yet, which happens each minute';
COMMENT ON COLUMN @extschema@.attribute_heat.state IS 'counted, not preloaded, or all others together';
GRANT SELECT ON @extschema@.attribute_heat TO telemetry_admin, pg_monitor;
