-- Which node may answer which reads. can_serve() asks the node itself, route_read() the server that others replicate from.

CREATE FUNCTION @extschema@.can_serve(class text)
    RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'can_serve_wrapper';
COMMENT ON FUNCTION @extschema@.can_serve(text) IS
    'Whether this node may answer reads of the class now: strong, eventual, analytics, or one of read_classes; false for an unknown class, and whenever the lag is not known';
REVOKE ALL ON FUNCTION @extschema@.can_serve(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.can_serve(text) TO telemetry_writer, telemetry_reader, telemetry_admin, pg_monitor;

CREATE FUNCTION @extschema@.route_read(
        class text,
        OUT candidate text, OUT role text, OUT client_addr text, OUT eligible boolean, OUT lag_seconds double precision,
        OUT bytes_behind bigint, OUT reason text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 5
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'route_read_wrapper';
COMMENT ON FUNCTION @extschema@.route_read(text) IS
    'This node and the standbys that stream from it, best for reads of the class first, with the reason where one is not eligible';
REVOKE ALL ON FUNCTION @extschema@.route_read(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.route_read(text) TO telemetry_writer, telemetry_reader, telemetry_admin, pg_monitor;
