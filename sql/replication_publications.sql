-- Change data capture. Runs as its caller, who has to own the tables and may create publications.

CREATE FUNCTION @extschema@.create_cdc_publications(
        prefix text DEFAULT 'telemetry', OUT publication text, OUT operations text, OUT outcome text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 2
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'create_cdc_publications_wrapper';
COMMENT ON FUNCTION @extschema@.create_cdc_publications(text) IS
    'Makes the publications prefix_facts (facts, inserts only, as one table) and prefix_state (projection and heartbeat); those that are there stay as they are, or are refused when their content differs';
REVOKE ALL ON FUNCTION @extschema@.create_cdc_publications(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.create_cdc_publications(text) TO telemetry_admin;
