CREATE FUNCTION @extschema@.sentinel_refuses_truncate() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = format('TRUNCATE of "%s" is refused', TG_TABLE_NAME),
        DETAIL = 'That it is empty means that a crash has emptied the fast door; crash_history would tell of one that never was.',
        HINT = 'Leave it out of the statement.';
END
$function$;
COMMENT ON FUNCTION @extschema@.sentinel_refuses_truncate() IS 'Trigger: nothing but a crash empties flush_sentinel';
REVOKE ALL ON FUNCTION @extschema@.sentinel_refuses_truncate() FROM PUBLIC;
