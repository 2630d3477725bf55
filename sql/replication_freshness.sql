-- How fresh is the node that answers? Works on any node, reads one row, writes nothing.

CREATE FUNCTION @extschema@.freshness(
        OUT role text, OUT data_source text, OUT verdict text,
        OUT lag_seconds double precision, OUT lag_seconds_low double precision, OUT bytes_behind bigint,
        OUT receiver_state text, OUT replay_paused boolean, OUT clock_skew_seconds double precision, OUT timeline integer,
        OUT heartbeat_age_seconds double precision, OUT heartbeat_writer text, OUT last_message_seconds double precision,
        OUT detail text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'freshness_wrapper';
COMMENT ON FUNCTION @extschema@.freshness() IS
    'How old the data of this node are at most (lag_seconds) and at least (lag_seconds_low), and a verdict: fresh, stale, disconnected, paused, skewed, unknown; NULL: not known';
REVOKE ALL ON FUNCTION @extschema@.freshness() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.freshness() TO telemetry_writer, telemetry_reader, telemetry_admin, pg_monitor;
