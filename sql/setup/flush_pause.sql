-- One row while flushing is paused. Of its own, since what is known about the fast door is written by every session that flushes,
-- and pause() must not wait for such a transaction to end.
CREATE TABLE @extschema@.flush_pause (
    only_row boolean NOT NULL DEFAULT true,
    paused_at timestamptz NOT NULL,
    paused_by text NOT NULL,
    pause_reason text,
    CONSTRAINT flush_pause_pkey PRIMARY KEY (only_row),
    CONSTRAINT flush_pause_only_row_check CHECK (only_row)
);
COMMENT ON TABLE @extschema@.flush_pause IS 'One row while flushing is paused, none otherwise';
COMMENT ON COLUMN @extschema@.flush_pause.only_row IS 'always true';
COMMENT ON COLUMN @extschema@.flush_pause.paused_at IS 'since when';
COMMENT ON COLUMN @extschema@.flush_pause.paused_by IS 'who called pause()';
COMMENT ON COLUMN @extschema@.flush_pause.pause_reason IS 'what they said';
