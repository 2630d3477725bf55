-- Staging to facts. Works as telemetry_owner, by src/pg/identity.rs: whoever may call it needs no rights on the tables.

CREATE FUNCTION @extschema@.stage_flush(max_rows bigint DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'stage_flush_wrapper';
COMMENT ON FUNCTION @extschema@.stage_flush(bigint) IS
    'Moves staged readings to facts, at most max_rows of them, and returns how many reached facts; last_flush() has the details';
REVOKE ALL ON FUNCTION @extschema@.stage_flush(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.stage_flush(bigint) TO telemetry_writer, telemetry_admin;

CREATE FUNCTION @extschema@.last_flush(
        OUT started_at timestamptz, OUT rows_flushed bigint, OUT rows_rejected bigint, OUT rows_waiting bigint,
        OUT waiting_reason text, OUT partitions_created integer, OUT duration_ms double precision)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'last_flush_wrapper';
COMMENT ON FUNCTION @extschema@.last_flush() IS
    'What the last stage_flush() of this session did; no row before the first';
REVOKE ALL ON FUNCTION @extschema@.last_flush() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.last_flush() TO telemetry_writer, telemetry_admin;
