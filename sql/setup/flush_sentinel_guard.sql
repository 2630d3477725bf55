CREATE TRIGGER sentinel_refuses_truncate
    BEFORE TRUNCATE ON @extschema@.flush_sentinel
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.sentinel_refuses_truncate();
