\echo Use "CREATE EXTENSION pg_telemetry" to load this file. \quit

-- Refuse before anything is made, and name everything that is in the way at once.

SET LOCAL search_path = pg_catalog, pg_temp;

DO $preflight$
DECLARE
    -- Everything that this extension creates in its schema, members and data tables alike.
    relations CONSTANT text[] := ARRAY[
        'attributes', 'entities', 'entity_values_ingest', 'entity_values_ingest_durable', 'entity_values_ts',
        'entity_values_rejected', 'entity_jsonb', 'replication_heartbeat', 'retention_policies', 'worker_status'];
    functions CONSTANT text[] := ARRAY[
        'setup', 'stage_flush', 'last_flush', 'register_attribute', 'register_entity', 'worker_status_rows',
        'staging_refuses_change', 'attribute_keeps_identity'];
    taken text;
    public_may_create boolean;
BEGIN
    SELECT EXISTS (
        SELECT FROM pg_namespace n, LATERAL aclexplode(n.nspacl) a
        WHERE n.oid = '@extschema@'::regnamespace AND a.grantee = 0 AND a.privilege_type = 'CREATE')
    INTO public_may_create;

    IF public_may_create THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = format('schema %s lets every user create objects in it', '@extschema@'),
            DETAIL = 'Anybody could plant an object there that looks like one of pg_telemetry.',
            HINT = format('REVOKE CREATE ON SCHEMA %s FROM PUBLIC, or use a schema of its own: CREATE SCHEMA telemetry; '
                          'CREATE EXTENSION pg_telemetry SCHEMA telemetry;', '@extschema@');
    END IF;

    -- Data tables and their trigger functions of an earlier installation belong to telemetry_owner: setup() adopts them.
    SELECT string_agg(what, ', ' ORDER BY what) INTO taken
    FROM (
        SELECT CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view ' WHEN 'S' THEN 'sequence '
                              WHEN 'i' THEN 'index ' WHEN 'I' THEN 'index ' WHEN 'c' THEN 'type '
                              WHEN 'f' THEN 'foreign table ' ELSE 'table ' END || c.oid::regclass AS what
        FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner
        WHERE c.relnamespace = '@extschema@'::regnamespace
          AND c.relname = ANY (relations)
          AND NOT (o.rolname = 'telemetry_owner' AND c.relkind IN ('r', 'p') AND c.relname <> 'worker_status')
        UNION ALL
        SELECT 'function ' || p.oid::regprocedure
        FROM pg_proc p JOIN pg_roles o ON o.oid = p.proowner
        WHERE p.pronamespace = '@extschema@'::regnamespace
          AND p.proname = ANY (functions)
          AND NOT (o.rolname = 'telemetry_owner' AND p.proname IN ('staging_refuses_change', 'attribute_keeps_identity'))
    ) AS collisions;

    IF taken IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'duplicate_object',
            MESSAGE = format('schema %s already has objects with names that pg_telemetry needs', '@extschema@'),
            DETAIL = 'In the way: ' || taken || '.',
            HINT = 'Rename or drop them, or choose another schema: CREATE EXTENSION pg_telemetry SCHEMA …; tables of an '
                   'earlier installation are adopted when their owner is telemetry_owner.';
    END IF;
END
$preflight$;

-- The group roles. They belong to the whole cluster, so they are made only if absent, and checked if present:
-- a role that somebody else made with more rights than these would turn our grants into a way up.

DO $roles$
DECLARE
    wanted record;
    present pg_roles;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('telemetry_owner', 'owns the data tables of pg_telemetry; its workers run as this role'),
            ('telemetry_writer', 'may write readings: COPY and INSERT into the staging tables, registration, stage_flush()'),
            ('telemetry_reader', 'may read facts, projection and dictionaries'),
            ('telemetry_admin', 'may configure and look after pg_telemetry')) AS r (name, purpose)
    LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.name) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted.name);
                EXECUTE format('COMMENT ON ROLE %I IS %L', wanted.name, wanted.purpose);
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- another database of this cluster installs at the same moment
        END;

        SELECT * INTO present FROM pg_roles WHERE rolname = wanted.name;
        IF present.rolsuper OR present.rolcreaterole OR present.rolcreatedb OR present.rolreplication
           OR present.rolbypassrls
           OR (wanted.name = 'telemetry_owner' AND present.rolcanlogin) THEN
            RAISE EXCEPTION USING
                ERRCODE = 'invalid_role_specification',
                MESSAGE = format('role %I exists with more rights than pg_telemetry allows it', wanted.name),
                DETAIL = 'It must not be SUPERUSER, CREATEROLE, CREATEDB, REPLICATION or BYPASSRLS; telemetry_owner must not LOGIN either.',
                HINT = format('ALTER ROLE %I NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS%s;', wanted.name,
                              CASE wanted.name WHEN 'telemetry_owner' THEN ' NOLOGIN' ELSE '' END);
        END IF;
    END LOOP;
END
$roles$;

-- The owner makes partitions at run time, so it needs CREATE; the others only need to reach what they may use.
GRANT USAGE, CREATE ON SCHEMA @extschema@ TO telemetry_owner;
GRANT USAGE ON SCHEMA @extschema@ TO telemetry_writer, telemetry_reader, telemetry_admin, pg_monitor;

-- setup() makes or adopts the data tables. Not security definer: it must be called by a superuser or by a member of
-- telemetry_owner, and makes everything as telemetry_owner.

CREATE FUNCTION @extschema@.setup(OUT object text, OUT outcome text) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'setup_wrapper';
COMMENT ON FUNCTION @extschema@.setup() IS
    'Makes the data tables that are missing, adopts those that are there, and lists what it did; harmless to repeat';
REVOKE ALL ON FUNCTION @extschema@.setup() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.setup() TO telemetry_owner;

-- Names to ids: get or create. Both run as telemetry_owner, so that a writer needs no more than EXECUTE.

CREATE FUNCTION @extschema@.register_attribute(
        tenant_id bigint, name text, value_type text, unit text DEFAULT NULL, is_hot boolean DEFAULT false)
    RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'register_attribute_wrapper';
COMMENT ON FUNCTION @extschema@.register_attribute(bigint, text, text, text, boolean) IS
    'The id of an attribute of a tenant (0: shared by all), registered if it is new; refuses another type than the registered one';
ALTER FUNCTION @extschema@.register_attribute(bigint, text, text, text, boolean) OWNER TO telemetry_owner;
REVOKE ALL ON FUNCTION @extschema@.register_attribute(bigint, text, text, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.register_attribute(bigint, text, text, text, boolean)
    TO telemetry_writer, telemetry_admin;

CREATE FUNCTION @extschema@.register_entity(tenant_id bigint, external_id text)
    RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'register_entity_wrapper';
COMMENT ON FUNCTION @extschema@.register_entity(bigint, text) IS
    'The entity_id that stands for an external id of a tenant, given out if it is new';
ALTER FUNCTION @extschema@.register_entity(bigint, text) OWNER TO telemetry_owner;
REVOKE ALL ON FUNCTION @extschema@.register_entity(bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.register_entity(bigint, text) TO telemetry_writer, telemetry_admin;

-- Staging to facts. Runs as telemetry_owner: whoever may call it needs no rights on the tables it touches.

CREATE FUNCTION @extschema@.stage_flush(max_rows bigint DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'stage_flush_wrapper';
COMMENT ON FUNCTION @extschema@.stage_flush(bigint) IS
    'Moves staged readings to facts, at most max_rows of them, and returns how many reached facts; last_flush() has the details';
ALTER FUNCTION @extschema@.stage_flush(bigint) OWNER TO telemetry_owner;
REVOKE ALL ON FUNCTION @extschema@.stage_flush(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.stage_flush(bigint) TO telemetry_writer, telemetry_admin;

CREATE FUNCTION @extschema@.last_flush(
        OUT started_at timestamptz, OUT rows_flushed bigint, OUT rows_rejected bigint, OUT rows_waiting bigint,
        OUT waiting_reason text, OUT partitions_created integer, OUT duration_ms double precision)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'last_flush_wrapper';
COMMENT ON FUNCTION @extschema@.last_flush() IS
    'What the last stage_flush() of this session did; no row before the first';
REVOKE ALL ON FUNCTION @extschema@.last_flush() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.last_flush() TO telemetry_writer, telemetry_admin;

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
    'running, sleeping, waiting, backoff, on demand, stopped, standby, missing or not preloaded';
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

-- Last: the data tables. In a restore setup() leaves them to the dump.

DO $finish$
BEGIN
    PERFORM @extschema@.setup();
END
$finish$;
