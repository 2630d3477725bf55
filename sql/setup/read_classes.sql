-- Rows override the classes that are built in, and add others. No default rows: a dump would bring them as well.
CREATE TABLE @extschema@.read_classes (
    class text NOT NULL,
    max_lag interval NOT NULL,
    note text,
    CONSTRAINT read_classes_pkey PRIMARY KEY (class),
    CONSTRAINT read_classes_max_lag_check CHECK (max_lag >= interval '0')
);
COMMENT ON TABLE @extschema@.read_classes IS
    'How old data may be for each class of reads; built in are strong (0), eventual (3 s) and analytics (5 min)';
COMMENT ON COLUMN @extschema@.read_classes.class IS 'name of the class, as in can_serve(class)';
COMMENT ON COLUMN @extschema@.read_classes.max_lag IS 'how old the data may be; 0: only the primary may answer';
COMMENT ON COLUMN @extschema@.read_classes.note IS 'what it is for, for people';
GRANT SELECT ON @extschema@.read_classes TO telemetry_writer, telemetry_reader, telemetry_admin, pg_monitor;
GRANT INSERT, UPDATE, DELETE ON @extschema@.read_classes TO telemetry_admin;
