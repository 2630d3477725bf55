-- setup() makes or adopts the data tables. Not security definer: it must be called by a superuser or by a member of
-- telemetry_owner, and makes everything as telemetry_owner.

CREATE FUNCTION @extschema@.setup(OUT object text, OUT outcome text) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'setup_wrapper';
COMMENT ON FUNCTION @extschema@.setup() IS
    'Makes the data tables that are missing, adopts those that are there, and lists what it did; harmless to repeat';
REVOKE ALL ON FUNCTION @extschema@.setup() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.setup() TO telemetry_owner;
