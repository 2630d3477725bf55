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
