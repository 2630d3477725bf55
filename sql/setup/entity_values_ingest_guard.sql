-- Staged rows are only ever added by writers and taken by the flush.
CREATE TRIGGER staging_refuses_change BEFORE UPDATE OR DELETE ON @extschema@.entity_values_ingest
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.staging_refuses_change();
ALTER TABLE @extschema@.entity_values_ingest ENABLE ALWAYS TRIGGER staging_refuses_change;
