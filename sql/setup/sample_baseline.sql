-- UNLOGGED, so that it goes when the counters of the server go: a crash empties both, and on a standby that is promoted both begin
-- anew. A clean restart keeps both.
CREATE UNLOGGED TABLE @extschema@.sample_baseline (
    source text NOT NULL,
    a bigint NOT NULL,
    b bigint NOT NULL,
    taken_at timestamptz,
    counters double precision[] NOT NULL,
    CONSTRAINT sample_baseline_pkey PRIMARY KEY (source, a, b)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.2, autovacuum_vacuum_threshold = 5000);
COMMENT ON TABLE @extschema@.sample_baseline IS
    'Counters as they were at the last sample, to subtract them from those of the next';
COMMENT ON COLUMN @extschema@.sample_baseline.source IS 'as in sample_runs; epoch: where these counters belong';
COMMENT ON COLUMN @extschema@.sample_baseline.a IS 'oid of a relation or queryid of a statement; 0: the source as a whole';
COMMENT ON COLUMN @extschema@.sample_baseline.b IS 'who ran the statement';
COMMENT ON COLUMN @extschema@.sample_baseline.taken_at IS 'of a source as a whole: when it was last sampled';
COMMENT ON COLUMN @extschema@.sample_baseline.counters IS 'the counters of the server at the last sample';
