-- Readings of one attribute. With the rights of the caller: he needs SELECT on facts and attributes, and his policies count.

CREATE FUNCTION @extschema@.readings(
        tenant_id bigint, entity_id bigint, attribute text, since timestamptz, until timestamptz DEFAULT NULL,
        newest_first boolean DEFAULT false, max_rows bigint DEFAULT NULL,
        OUT observed_at timestamptz, OUT ingested_at timestamptz, OUT value jsonb,
        OUT value_num double precision, OUT value_int bigint, OUT value_text text)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1000
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'readings_wrapper';
COMMENT ON FUNCTION @extschema@.readings(bigint, bigint, text, timestamptz, timestamptz, boolean, bigint) IS
    'Readings of one attribute of one entity from since up to, and without, until, by the time they were measured';
REVOKE ALL ON FUNCTION @extschema@.readings(bigint, bigint, text, timestamptz, timestamptz, boolean, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.readings(bigint, bigint, text, timestamptz, timestamptz, boolean, bigint)
    TO telemetry_reader, telemetry_admin;
