-- Which attributes are kept hot. All work as telemetry_owner, by src/pg/identity.rs.

CREATE FUNCTION @extschema@.promote_attribute(tenant_id bigint, name text, searchable boolean DEFAULT false)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'promote_attribute_wrapper';
COMMENT ON FUNCTION @extschema@.promote_attribute(bigint, text, boolean) IS
    'Keeps the latest values of an attribute in entity_jsonb and, searchable, in an index; what is there already follows in batches: see attribute_builds';
REVOKE ALL ON FUNCTION @extschema@.promote_attribute(bigint, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.promote_attribute(bigint, text, boolean) TO telemetry_admin;

CREATE FUNCTION @extschema@.demote_attribute(tenant_id bigint, name text)
    RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'demote_attribute_wrapper';
COMMENT ON FUNCTION @extschema@.demote_attribute(bigint, text) IS
    'Takes an attribute out of entity_jsonb, in batches; its readings stay';
REVOKE ALL ON FUNCTION @extschema@.demote_attribute(bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.demote_attribute(bigint, text) TO telemetry_admin;

CREATE FUNCTION @extschema@.build_attributes(max_entities bigint DEFAULT 10000)
    RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'build_attributes_wrapper';
COMMENT ON FUNCTION @extschema@.build_attributes(bigint) IS
    'One batch of what promote_attribute() and demote_attribute() left to do, where no worker does it; returns how many attributes are not done';
REVOKE ALL ON FUNCTION @extschema@.build_attributes(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.build_attributes(bigint) TO telemetry_admin;
