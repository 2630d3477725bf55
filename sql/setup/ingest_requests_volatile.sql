-- The same for the fast door, and like it emptied by a crash: a request whose readings are gone must not count as done.
CREATE UNLOGGED TABLE @extschema@.ingest_requests_volatile (
    LIKE @extschema@.ingest_requests INCLUDING DEFAULTS INCLUDING COMMENTS,
    CONSTRAINT ingest_requests_volatile_pkey PRIMARY KEY (tenant_id, request_id)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 20000);
CREATE INDEX ingest_requests_volatile_requested_at_idx ON @extschema@.ingest_requests_volatile (requested_at);
COMMENT ON TABLE @extschema@.ingest_requests_volatile IS
    'The requests that ingest() has done at the fast door, as long as pg_telemetry.request_window says; emptied by a crash';
COMMENT ON INDEX @extschema@.ingest_requests_volatile_requested_at_idx IS 'for the keeper, which forgets the oldest';
GRANT SELECT ON @extschema@.ingest_requests_volatile TO telemetry_admin;
