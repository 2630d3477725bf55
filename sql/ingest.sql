-- Readings as documents. All three work as telemetry_owner: a writer needs no more than EXECUTE. The library changes the role, not
-- SECURITY DEFINER: see src/pg/identity.rs.

CREATE FUNCTION @extschema@.ingest(
        tenant_id bigint, entity_id bigint, readings jsonb, observed_at timestamptz DEFAULT NULL,
        durable boolean DEFAULT true, request_id uuid DEFAULT NULL)
    RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'ingest_wrapper';
COMMENT ON FUNCTION @extschema@.ingest(bigint, bigint, jsonb, timestamptz, boolean, uuid) IS
    'Stages readings of one entity, {"attribute": value, …}, and returns how many; a repeat of the same request_id stages nothing';
REVOKE ALL ON FUNCTION @extschema@.ingest(bigint, bigint, jsonb, timestamptz, boolean, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.ingest(bigint, bigint, jsonb, timestamptz, boolean, uuid) TO telemetry_writer;

CREATE FUNCTION @extschema@.ingest_external(
        tenant_id bigint, external_id text, readings jsonb, observed_at timestamptz DEFAULT NULL,
        durable boolean DEFAULT true, request_id uuid DEFAULT NULL)
    RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'ingest_external_wrapper';
COMMENT ON FUNCTION @extschema@.ingest_external(bigint, text, jsonb, timestamptz, boolean, uuid) IS
    'As ingest(), for an entity that the application has its own name for; it is registered at first sight';
REVOKE ALL ON FUNCTION @extschema@.ingest_external(bigint, text, jsonb, timestamptz, boolean, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.ingest_external(bigint, text, jsonb, timestamptz, boolean, uuid) TO telemetry_writer;

CREATE FUNCTION @extschema@.ingest_many(tenant_id bigint, batch jsonb, durable boolean DEFAULT true)
    RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'ingest_many_wrapper';
COMMENT ON FUNCTION @extschema@.ingest_many(bigint, jsonb, boolean) IS
    'Stages readings of several entities, [{"entity_id": 1, "readings": {…}}, …], all or none, and returns how many';
REVOKE ALL ON FUNCTION @extschema@.ingest_many(bigint, jsonb, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.ingest_many(bigint, jsonb, boolean) TO telemetry_writer;
