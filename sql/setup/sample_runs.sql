-- Which time the samples stand for. In partitions by the day, as all samples are.
CREATE TABLE @extschema@.sample_runs (
    sampled_at timestamptz NOT NULL,
    source text NOT NULL,
    covers_from timestamptz,
    samples bigint NOT NULL,
    took_ms double precision NOT NULL,
    state text NOT NULL,
    message text,
    evictions bigint
) PARTITION BY RANGE (sampled_at);
COMMENT ON TABLE @extschema@.sample_runs IS
    'When each source was sampled, from when on its samples count, and why there are none';
COMMENT ON COLUMN @extschema@.sample_runs.sampled_at IS 'when it was taken';
COMMENT ON COLUMN @extschema@.sample_runs.source IS 'statements, relations, server, sizes, tenants or indexes';
COMMENT ON COLUMN @extschema@.sample_runs.covers_from IS 'what was counted since then is in the samples of this run; NULL: counting began anew, and there are none';
COMMENT ON COLUMN @extschema@.sample_runs.samples IS 'rows that were written';
COMMENT ON COLUMN @extschema@.sample_runs.took_ms IS 'how long it took';
COMMENT ON COLUMN @extschema@.sample_runs.state IS 'sampled; began: counting began anew; waiting, full, not installed, not loaded, not readable or failed: see message';
COMMENT ON COLUMN @extschema@.sample_runs.message IS 'why there are no samples';
COMMENT ON COLUMN @extschema@.sample_runs.evictions IS 'of statements: how often pg_stat_statements made room since covers_from, for the whole server; NULL: not known';
GRANT SELECT ON @extschema@.sample_runs TO telemetry_admin, pg_monitor;
