-- Standing still on purpose.

CREATE FUNCTION @extschema@.pause(reason text DEFAULT NULL)
    RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'pause_wrapper';
COMMENT ON FUNCTION @extschema@.pause(text) IS
    'Stops flushing in this database, by workers and by stage_flush(), until resume(); true if it was not paused before';
REVOKE ALL ON FUNCTION @extschema@.pause(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.pause(text) TO telemetry_admin;

CREATE FUNCTION @extschema@.resume()
    RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'resume_wrapper';
COMMENT ON FUNCTION @extschema@.resume() IS 'Ends pause(); true if it was paused';
REVOKE ALL ON FUNCTION @extschema@.resume() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.resume() TO telemetry_admin;
