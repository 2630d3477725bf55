-- One row, written while there is something to say, at most once a second, by the keeper or by a session that flushes. Half-empty
-- pages keep every update HOT.
CREATE TABLE @extschema@.flush_state (
    only_row boolean NOT NULL DEFAULT true,
    epoch uuid,
    database_oid oid,
    sentinel_oid oid,
    system_identifier text,
    timeline integer,
    seen_at timestamptz,
    flushed_until timestamptz,
    rows_waiting bigint,
    bytes_waiting bigint,
    rows_are_estimated boolean,
    CONSTRAINT flush_state_pkey PRIMARY KEY (only_row),
    CONSTRAINT flush_state_only_row_check CHECK (only_row)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE @extschema@.flush_state IS 'What is known about the fast door, for the time after a crash; one row';
COMMENT ON COLUMN @extschema@.flush_state.only_row IS 'always true';
COMMENT ON COLUMN @extschema@.flush_state.epoch IS 'also in flush_sentinel, unless a crash has emptied that';
COMMENT ON COLUMN @extschema@.flush_state.database_oid IS 'where the epoch was begun: in a copy or a restored dump it means nothing';
COMMENT ON COLUMN @extschema@.flush_state.sentinel_oid IS 'flush_sentinel at that time';
COMMENT ON COLUMN @extschema@.flush_state.system_identifier IS 'the cluster at that time';
COMMENT ON COLUMN @extschema@.flush_state.timeline IS 'timeline of the server that wrote last';
COMMENT ON COLUMN @extschema@.flush_state.seen_at IS 'when the rest of the row was last written';
COMMENT ON COLUMN @extschema@.flush_state.flushed_until IS 'what was committed into the fast door before this time has left it for good';
COMMENT ON COLUMN @extschema@.flush_state.rows_waiting IS 'rows in the fast door at seen_at';
COMMENT ON COLUMN @extschema@.flush_state.bytes_waiting IS 'their size';
COMMENT ON COLUMN @extschema@.flush_state.rows_are_estimated IS 'rows_waiting is an estimate';
