-- The same row as in facts: what is to be known of a value to merge it is in there. Rows come and go by the page, as in staging.
CREATE TABLE @extschema@.projection_pending (
    LIKE @extschema@.entity_values_ingest INCLUDING DEFAULTS INCLUDING COMMENTS
) WITH (vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000,
        autovacuum_vacuum_insert_threshold = -1, toast.vacuum_truncate = off);
COMMENT ON TABLE @extschema@.projection_pending IS
    'Stored readings that the projection has not taken in yet: their entity was being written by somebody, or is written less often for now';
GRANT SELECT ON @extschema@.projection_pending TO telemetry_admin;
