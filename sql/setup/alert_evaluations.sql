-- One row, written by evaluate_alerts(). The keeper tells in shared memory when it looked, and writes nothing while nothing changes.
CREATE TABLE @extschema@.alert_evaluations (
    only_row boolean NOT NULL DEFAULT true,
    evaluated_at timestamptz NOT NULL,
    evaluated_by text NOT NULL,
    CONSTRAINT alert_evaluations_pkey PRIMARY KEY (only_row),
    CONSTRAINT alert_evaluations_only_row_check CHECK (only_row)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE @extschema@.alert_evaluations IS 'When evaluate_alerts() was last called, in one row';
COMMENT ON COLUMN @extschema@.alert_evaluations.only_row IS 'always true';
COMMENT ON COLUMN @extschema@.alert_evaluations.evaluated_at IS 'when that was';
COMMENT ON COLUMN @extschema@.alert_evaluations.evaluated_by IS 'who called it';
GRANT SELECT ON @extschema@.alert_evaluations TO telemetry_admin, pg_monitor;
