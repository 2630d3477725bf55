-- The heartbeat for servers without workers: pg_cron calls it.

CREATE FUNCTION @extschema@.heartbeat()
    RETURNS timestamptz
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'heartbeat_wrapper';
COMMENT ON FUNCTION @extschema@.heartbeat() IS
    'Writes one heartbeat into replication_heartbeat and returns its time; the keeper does so by itself';
REVOKE ALL ON FUNCTION @extschema@.heartbeat() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.heartbeat() TO telemetry_writer, telemetry_admin;
