-- Emptied by the same crash that empties the fast door, which is how the next flush knows that there was one.
CREATE UNLOGGED TABLE @extschema@.flush_sentinel (
    epoch uuid NOT NULL,
    CONSTRAINT flush_sentinel_pkey PRIMARY KEY (epoch)
);
COMMENT ON TABLE @extschema@.flush_sentinel IS 'Shares the fate of the fast door: when it is empty and flush_state is not, there was a crash or failover';
COMMENT ON COLUMN @extschema@.flush_sentinel.epoch IS 'as in flush_state';
