-- Rejected readings: putting them back, bounding what is kept of them, an overview. All work as telemetry_owner.

CREATE FUNCTION @extschema@.retry_rejected(
        filter jsonb DEFAULT '{}', max_rows bigint DEFAULT 100000, restamp boolean DEFAULT false)
    RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'retry_rejected_wrapper';
COMMENT ON FUNCTION @extschema@.retry_rejected(jsonb, bigint, boolean) IS
    'Puts rejected readings that fit the filter back into the staging table that they came from, at most max_rows of them, and returns how many; restamp gives those without an accepted ingested_at the present time';
REVOKE ALL ON FUNCTION @extschema@.retry_rejected(jsonb, bigint, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.retry_rejected(jsonb, bigint, boolean) TO telemetry_admin;

CREATE FUNCTION @extschema@.trim_rejected(
        OUT partitions_dropped bigint, OUT rows_removed bigint, OUT waiting_reason text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'trim_rejected_wrapper';
COMMENT ON FUNCTION @extschema@.trim_rejected() IS
    'Removes rejected readings beyond pg_telemetry.rejected_keep and pg_telemetry.rejected_max_size, as the keeper does';
REVOKE ALL ON FUNCTION @extschema@.trim_rejected() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.trim_rejected() TO telemetry_admin;

CREATE FUNCTION @extschema@.rejected_summary_rows(
        OUT day date, OUT tenant_id bigint, OUT attribute_id integer, OUT sqlstate text, OUT reason text,
        OUT rows bigint, OUT bytes bigint, OUT first_at timestamptz, OUT last_at timestamptz, OUT is_estimate boolean)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'rejected_summary_rows_wrapper';
COMMENT ON FUNCTION @extschema@.rejected_summary_rows() IS 'The rows of the view rejected_summary';
REVOKE ALL ON FUNCTION @extschema@.rejected_summary_rows() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.rejected_summary_rows() TO telemetry_admin, pg_monitor;

CREATE VIEW @extschema@.rejected_summary AS
    SELECT day, tenant_id, attribute_id, sqlstate, reason, rows, bytes, first_at, last_at, is_estimate
    FROM @extschema@.rejected_summary_rows();
COMMENT ON VIEW @extschema@.rejected_summary IS
    'What is in entity_values_rejected, by day, tenant, attribute and reason; from a sample where that is large';
COMMENT ON COLUMN @extschema@.rejected_summary.day IS 'the day of the flush that refused them, in UTC';
COMMENT ON COLUMN @extschema@.rejected_summary.tenant_id IS 'the tenant that the readings name';
COMMENT ON COLUMN @extschema@.rejected_summary.attribute_id IS 'the attribute that they name';
COMMENT ON COLUMN @extschema@.rejected_summary.sqlstate IS 'the class of the fault';
COMMENT ON COLUMN @extschema@.rejected_summary.reason IS 'the fault, for people';
COMMENT ON COLUMN @extschema@.rejected_summary.rows IS 'how many readings';
COMMENT ON COLUMN @extschema@.rejected_summary.bytes IS 'what they take, without the rest of their pages';
COMMENT ON COLUMN @extschema@.rejected_summary.first_at IS 'when the first of them was refused';
COMMENT ON COLUMN @extschema@.rejected_summary.last_at IS 'when the last of them was refused';
COMMENT ON COLUMN @extschema@.rejected_summary.is_estimate IS 'the numbers come from a sample';
GRANT SELECT ON @extschema@.rejected_summary TO telemetry_admin, pg_monitor;
