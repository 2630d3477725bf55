-- Written by run_worker() alone: where the library is preloaded, all this is in shared memory.
CREATE TABLE @extschema@.worker_runs (
    worker text NOT NULL,
    task text NOT NULL,
    last_start_at timestamptz,
    last_success_at timestamptz,
    last_duration_ms double precision,
    runs bigint NOT NULL DEFAULT 0,
    errors bigint NOT NULL DEFAULT 0,
    consecutive_errors integer NOT NULL DEFAULT 0,
    last_sqlstate text,
    last_error text,
    last_error_at timestamptz,
    backoff_until timestamptz,
    detail text,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT worker_runs_pkey PRIMARY KEY (worker, task)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.2, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE @extschema@.worker_runs IS
    'What became of the tasks that run_worker() ran, for worker_status; may be emptied when a scheduler calls it no more';
COMMENT ON COLUMN @extschema@.worker_runs.worker IS 'flusher N, keeper or janitor';
COMMENT ON COLUMN @extschema@.worker_runs.task IS 'a task of it; empty: the worker itself';
COMMENT ON COLUMN @extschema@.worker_runs.last_start_at IS 'when the task last began; of the worker itself, when it was last called';
COMMENT ON COLUMN @extschema@.worker_runs.last_success_at IS 'when the task last ended well';
COMMENT ON COLUMN @extschema@.worker_runs.last_duration_ms IS 'how long the last run took';
COMMENT ON COLUMN @extschema@.worker_runs.runs IS 'runs that ended well';
COMMENT ON COLUMN @extschema@.worker_runs.errors IS 'runs that failed';
COMMENT ON COLUMN @extschema@.worker_runs.consecutive_errors IS 'failures since the last success';
COMMENT ON COLUMN @extschema@.worker_runs.last_sqlstate IS 'SQLSTATE of the last failure';
COMMENT ON COLUMN @extschema@.worker_runs.last_error IS 'message of the last failure';
COMMENT ON COLUMN @extschema@.worker_runs.last_error_at IS 'when the last failure was';
COMMENT ON COLUMN @extschema@.worker_runs.backoff_until IS 'not tried again before this time';
COMMENT ON COLUMN @extschema@.worker_runs.detail IS 'why something that waits could not be done';
COMMENT ON COLUMN @extschema@.worker_runs.seen_at IS 'when this was written; at least every ten seconds while it runs';
GRANT SELECT, DELETE ON @extschema@.worker_runs TO telemetry_admin;
