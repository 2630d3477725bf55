CREATE FUNCTION @extschema@.staging_refuses_change() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF current_user = 'telemetry_owner' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = format('%s on staging table "%s" is refused', TG_OP, TG_TABLE_NAME),
        DETAIL = 'The flush takes rows from staging while they are written; changing them there would race with it.',
        HINT = 'Let stage_flush() move the rows, then correct the facts.';
END
$function$;
COMMENT ON FUNCTION @extschema@.staging_refuses_change() IS 'Trigger: only the flush takes rows out of staging';
REVOKE ALL ON FUNCTION @extschema@.staging_refuses_change() FROM PUBLIC;
