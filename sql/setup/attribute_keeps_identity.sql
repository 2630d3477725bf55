CREATE FUNCTION @extschema@.attribute_keeps_identity() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = format('attribute "%s" cannot change its id, tenant, name or type', OLD.name),
        DETAIL = 'Stored readings and documents refer to it.',
        HINT = 'Register a new attribute and write to that one from now on.';
END
$function$;
COMMENT ON FUNCTION @extschema@.attribute_keeps_identity() IS 'Trigger: what readings refer to stays as it is';
REVOKE ALL ON FUNCTION @extschema@.attribute_keeps_identity() FROM PUBLIC;
