-- Rows come, are looked at for a day, and go in the order in which they came: whole pages become free. The index by time
-- grows at its end only, and tells the keeper that there is nothing to remove without a look at the table.
CREATE TABLE @extschema@.ingest_requests (
    tenant_id bigint NOT NULL,
    request_id uuid NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    fingerprint bigint NOT NULL,
    readings integer NOT NULL,
    CONSTRAINT ingest_requests_pkey PRIMARY KEY (tenant_id, request_id)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 20000);
CREATE INDEX ingest_requests_requested_at_idx ON @extschema@.ingest_requests (requested_at);
COMMENT ON TABLE @extschema@.ingest_requests IS
    'The requests that ingest() has done at the durable door, as long as pg_telemetry.request_window says';
COMMENT ON INDEX @extschema@.ingest_requests_requested_at_idx IS 'for the keeper, which forgets the oldest';
COMMENT ON COLUMN @extschema@.ingest_requests.tenant_id IS 'the tenant that the request is of';
COMMENT ON COLUMN @extschema@.ingest_requests.request_id IS 'chosen by the caller';
COMMENT ON COLUMN @extschema@.ingest_requests.requested_at IS 'when it was done';
COMMENT ON COLUMN @extschema@.ingest_requests.fingerprint IS 'of entity, time and readings: the same request has the same';
COMMENT ON COLUMN @extschema@.ingest_requests.readings IS 'how many it staged; what a repeat returns';
GRANT SELECT ON @extschema@.ingest_requests TO telemetry_admin;
