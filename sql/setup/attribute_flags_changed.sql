CREATE FUNCTION @extschema@.attribute_flags_changed() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    EXECUTE format(
        'INSERT INTO %I.attribute_builds AS b (attribute_id, tenant_id, hot_ready, search_ready)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (attribute_id) DO UPDATE
         SET hot_ready = b.hot_ready AND $3, search_ready = b.search_ready AND $4, phase = ''waiting'',
             requested_at = clock_timestamp(), is_announced = false, boundary = NULL, at_time = NULL, at_tenant = NULL,
             at_entity = NULL, entities = 0, worked_at = NULL, finished_at = NULL, waits_for = NULL', TG_TABLE_SCHEMA)
        USING NEW.attribute_id, NEW.tenant_id, OLD.is_hot AND NEW.is_hot, OLD.is_searchable AND NEW.is_searchable;
    RETURN NULL;
END
$function$;
COMMENT ON FUNCTION @extschema@.attribute_flags_changed() IS
    'Trigger: an attribute that becomes hot or searchable is no such until what is there already has followed';
REVOKE ALL ON FUNCTION @extschema@.attribute_flags_changed() FROM PUBLIC;
