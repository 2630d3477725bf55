-- The workers for servers without preload: a scheduler such as pg_cron calls them.

-- No search_path is pinned: a procedure with SET could not end its transaction. It pins what workers pin while it runs.
CREATE PROCEDURE @extschema@.run_worker(worker text, how_long interval DEFAULT '55 seconds')
    LANGUAGE c
    AS 'MODULE_PATHNAME', 'run_worker_wrapper';
COMMENT ON PROCEDURE @extschema@.run_worker(text, interval) IS
    'Does for so long what the flusher, keeper or janitor would do, statements at top level included; for schedulers on servers without preload';
REVOKE ALL ON PROCEDURE @extschema@.run_worker(text, interval) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE @extschema@.run_worker(text, interval) TO telemetry_admin;
