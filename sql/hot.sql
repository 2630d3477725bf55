-- The latest values of an entity: written and read at once, checked and made anew from facts. What writes works as
-- telemetry_owner, what reads with the rights of the caller.

CREATE FUNCTION @extschema@.upsert_hot_attrs(
        tenant_id bigint, entity_id bigint, attrs jsonb, observed_at timestamptz DEFAULT NULL)
    RETURNS jsonb
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'upsert_hot_attrs_wrapper';
COMMENT ON FUNCTION @extschema@.upsert_hot_attrs(bigint, bigint, jsonb, timestamptz) IS
    'Writes values of hot attributes, {"attribute": value, …}, into the projection and into facts, and returns all hot attributes of the entity as they are then';
REVOKE ALL ON FUNCTION @extschema@.upsert_hot_attrs(bigint, bigint, jsonb, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.upsert_hot_attrs(bigint, bigint, jsonb, timestamptz) TO telemetry_writer;

CREATE FUNCTION @extschema@.entity_latest(
        tenant_id bigint, entity_id bigint, names text[] DEFAULT NULL, include_staged boolean DEFAULT false)
    RETURNS jsonb
    LANGUAGE c STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'entity_latest_wrapper';
COMMENT ON FUNCTION @extschema@.entity_latest(bigint, bigint, text[], boolean) IS
    'The latest values of the hot attributes of an entity, or of those named; with include_staged also what waits in staging';
REVOKE ALL ON FUNCTION @extschema@.entity_latest(bigint, bigint, text[], boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.entity_latest(bigint, bigint, text[], boolean) TO telemetry_reader, telemetry_admin;

CREATE FUNCTION @extschema@.entities_latest(tenant_id bigint, entity_ids bigint[], names text[] DEFAULT NULL)
    RETURNS TABLE (entity_id bigint, attribute text, value jsonb, observed_at timestamptz)
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1000
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'entities_latest_wrapper';
COMMENT ON FUNCTION @extschema@.entities_latest(bigint, bigint[], text[]) IS
    'The latest values of several entities, one row each, and when they were observed';
REVOKE ALL ON FUNCTION @extschema@.entities_latest(bigint, bigint[], text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.entities_latest(bigint, bigint[], text[]) TO telemetry_reader, telemetry_admin;

CREATE FUNCTION @extschema@.delete_entity(tenant_id bigint, entity_id bigint)
    RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'delete_entity_wrapper';
COMMENT ON FUNCTION @extschema@.delete_entity(bigint, bigint) IS
    'Takes an entity out of sight of entity_latest() and find_entities_by_attributes(); its readings stay; false when it was deleted before';
REVOKE ALL ON FUNCTION @extschema@.delete_entity(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.delete_entity(bigint, bigint) TO telemetry_writer, telemetry_admin;

CREATE FUNCTION @extschema@.undelete_entity(tenant_id bigint, entity_id bigint)
    RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'undelete_entity_wrapper';
COMMENT ON FUNCTION @extschema@.undelete_entity(bigint, bigint) IS
    'Brings a deleted entity back, with the values that came in meanwhile; false when it was not deleted';
REVOKE ALL ON FUNCTION @extschema@.undelete_entity(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.undelete_entity(bigint, bigint) TO telemetry_writer, telemetry_admin;

CREATE FUNCTION @extschema@.rebuild_hot(tenant_id bigint, entity_id bigint)
    RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'rebuild_hot_wrapper';
COMMENT ON FUNCTION @extschema@.rebuild_hot(bigint, bigint) IS
    'Makes the document of an entity anew from facts, and returns how many values were different; values whose partition of facts is gone stay';
REVOKE ALL ON FUNCTION @extschema@.rebuild_hot(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.rebuild_hot(bigint, bigint) TO telemetry_admin;

CREATE FUNCTION @extschema@.rebuild_hot_batch(
        tenant_id bigint, after_entity bigint, max_entities integer)
    RETURNS TABLE (last_entity bigint, entities bigint, different bigint)
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'rebuild_hot_batch_wrapper';
COMMENT ON FUNCTION @extschema@.rebuild_hot_batch(bigint, bigint, integer) IS
    'rebuild_hot() for the next entities of a tenant, in the order of their ids; last_entity is NULL when there are no more';
REVOKE ALL ON FUNCTION @extschema@.rebuild_hot_batch(bigint, bigint, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.rebuild_hot_batch(bigint, bigint, integer) TO telemetry_admin;

-- No search_path is pinned: a procedure with SET could not end its transactions. All that it calls is named with its schema.
CREATE PROCEDURE @extschema@.rebuild_hot_tenant(
        tenant_id bigint, after_entity bigint DEFAULT NULL, INOUT entities bigint DEFAULT 0, INOUT different bigint DEFAULT 0)
    LANGUAGE plpgsql
    AS $procedure$
DECLARE
    batch record;
    last_entity bigint := rebuild_hot_tenant.after_entity;
BEGIN
    LOOP
        SELECT b.last_entity, b.entities, b.different INTO batch
        FROM @extschema@.rebuild_hot_batch(rebuild_hot_tenant.tenant_id, last_entity, 200) AS b;
        EXIT WHEN batch.last_entity IS NULL;
        last_entity := batch.last_entity;
        entities := entities OPERATOR(pg_catalog.+) batch.entities;
        different := different OPERATOR(pg_catalog.+) batch.different;
        COMMIT;
        RAISE DEBUG 'rebuilt up to entity %', last_entity;
    END LOOP;
END
$procedure$;
COMMENT ON PROCEDURE @extschema@.rebuild_hot_tenant(bigint, bigint, bigint, bigint) IS
    'rebuild_hot() for all entities of a tenant, in batches that are committed one by one; goes on after after_entity';
REVOKE ALL ON PROCEDURE @extschema@.rebuild_hot_tenant(bigint, bigint, bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE @extschema@.rebuild_hot_tenant(bigint, bigint, bigint, bigint) TO telemetry_admin;

CREATE FUNCTION @extschema@.verify_hot(
        tenant_id bigint, entity_id bigint DEFAULT NULL, after_entity bigint DEFAULT NULL, max_entities bigint DEFAULT NULL)
    RETURNS TABLE (entity_id bigint, attribute text, stored jsonb, from_facts jsonb,
                   stored_observed_at timestamptz, facts_observed_at timestamptz)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'verify_hot_wrapper';
COMMENT ON FUNCTION @extschema@.verify_hot(bigint, bigint, bigint, bigint) IS
    'Where the projection differs from what rebuild_hot() would make of the same facts: of one entity, or of all entities of a tenant';
REVOKE ALL ON FUNCTION @extschema@.verify_hot(bigint, bigint, bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.verify_hot(bigint, bigint, bigint, bigint) TO telemetry_admin;
