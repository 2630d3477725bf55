-- Partitions one by one, and each set of them as a whole. From the catalogs and counters: no partition is locked or read.

CREATE FUNCTION @extschema@.partition_health_rows(
        OUT parent text, OUT partition text, OUT starts_at timestamptz, OUT ends_at timestamptz, OUT state text,
        OUT seal text, OUT sealed_at timestamptz, OUT made_at timestamptz, OUT made_late boolean,
        OUT rows_estimate bigint, OUT bytes bigint, OUT index_bytes bigint, OUT dead_rows bigint,
        OUT last_vacuum_at timestamptz, OUT last_analyze_at timestamptz, OUT xid_age bigint,
        OUT observed_from timestamptz, OUT observed_until timestamptz, OUT missing_indexes text[], OUT invalid_indexes text[],
        OUT missing_privileges text[], OUT missing_settings text[], OUT remedies text[], OUT gap_before interval, OUT covered_until timestamptz,
        OUT leaves_as text, OUT tries integer, OUT next_try_at timestamptz, OUT last_error text, OUT in_the_way text,
        OUT detail text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'partition_health_rows_wrapper';
COMMENT ON FUNCTION @extschema@.partition_health_rows() IS 'The rows of the view partition_health';
REVOKE ALL ON FUNCTION @extschema@.partition_health_rows() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.partition_health_rows() TO telemetry_reader, telemetry_admin, pg_monitor;

CREATE VIEW @extschema@.partition_health AS
    SELECT parent, partition, starts_at, ends_at, state, seal, sealed_at, made_at, made_late, rows_estimate, bytes, index_bytes,
           dead_rows, last_vacuum_at, last_analyze_at, xid_age, observed_from, observed_until, missing_indexes, invalid_indexes,
           missing_privileges, missing_settings, remedies, gap_before, covered_until, leaves_as, tries, next_try_at, last_error,
           in_the_way, detail
    FROM @extschema@.partition_health_rows();
COMMENT ON VIEW @extschema@.partition_health IS
    'Partitions of facts and of rejected readings, in order of time, and a row for each of the two as a whole; NULL: not known';
COMMENT ON COLUMN @extschema@.partition_health.parent IS 'facts or rejected';
COMMENT ON COLUMN @extschema@.partition_health.partition IS 'the table; NULL: all of them together';
COMMENT ON COLUMN @extschema@.partition_health.starts_at IS 'from this time on; -infinity: no bound';
COMMENT ON COLUMN @extschema@.partition_health.ends_at IS 'up to, and without, this time; infinity: no bound';
COMMENT ON COLUMN @extschema@.partition_health.state IS
    'attached; detach pending: begun and interrupted, its readings are out of sight; detached: it is none any more and waits to be dropped, or is kept';
COMMENT ON COLUMN @extschema@.partition_health.seal IS 'open, sealing, sealed or reopened, see partition_state; of facts only';
COMMENT ON COLUMN @extschema@.partition_health.sealed_at IS 'when it was last sealed';
COMMENT ON COLUMN @extschema@.partition_health.made_at IS 'when it was made; NULL: not by pg_telemetry, or not known';
COMMENT ON COLUMN @extschema@.partition_health.made_late IS 'when its time had begun already';
COMMENT ON COLUMN @extschema@.partition_health.rows_estimate IS 'readings in it; exact at the time it was sealed, else by the counters of the server';
COMMENT ON COLUMN @extschema@.partition_health.bytes IS 'its size without indexes; of sealed and of old ones as of the last vacuum';
COMMENT ON COLUMN @extschema@.partition_health.index_bytes IS 'size of its indexes, as bytes';
COMMENT ON COLUMN @extschema@.partition_health.dead_rows IS 'rows that were deleted and not vacuumed away; a standby does not know';
COMMENT ON COLUMN @extschema@.partition_health.last_vacuum_at IS 'last vacuum, by hand or automatic';
COMMENT ON COLUMN @extschema@.partition_health.last_analyze_at IS 'last analyze, by hand or automatic';
COMMENT ON COLUMN @extschema@.partition_health.xid_age IS 'transactions since its oldest row that is not frozen may have been written';
COMMENT ON COLUMN @extschema@.partition_health.observed_from IS 'least time of a reading in it, once it is sealed';
COMMENT ON COLUMN @extschema@.partition_health.observed_until IS 'greatest time of a reading in it, once it is sealed';
COMMENT ON COLUMN @extschema@.partition_health.missing_indexes IS 'indexes of the parent that it has not';
COMMENT ON COLUMN @extschema@.partition_health.invalid_indexes IS 'indexes that answer no query';
COMMENT ON COLUMN @extschema@.partition_health.missing_privileges IS 'where it gives more rights than the parent, or has no row security where that has';
COMMENT ON COLUMN @extschema@.partition_health.missing_settings IS 'statistics targets and the like of the parent that it has not; those of columns are only known of up to 1,000 partitions';
COMMENT ON COLUMN @extschema@.partition_health.remedies IS 'statements that put right what it lacks; for indexes see fact_index_plan()';
COMMENT ON COLUMN @extschema@.partition_health.gap_before IS 'time between the partition before it and this one that has no partition';
COMMENT ON COLUMN @extschema@.partition_health.covered_until IS
    'of all of them together: until when there is a partition for every time from now on; NULL: not even for now';
COMMENT ON COLUMN @extschema@.partition_health.leaves_as IS 'what becomes of it once it is detached: drop, keep or archive';
COMMENT ON COLUMN @extschema@.partition_health.tries IS 'failures in a row of what is to be done with it';
COMMENT ON COLUMN @extschema@.partition_health.next_try_at IS 'not tried again before';
COMMENT ON COLUMN @extschema@.partition_health.last_error IS 'what the last try said';
COMMENT ON COLUMN @extschema@.partition_health.in_the_way IS 'who held a lock at that time';
COMMENT ON COLUMN @extschema@.partition_health.detail IS 'what else should be known, for people';
GRANT SELECT ON @extschema@.partition_health TO telemetry_reader, telemetry_admin, pg_monitor;
