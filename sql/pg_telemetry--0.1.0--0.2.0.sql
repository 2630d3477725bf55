\echo Use "ALTER EXTENSION pg_telemetry UPDATE" to load this file. \quit

-- The library changes the role itself now: a member of telemetry_owner could replace functions that belong to that role, and
-- wait for a superuser to call them.
ALTER FUNCTION @extschema@.stage_flush(bigint) SECURITY INVOKER;
ALTER FUNCTION @extschema@.stage_flush(bigint) OWNER TO CURRENT_USER;
ALTER FUNCTION @extschema@.register_attribute(bigint, text, text, text, boolean) SECURITY INVOKER;
ALTER FUNCTION @extschema@.register_attribute(bigint, text, text, text, boolean) OWNER TO CURRENT_USER;
ALTER FUNCTION @extschema@.register_entity(bigint, text) SECURITY INVOKER;
ALTER FUNCTION @extschema@.register_entity(bigint, text) OWNER TO CURRENT_USER;

CREATE FUNCTION @extschema@.drain(timeout interval DEFAULT '10 seconds')
    RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'drain_wrapper';
COMMENT ON FUNCTION @extschema@.drain(interval) IS
    'Flushes until staging is empty, for at most the given time, and says whether it is; for use before a switchover or an upgrade';
REVOKE ALL ON FUNCTION @extschema@.drain(interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.drain(interval) TO telemetry_admin;
