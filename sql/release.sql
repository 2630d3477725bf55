-- Leaving: what setup() made becomes plain tables. Not security definer: it must be called by a superuser or by a member of
-- telemetry_owner, and of the new owner as well.

CREATE FUNCTION @extschema@.release_tables(
        new_owner text DEFAULT NULL, even_if_staged boolean DEFAULT false, OUT object text, OUT outcome text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'release_tables_wrapper';
COMMENT ON FUNCTION @extschema@.release_tables(text, boolean) IS
    'Hands the data tables over as plain tables, to a new owner if there is one, before DROP EXTENSION; setup() undoes it';
REVOKE ALL ON FUNCTION @extschema@.release_tables(text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.release_tables(text, boolean) TO telemetry_owner;
