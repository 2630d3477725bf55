-- Rows override what is built in, field by field. No default rows: a dump would bring them as well, and hide what a later version knows
-- better.
CREATE TABLE @extschema@.alert_rules (
    alert text NOT NULL,
    enabled boolean,
    warn double precision,
    critical double precision,
    clear double precision,
    for_duration interval,
    keep_for interval,
    note text,
    CONSTRAINT alert_rules_pkey PRIMARY KEY (alert),
    CONSTRAINT alert_rules_thresholds_check CHECK (warn <> 'NaN' AND critical <> 'NaN' AND clear <> 'NaN'),
    CONSTRAINT alert_rules_durations_check CHECK (for_duration BETWEEN interval '0' AND interval '30 days'
                                                  AND keep_for BETWEEN interval '0' AND interval '30 days')
);
COMMENT ON TABLE @extschema@.alert_rules IS
    'What alerts go by instead of what is built in, field by field: NULL leaves a field as it is; see telemetry_alerts';
COMMENT ON COLUMN @extschema@.alert_rules.alert IS 'the alert, as in telemetry_alerts';
COMMENT ON COLUMN @extschema@.alert_rules.enabled IS 'false: it is not looked at';
COMMENT ON COLUMN @extschema@.alert_rules.warn IS 'from this value on it is a warning; Infinity (-Infinity where less is worse): never';
COMMENT ON COLUMN @extschema@.alert_rules.critical IS 'from this value on it is critical; Infinity (-Infinity where less is worse): never';
COMMENT ON COLUMN @extschema@.alert_rules.clear IS 'it is over when the value has passed this';
COMMENT ON COLUMN @extschema@.alert_rules.for_duration IS 'how long it must go on before it fires';
COMMENT ON COLUMN @extschema@.alert_rules.keep_for IS 'how long it must be over before that is said';
COMMENT ON COLUMN @extschema@.alert_rules.note IS 'why, for people';
GRANT SELECT ON @extschema@.alert_rules TO telemetry_admin, pg_monitor;
GRANT INSERT, UPDATE, DELETE ON @extschema@.alert_rules TO telemetry_admin;
