-- The same row as in the fast door, logged.
CREATE TABLE @extschema@.entity_values_ingest_durable (
    LIKE @extschema@.entity_values_ingest INCLUDING DEFAULTS INCLUDING COMMENTS
) WITH (vacuum_truncate = off, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000,
        autovacuum_vacuum_insert_threshold = -1, toast.vacuum_truncate = off);
COMMENT ON TABLE @extschema@.entity_values_ingest_durable IS 'The durable door: as safe as an ordinary table under the synchronous_commit of the writer';
GRANT INSERT ON @extschema@.entity_values_ingest_durable TO telemetry_writer;
GRANT SELECT ON @extschema@.entity_values_ingest_durable TO telemetry_admin;
