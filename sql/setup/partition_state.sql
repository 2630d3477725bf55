-- One row for each partition of facts. By name and bounds, so that a dump carries it; the number of the table comes again by
-- itself after a restore.
CREATE TABLE @extschema@.partition_state (
    partition text NOT NULL,
    schema_name text,
    relation_oid oid,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    made_at timestamptz,
    made_late boolean NOT NULL DEFAULT false,
    seal text NOT NULL DEFAULT 'open',
    sealing_since timestamptz,
    sealed_at timestamptz,
    observed_from timestamptz,
    observed_until timestamptz,
    rows bigint,
    leaves_as text,
    left_at timestamptz,
    tries integer NOT NULL DEFAULT 0,
    next_try_at timestamptz,
    last_error text,
    in_the_way text,
    removed_all_but boolean,
    removed_tenants bigint[],
    removal_block bigint,
    removal_sealed_at timestamptz,
    removed_rows bigint NOT NULL DEFAULT 0,
    rewritten_at timestamptz,
    CONSTRAINT partition_state_pkey PRIMARY KEY (starts_at, partition),
    CONSTRAINT partition_state_seal_check CHECK (seal IN ('open', 'sealing', 'sealed', 'reopened')),
    CONSTRAINT partition_state_leaves_as_check CHECK (leaves_as IN ('drop', 'keep', 'archive'))
);
COMMENT ON TABLE @extschema@.partition_state IS 'What is known of each partition of facts: whether it is sealed, what it holds, how it leaves';
COMMENT ON COLUMN @extschema@.partition_state.partition IS 'name of the table';
COMMENT ON COLUMN @extschema@.partition_state.schema_name IS 'its schema; NULL: that of the extension';
COMMENT ON COLUMN @extschema@.partition_state.relation_oid IS 'the table by its number, which a rename leaves as it is; looked up again after a restore';
COMMENT ON COLUMN @extschema@.partition_state.starts_at IS 'from this ingested_at on; -infinity: no bound';
COMMENT ON COLUMN @extschema@.partition_state.ends_at IS 'up to, and without, this ingested_at; infinity: no bound';
COMMENT ON COLUMN @extschema@.partition_state.made_at IS 'when it was made; NULL: not by pg_telemetry, or not known';
COMMENT ON COLUMN @extschema@.partition_state.made_late IS 'it was made when its time had begun already; within a day of that nothing is removed';
COMMENT ON COLUMN @extschema@.partition_state.seal IS
    'open; sealing: being vacuumed and looked through; sealed: complete, frozen, observed_from to observed_until hold; reopened: readings came after all, and it is to be sealed again';
COMMENT ON COLUMN @extschema@.partition_state.sealing_since IS 'when the sealing began that is under way, or was last';
COMMENT ON COLUMN @extschema@.partition_state.sealed_at IS 'when it was last sealed';
COMMENT ON COLUMN @extschema@.partition_state.observed_from IS 'least time of a reading in it, by observed_at, or ingested_at where that is NULL; NULL: not known, or without readings';
COMMENT ON COLUMN @extschema@.partition_state.observed_until IS 'greatest time of a reading in it';
COMMENT ON COLUMN @extschema@.partition_state.rows IS 'readings in it when it was sealed';
COMMENT ON COLUMN @extschema@.partition_state.leaves_as IS 'what becomes of it once it is detached: drop, keep or archive; NULL: it stays';
COMMENT ON COLUMN @extschema@.partition_state.left_at IS 'when it was found detached';
COMMENT ON COLUMN @extschema@.partition_state.tries IS 'failures in a row of what is to be done with it';
COMMENT ON COLUMN @extschema@.partition_state.next_try_at IS 'not tried again before';
COMMENT ON COLUMN @extschema@.partition_state.last_error IS 'what the last of them said';
COMMENT ON COLUMN @extschema@.partition_state.in_the_way IS 'who held a lock at that time';
COMMENT ON COLUMN @extschema@.partition_state.removed_all_but IS
    'removed_tenants are those who keep theirs, and the readings of all others are deleted; NULL: nobody''s are';
COMMENT ON COLUMN @extschema@.partition_state.removed_tenants IS 'whose readings are deleted, as their time is over, though the partition stays';
COMMENT ON COLUMN @extschema@.partition_state.removal_block IS 'that has come as far as this page; NULL: it is done';
COMMENT ON COLUMN @extschema@.partition_state.removal_sealed_at IS 'what sealed_at was then: of what came later nothing was deleted yet';
COMMENT ON COLUMN @extschema@.partition_state.removed_rows IS 'readings deleted so since it was made or rewritten';
COMMENT ON COLUMN @extschema@.partition_state.rewritten_at IS 'when the room of deleted readings was last given back';
GRANT SELECT ON @extschema@.partition_state TO telemetry_reader, telemetry_admin;
GRANT UPDATE (made_late, leaves_as, next_try_at) ON @extschema@.partition_state TO telemetry_admin;
