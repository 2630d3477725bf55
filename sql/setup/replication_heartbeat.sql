-- A bounded number of rows that are updated in place: half-empty pages keep every update HOT.
CREATE TABLE @extschema@.replication_heartbeat (
    slot smallint NOT NULL,
    written_at timestamptz NOT NULL,
    wal_position pg_lsn NOT NULL,
    timeline integer NOT NULL,
    writer text NOT NULL,
    CONSTRAINT replication_heartbeat_pkey PRIMARY KEY (slot)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE @extschema@.replication_heartbeat IS 'A ring of (time, WAL position) that the primary writes and standbys read';
COMMENT ON COLUMN @extschema@.replication_heartbeat.slot IS 'place in the ring';
COMMENT ON COLUMN @extschema@.replication_heartbeat.written_at IS 'clock of the primary when it was written';
COMMENT ON COLUMN @extschema@.replication_heartbeat.wal_position IS 'WAL insert position at that time';
COMMENT ON COLUMN @extschema@.replication_heartbeat.timeline IS 'timeline of the writer';
COMMENT ON COLUMN @extschema@.replication_heartbeat.writer IS 'identity of the node that wrote it';
GRANT SELECT ON @extschema@.replication_heartbeat TO telemetry_reader, telemetry_admin, pg_monitor;
