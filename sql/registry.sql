-- Names to ids: get or create. Both work as telemetry_owner, so that a writer needs no more than EXECUTE. The library
-- changes the role, not SECURITY DEFINER: see src/pg/identity.rs.

CREATE FUNCTION @extschema@.register_attribute(
        tenant_id bigint, name text, value_type text, unit text DEFAULT NULL, is_hot boolean DEFAULT false)
    RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'register_attribute_wrapper';
COMMENT ON FUNCTION @extschema@.register_attribute(bigint, text, text, text, boolean) IS
    'The id of an attribute of a tenant (0: shared by all), registered if it is new; refuses another type than the registered one';
REVOKE ALL ON FUNCTION @extschema@.register_attribute(bigint, text, text, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.register_attribute(bigint, text, text, text, boolean)
    TO telemetry_writer, telemetry_admin;

CREATE FUNCTION @extschema@.register_entity(tenant_id bigint, external_id text)
    RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'register_entity_wrapper';
COMMENT ON FUNCTION @extschema@.register_entity(bigint, text) IS
    'The entity_id that stands for an external id of a tenant, given out if it is new';
REVOKE ALL ON FUNCTION @extschema@.register_entity(bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.register_entity(bigint, text) TO telemetry_writer, telemetry_admin;
