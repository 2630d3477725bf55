-- Every worker and task that should be there is a row, the missing ones too.

CREATE FUNCTION @extschema@.worker_status_rows(
        OUT worker text, OUT task text, OUT state text, OUT pid integer,
        OUT started_at timestamptz, OUT last_start_at timestamptz, OUT last_success_at timestamptz,
        OUT expected_every interval, OUT last_duration_ms double precision,
        OUT runs_total bigint, OUT errors_total bigint, OUT consecutive_errors integer,
        OUT last_sqlstate text, OUT last_error text, OUT last_error_at timestamptz, OUT backoff_until timestamptz,
        OUT restarts_total bigint, OUT library_version text, OUT sql_version text, OUT detail text, OUT hint text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 10
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'worker_status_rows_wrapper';
COMMENT ON FUNCTION @extschema@.worker_status_rows() IS 'The rows of the view worker_status';
REVOKE ALL ON FUNCTION @extschema@.worker_status_rows() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.worker_status_rows() TO telemetry_admin, pg_monitor;

CREATE VIEW @extschema@.worker_status AS
    SELECT worker, task, state, pid, started_at, last_start_at, last_success_at, expected_every, last_duration_ms,
           runs_total, errors_total, consecutive_errors, last_sqlstate, last_error, last_error_at, backoff_until,
           restarts_total, library_version, sql_version, detail, hint
    FROM @extschema@.worker_status_rows();
COMMENT ON VIEW @extschema@.worker_status IS
    'Workers and tasks that should run for this database: state, last success, errors, back-off, and what to do';
COMMENT ON COLUMN @extschema@.worker_status.worker IS 'launcher, flusher N, keeper or janitor';
COMMENT ON COLUMN @extschema@.worker_status.task IS 'one task of that worker; NULL on the row of the worker itself';
COMMENT ON COLUMN @extschema@.worker_status.state IS
    'running, sleeping, waiting, paused, backoff, on demand, scheduled, stopped, standby, missing or not preloaded';
COMMENT ON COLUMN @extschema@.worker_status.pid IS 'process id, as in pg_stat_activity; NULL when there is no process';
COMMENT ON COLUMN @extschema@.worker_status.started_at IS 'when that process started';
COMMENT ON COLUMN @extschema@.worker_status.last_start_at IS 'when the task last began';
COMMENT ON COLUMN @extschema@.worker_status.last_success_at IS 'when the task last ended well; NULL: never since the server started';
COMMENT ON COLUMN @extschema@.worker_status.expected_every IS 'how often the task should run; NULL: on demand';
COMMENT ON COLUMN @extschema@.worker_status.last_duration_ms IS 'how long the last run took';
COMMENT ON COLUMN @extschema@.worker_status.runs_total IS 'runs that ended well since the server started';
COMMENT ON COLUMN @extschema@.worker_status.errors_total IS 'runs that failed since the server started';
COMMENT ON COLUMN @extschema@.worker_status.consecutive_errors IS 'failures since the last success';
COMMENT ON COLUMN @extschema@.worker_status.last_sqlstate IS 'SQLSTATE of the last failure';
COMMENT ON COLUMN @extschema@.worker_status.last_error IS 'message of the last failure';
COMMENT ON COLUMN @extschema@.worker_status.last_error_at IS 'when the last failure was';
COMMENT ON COLUMN @extschema@.worker_status.backoff_until IS 'not tried again before this time';
COMMENT ON COLUMN @extschema@.worker_status.restarts_total IS 'how often the process was started again since the server started';
COMMENT ON COLUMN @extschema@.worker_status.library_version IS 'version of the shared library that this session runs';
COMMENT ON COLUMN @extschema@.worker_status.sql_version IS 'version of the extension in this database';
COMMENT ON COLUMN @extschema@.worker_status.detail IS 'why it is in this state, where that is not plain';
COMMENT ON COLUMN @extschema@.worker_status.hint IS 'what to do about it';
GRANT SELECT ON @extschema@.worker_status TO telemetry_admin, pg_monitor;
