-- Looking after partitions. All work as telemetry_owner, by src/pg/identity.rs.

CREATE FUNCTION @extschema@.partition_plan(
        OUT action text, OUT partition text, OUT starts_at timestamptz, OUT ends_at timestamptz, OUT reason text,
        OUT statement text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'partition_plan_wrapper';
COMMENT ON FUNCTION @extschema@.partition_plan() IS
    'What the next rotation of partitions would do, and why, without doing it; statement is for what has to be run by itself, outside of a transaction';
REVOKE ALL ON FUNCTION @extschema@.partition_plan() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.partition_plan() TO telemetry_admin, pg_monitor;

CREATE FUNCTION @extschema@.rotate_partitions(OUT action text, OUT partition text, OUT outcome text, OUT detail text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'rotate_partitions_wrapper';
COMMENT ON FUNCTION @extschema@.rotate_partitions() IS
    'Does what partition_plan() shows, and says of each action what became of it: done, needless or failed, and why';
REVOKE ALL ON FUNCTION @extschema@.rotate_partitions() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.rotate_partitions() TO telemetry_admin;

CREATE FUNCTION @extschema@.set_retention(keep interval, tenant_id bigint DEFAULT NULL)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'set_retention_wrapper';
COMMENT ON FUNCTION @extschema@.set_retention(interval, bigint) IS
    'How long readings are kept after they came in, of one tenant or of all that have no time of their own; NULL: for ever';
REVOKE ALL ON FUNCTION @extschema@.set_retention(interval, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.set_retention(interval, bigint) TO telemetry_admin;

CREATE FUNCTION @extschema@.ingested_periods(
        since timestamptz, until timestamptz DEFAULT NULL, OUT starts_at timestamptz, OUT ends_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 3
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'ingested_periods_wrapper';
COMMENT ON FUNCTION @extschema@.ingested_periods(timestamptz, timestamptz) IS
    'When readings came in whose own time is from since up to, and without, until: by what sealed partitions hold; an end that is NULL is open';
REVOKE ALL ON FUNCTION @extschema@.ingested_periods(timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.ingested_periods(timestamptz, timestamptz) TO telemetry_reader, telemetry_admin;
