-- What people said about alerts. Apart from the state, which the keeper writes: neither waits for the other.
CREATE TABLE @extschema@.alert_notes (
    kind text NOT NULL,
    alert text NOT NULL,
    object text NOT NULL,
    ends_at timestamptz NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_by text NOT NULL,
    reason text,
    about timestamptz,
    severity text,
    CONSTRAINT alert_notes_pkey PRIMARY KEY (kind, alert, object),
    CONSTRAINT alert_notes_kind_check CHECK (kind IN ('acknowledged', 'silenced', 'test'))
);
COMMENT ON TABLE @extschema@.alert_notes IS 'Acknowledgements, silences and tests of alerts, each with an end';
COMMENT ON COLUMN @extschema@.alert_notes.kind IS 'acknowledged, silenced or test';
COMMENT ON COLUMN @extschema@.alert_notes.alert IS 'the alert';
COMMENT ON COLUMN @extschema@.alert_notes.object IS 'what it is about; a silence with an empty one is for all of the alert';
COMMENT ON COLUMN @extschema@.alert_notes.ends_at IS 'it counts up to then';
COMMENT ON COLUMN @extschema@.alert_notes.made_at IS 'when it was said';
COMMENT ON COLUMN @extschema@.alert_notes.made_by IS 'by whom';
COMMENT ON COLUMN @extschema@.alert_notes.reason IS 'what they said';
COMMENT ON COLUMN @extschema@.alert_notes.about IS 'of an acknowledgement: when the alert fired that it is about';
COMMENT ON COLUMN @extschema@.alert_notes.severity IS 'of a test: as what it is shown';
GRANT SELECT ON @extschema@.alert_notes TO telemetry_admin, pg_monitor;
