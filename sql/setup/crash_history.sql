CREATE TABLE @extschema@.crash_history (
    epoch uuid NOT NULL,
    noticed_at timestamptz NOT NULL,
    kind text NOT NULL,
    exposed_from timestamptz,
    exposed_until timestamptz NOT NULL,
    last_seen_at timestamptz,
    rows_last_seen bigint,
    bytes_last_seen bigint,
    rows_are_estimated boolean,
    timeline_before integer,
    timeline_after integer NOT NULL,
    CONSTRAINT crash_history_pkey PRIMARY KEY (epoch)
);
COMMENT ON TABLE @extschema@.crash_history IS
    'Crashes and failovers that emptied the fast door: when, and which readings were exposed; those of entity_values_ingest_durable never are';
COMMENT ON COLUMN @extschema@.crash_history.epoch IS 'names the time between two of them';
COMMENT ON COLUMN @extschema@.crash_history.noticed_at IS 'when the keeper or the first flush found the fast door emptied';
COMMENT ON COLUMN @extschema@.crash_history.kind IS
    'crash: this server, immediate shutdown and the death of a process included; promotion: a standby or a restored backup took over';
COMMENT ON COLUMN @extschema@.crash_history.exposed_from IS
    'readings committed to the fast door before this time had reached facts or rejected; NULL: not known';
COMMENT ON COLUMN @extschema@.crash_history.exposed_until IS 'readings committed after this time were not lost';
COMMENT ON COLUMN @extschema@.crash_history.last_seen_at IS 'when the backlog was last looked at and had changed; while nothing is staged or flushed, it stays as it is';
COMMENT ON COLUMN @extschema@.crash_history.rows_last_seen IS 'rows in the fast door at that time; what came or went in the second after it is not in there; NULL: not known';
COMMENT ON COLUMN @extschema@.crash_history.bytes_last_seen IS 'their size';
COMMENT ON COLUMN @extschema@.crash_history.rows_are_estimated IS 'rows_last_seen is an estimate';
COMMENT ON COLUMN @extschema@.crash_history.timeline_before IS 'timeline of the server that was last seen';
COMMENT ON COLUMN @extschema@.crash_history.timeline_after IS 'timeline of the server that noticed';
GRANT SELECT ON @extschema@.crash_history TO telemetry_reader, telemetry_admin, pg_monitor;
