-- Indexes of facts, made and made anew while others write. All work as telemetry_owner, by src/pg/identity.rs.

CREATE FUNCTION @extschema@.add_fact_index(
        columns text[], method text DEFAULT 'btree', where_clause text DEFAULT NULL, include text[] DEFAULT NULL,
        index_name text DEFAULT NULL, storage_parameters jsonb DEFAULT NULL, tablespace text DEFAULT NULL)
    RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'add_fact_index_wrapper';
COMMENT ON FUNCTION @extschema@.add_fact_index(text[], text, text, text[], text, jsonb, text) IS
    'Adds an index to facts without holding writers up, and returns its name; the janitor builds it, partition by partition: see fact_indexes';
REVOKE ALL ON FUNCTION @extschema@.add_fact_index(text[], text, text, text[], text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.add_fact_index(text[], text, text, text[], text, jsonb, text) TO telemetry_admin;

CREATE FUNCTION @extschema@.drop_fact_index(index_name text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'drop_fact_index_wrapper';
COMMENT ON FUNCTION @extschema@.drop_fact_index(text) IS
    'Drops an index of facts from all partitions, in a moment in which nobody uses them';
REVOKE ALL ON FUNCTION @extschema@.drop_fact_index(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.drop_fact_index(text) TO telemetry_admin;

CREATE FUNCTION @extschema@.reindex_facts(index_name text DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'reindex_facts_wrapper';
COMMENT ON FUNCTION @extschema@.reindex_facts(text) IS
    'Has an index of facts, or all of them, made anew in each partition without holding writers up; returns how many that are';
REVOKE ALL ON FUNCTION @extschema@.reindex_facts(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.reindex_facts(text) TO telemetry_admin;

CREATE FUNCTION @extschema@.fact_index_plan(
        OUT action text, OUT index text, OUT partition text, OUT reason text, OUT busy boolean, OUT statement text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'fact_index_plan_wrapper';
COMMENT ON FUNCTION @extschema@.fact_index_plan() IS
    'What is left to do for the indexes of facts, in order; each statement has to be run by itself, outside of a transaction';
REVOKE ALL ON FUNCTION @extschema@.fact_index_plan() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.fact_index_plan() TO telemetry_admin, pg_monitor;

CREATE FUNCTION @extschema@.fact_index_rows(
        OUT index_name text, OUT definition text, OUT is_complete boolean, OUT partitions bigint, OUT partitions_complete bigint,
        OUT to_rebuild bigint, OUT bytes bigint, OUT working_on text, OUT phase text, OUT done double precision, OUT waits_for text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 5
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'fact_index_rows_wrapper';
COMMENT ON FUNCTION @extschema@.fact_index_rows() IS 'The rows of the view fact_indexes';
REVOKE ALL ON FUNCTION @extschema@.fact_index_rows() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.fact_index_rows() TO telemetry_reader, telemetry_admin, pg_monitor;

CREATE VIEW @extschema@.fact_indexes AS
    SELECT index_name, definition, is_complete, partitions, partitions_complete, to_rebuild, bytes, working_on, phase, done, waits_for
    FROM @extschema@.fact_index_rows();
COMMENT ON VIEW @extschema@.fact_indexes IS 'The indexes of facts: in how many partitions each is complete, and what is being worked on';
COMMENT ON COLUMN @extschema@.fact_indexes.index_name IS 'the index of the parent; unique ones and those of constraints are left out';
COMMENT ON COLUMN @extschema@.fact_indexes.definition IS 'as CREATE INDEX';
COMMENT ON COLUMN @extschema@.fact_indexes.is_complete IS 'every partition has it';
COMMENT ON COLUMN @extschema@.fact_indexes.partitions IS 'partitions that there are';
COMMENT ON COLUMN @extschema@.fact_indexes.partitions_complete IS 'partitions in which it is valid and attached';
COMMENT ON COLUMN @extschema@.fact_indexes.to_rebuild IS 'partitions in which reindex_facts() has yet to make it anew';
COMMENT ON COLUMN @extschema@.fact_indexes.bytes IS 'size on disk, of the attached ones; of all but the 500 newest as of their last vacuum';
COMMENT ON COLUMN @extschema@.fact_indexes.working_on IS 'the partition in which it is being built now';
COMMENT ON COLUMN @extschema@.fact_indexes.phase IS 'as in pg_stat_progress_create_index';
COMMENT ON COLUMN @extschema@.fact_indexes.done IS 'how much of that phase is done, from 0 to 1; NULL: not known';
COMMENT ON COLUMN @extschema@.fact_indexes.waits_for IS 'who holds it up; NULL: nobody';
GRANT SELECT ON @extschema@.fact_indexes TO telemetry_reader, telemetry_admin, pg_monitor;
