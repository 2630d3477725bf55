-- A row for each alert that is not well, updated in place.
CREATE TABLE @extschema@.alert_state (
    alert text NOT NULL,
    object text NOT NULL,
    phase text NOT NULL,
    severity text NOT NULL,
    value double precision,
    detail text,
    statement text,
    since timestamptz NOT NULL,
    fired_at timestamptz,
    calm_since timestamptz,
    resolved_at timestamptz,
    unknown_since timestamptz,
    CONSTRAINT alert_state_pkey PRIMARY KEY (alert, object)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE @extschema@.alert_state IS
    'What is known of each alert that is not well, so that it outlives a restart; see the view telemetry_alerts. Empty it to begin anew';
COMMENT ON COLUMN @extschema@.alert_state.alert IS 'the alert';
COMMENT ON COLUMN @extschema@.alert_state.object IS 'what it is about; empty where there is only one';
COMMENT ON COLUMN @extschema@.alert_state.phase IS 'pending, firing, resolved or unknown (nothing was ever known)';
COMMENT ON COLUMN @extschema@.alert_state.severity IS 'warning or critical';
COMMENT ON COLUMN @extschema@.alert_state.value IS 'what was measured last';
COMMENT ON COLUMN @extschema@.alert_state.detail IS 'more of it, for people';
COMMENT ON COLUMN @extschema@.alert_state.statement IS 'what to run, where the object has a statement of its own';
COMMENT ON COLUMN @extschema@.alert_state.since IS 'since when the value is bad';
COMMENT ON COLUMN @extschema@.alert_state.fired_at IS 'since when it fires';
COMMENT ON COLUMN @extschema@.alert_state.calm_since IS 'since when the value asks for less than the severity';
COMMENT ON COLUMN @extschema@.alert_state.resolved_at IS 'when it was over';
COMMENT ON COLUMN @extschema@.alert_state.unknown_since IS 'since when nothing is known any more';
GRANT SELECT ON @extschema@.alert_state TO telemetry_admin, pg_monitor;
GRANT DELETE ON @extschema@.alert_state TO telemetry_admin;
