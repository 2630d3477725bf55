-- Emptying staging before a switchover or an upgrade.

CREATE FUNCTION @extschema@.drain(timeout interval DEFAULT '10 seconds')
    RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'drain_wrapper';
COMMENT ON FUNCTION @extschema@.drain(interval) IS
    'Flushes until staging is empty and documents are up to date, for at most the given time, and says whether staging is empty; for use before a switchover or an upgrade';
REVOKE ALL ON FUNCTION @extschema@.drain(interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.drain(interval) TO telemetry_admin;
