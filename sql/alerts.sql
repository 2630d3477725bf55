-- Alerts as data, and all of them in one number.

CREATE FUNCTION @extschema@.telemetry_alerts_rows(
        OUT alert text, OUT object text, OUT severity text, OUT state text, OUT value double precision,
        OUT threshold double precision, OUT unit text, OUT since timestamptz, OUT fired_at timestamptz,
        OUT resolved_at timestamptz, OUT evaluated_at timestamptz, OUT what text, OUT detail text, OUT why text,
        OUT remedy text, OUT run text, OUT link text, OUT suppressed_by text, OUT acknowledged_by text,
        OUT acknowledged_until timestamptz, OUT silenced_by text, OUT silenced_until timestamptz, OUT is_test boolean,
        OUT dedupe_key text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 50
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'telemetry_alerts_rows_wrapper';
COMMENT ON FUNCTION @extschema@.telemetry_alerts_rows() IS 'The rows of the view telemetry_alerts';
REVOKE ALL ON FUNCTION @extschema@.telemetry_alerts_rows() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.telemetry_alerts_rows() TO telemetry_admin, pg_monitor;

CREATE VIEW @extschema@.telemetry_alerts AS
    SELECT alert, object, severity, state, value, threshold, unit, since, fired_at, resolved_at, evaluated_at, what, detail, why,
           remedy, run, link, suppressed_by, acknowledged_by, acknowledged_until, silenced_by, silenced_until, is_test, dedupe_key
    FROM @extschema@.telemetry_alerts_rows();
COMMENT ON VIEW @extschema@.telemetry_alerts IS
    'Every alert that has something to say on this node, and how it is; one row for each object that is not well. See docs/alerts.md';
COMMENT ON COLUMN @extschema@.telemetry_alerts.alert IS 'its name';
COMMENT ON COLUMN @extschema@.telemetry_alerts.object IS 'what it is about: a table, a slot, a process; NULL: there is only one';
COMMENT ON COLUMN @extschema@.telemetry_alerts.severity IS 'warning or critical; NULL: neither';
COMMENT ON COLUMN @extschema@.telemetry_alerts.state IS
    'ok; pending: not for long enough yet; firing; resolved: over for less than an hour; silenced: by somebody, or explained by another one; unknown: cannot be told, which is never ok';
COMMENT ON COLUMN @extschema@.telemetry_alerts.value IS 'what was measured last';
COMMENT ON COLUMN @extschema@.telemetry_alerts.threshold IS 'from which value on it has this severity';
COMMENT ON COLUMN @extschema@.telemetry_alerts.unit IS 'of value and threshold';
COMMENT ON COLUMN @extschema@.telemetry_alerts.since IS 'since when it is so, or since when nothing is known';
COMMENT ON COLUMN @extschema@.telemetry_alerts.fired_at IS 'since when it fires';
COMMENT ON COLUMN @extschema@.telemetry_alerts.resolved_at IS 'when it was over';
COMMENT ON COLUMN @extschema@.telemetry_alerts.evaluated_at IS 'when it was last looked at; NULL: never';
COMMENT ON COLUMN @extschema@.telemetry_alerts.what IS 'what is wrong when it fires';
COMMENT ON COLUMN @extschema@.telemetry_alerts.detail IS 'more of it, of this object';
COMMENT ON COLUMN @extschema@.telemetry_alerts.why IS 'why that matters';
COMMENT ON COLUMN @extschema@.telemetry_alerts.remedy IS 'what to do';
COMMENT ON COLUMN @extschema@.telemetry_alerts.run IS 'a statement that shows more or puts it right; read it before you run it';
COMMENT ON COLUMN @extschema@.telemetry_alerts.link IS 'where it is explained';
COMMENT ON COLUMN @extschema@.telemetry_alerts.suppressed_by IS 'the alert that explains this one';
COMMENT ON COLUMN @extschema@.telemetry_alerts.acknowledged_by IS 'who called ack_alert()';
COMMENT ON COLUMN @extschema@.telemetry_alerts.acknowledged_until IS 'up to when that counts';
COMMENT ON COLUMN @extschema@.telemetry_alerts.silenced_by IS 'who called silence_alert(); alert_rules: it is turned off there';
COMMENT ON COLUMN @extschema@.telemetry_alerts.silenced_until IS 'up to when that counts';
COMMENT ON COLUMN @extschema@.telemetry_alerts.is_test IS 'made by test_alert(): nothing is wrong';
COMMENT ON COLUMN @extschema@.telemetry_alerts.dedupe_key IS 'the same as long as it is the same alert about the same object';
GRANT SELECT ON @extschema@.telemetry_alerts TO telemetry_admin, pg_monitor;

CREATE FUNCTION @extschema@.health(
        OUT status smallint, OUT firing integer, OUT unknown integer, OUT oldest_problem_since timestamptz, OUT summary text,
        OUT node_role text, OUT checked_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'health_wrapper';
COMMENT ON FUNCTION @extschema@.health() IS
    'All alerts in one row: status 0 ok, 1 warning, 2 critical, 3 unknown, and a sentence; silenced ones and tests left out. Right on any node, with and without workers';
REVOKE ALL ON FUNCTION @extschema@.health() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.health() TO telemetry_reader, telemetry_admin, pg_monitor;

CREATE FUNCTION @extschema@.evaluate_alerts()
    RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'evaluate_alerts_wrapper';
COMMENT ON FUNCTION @extschema@.evaluate_alerts() IS
    'Looks at all alerts now and keeps what it finds, as the keeper does every pg_telemetry.alert_interval; how many fire';
REVOKE ALL ON FUNCTION @extschema@.evaluate_alerts() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.evaluate_alerts() TO telemetry_admin;

CREATE FUNCTION @extschema@.ack_alert(
        alert text, object text DEFAULT NULL, ends_in interval DEFAULT '1 day', reason text DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'ack_alert_wrapper';
COMMENT ON FUNCTION @extschema@.ack_alert(text, text, interval, text) IS
    'Says that somebody looks after what fires: of one object, or of all; ends when it is over, and at the latest after ends_in. How many there were';
REVOKE ALL ON FUNCTION @extschema@.ack_alert(text, text, interval, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.ack_alert(text, text, interval, text) TO telemetry_admin;

CREATE FUNCTION @extschema@.unack_alert(alert text, object text DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'unack_alert_wrapper';
COMMENT ON FUNCTION @extschema@.unack_alert(text, text) IS 'Takes ack_alert() back; how many there were';
REVOKE ALL ON FUNCTION @extschema@.unack_alert(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.unack_alert(text, text) TO telemetry_admin;

CREATE FUNCTION @extschema@.silence_alert(
        alert text, ends_in interval, object text DEFAULT NULL, reason text DEFAULT NULL)
    RETURNS timestamptz
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'silence_alert_wrapper';
COMMENT ON FUNCTION @extschema@.silence_alert(text, interval, text, text) IS
    'Takes an alert out of health() for a while, of one object or all; when that ends';
REVOKE ALL ON FUNCTION @extschema@.silence_alert(text, interval, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.silence_alert(text, interval, text, text) TO telemetry_admin;

CREATE FUNCTION @extschema@.unsilence_alert(alert text, object text DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'unsilence_alert_wrapper';
COMMENT ON FUNCTION @extschema@.unsilence_alert(text, text) IS 'Takes silence_alert() back: of one object, or all of the alert; how many there were';
REVOKE ALL ON FUNCTION @extschema@.unsilence_alert(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.unsilence_alert(text, text) TO telemetry_admin;

CREATE FUNCTION @extschema@.test_alert(
        alert text, severity text DEFAULT 'warning', ends_in interval DEFAULT '1 minute')
    RETURNS timestamptz
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'test_alert_wrapper';
COMMENT ON FUNCTION @extschema@.test_alert(text, text, interval) IS
    'Shows an alert as if it fired, marked as a test, in telemetry_alerts and telemetry_metrics and not in health(); when that ends';
REVOKE ALL ON FUNCTION @extschema@.test_alert(text, text, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.test_alert(text, text, interval) TO telemetry_admin;
