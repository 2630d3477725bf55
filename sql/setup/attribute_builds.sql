-- One row for each attribute that was promoted or demoted. Attributes that were hot before there was this table have it all to do.
CREATE TABLE @extschema@.attribute_builds (
    attribute_id integer NOT NULL,
    tenant_id bigint NOT NULL,
    hot_ready boolean NOT NULL DEFAULT false,
    search_ready boolean NOT NULL DEFAULT false,
    phase text NOT NULL DEFAULT 'waiting',
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    is_announced boolean NOT NULL DEFAULT false,
    boundary bigint,
    at_time timestamptz,
    at_tenant bigint,
    at_entity bigint,
    entities bigint NOT NULL DEFAULT 0,
    worked_at timestamptz,
    finished_at timestamptz,
    waits_for text,
    CONSTRAINT attribute_builds_pkey PRIMARY KEY (attribute_id),
    CONSTRAINT attribute_builds_phase_check
        CHECK (phase IN ('waiting', 'filling documents', 'filling search', 'emptying search', 'emptying documents', 'done'))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE @extschema@.attribute_builds IS 'What is being done, and was done, to make attributes hot, searchable or neither';
COMMENT ON COLUMN @extschema@.attribute_builds.attribute_id IS 'the attribute; what it is to become is in attributes';
COMMENT ON COLUMN @extschema@.attribute_builds.tenant_id IS 'its tenant; 0: shared by all';
COMMENT ON COLUMN @extschema@.attribute_builds.hot_ready IS 'entity_jsonb has all its latest values, so that searches may rely on that';
COMMENT ON COLUMN @extschema@.attribute_builds.search_ready IS 'entity_search has them all';
COMMENT ON COLUMN @extschema@.attribute_builds.phase IS 'what is being done';
COMMENT ON COLUMN @extschema@.attribute_builds.requested_at IS 'when that was asked for';
COMMENT ON COLUMN @extschema@.attribute_builds.is_announced IS 'all sessions were told; else they find out within a minute';
COMMENT ON COLUMN @extschema@.attribute_builds.boundary IS 'work begins when no transaction is left with a number below this one';
COMMENT ON COLUMN @extschema@.attribute_builds.at_time IS 'how far it has come: the partition that is being read begins here';
COMMENT ON COLUMN @extschema@.attribute_builds.at_tenant IS 'the tenant in it';
COMMENT ON COLUMN @extschema@.attribute_builds.at_entity IS 'the entity in it';
COMMENT ON COLUMN @extschema@.attribute_builds.entities IS 'entities that were done so far, once for each partition';
COMMENT ON COLUMN @extschema@.attribute_builds.worked_at IS 'when it last came further';
COMMENT ON COLUMN @extschema@.attribute_builds.finished_at IS 'when it was done';
COMMENT ON COLUMN @extschema@.attribute_builds.waits_for IS 'what is in the way';
GRANT SELECT ON @extschema@.attribute_builds TO telemetry_reader;
-- Who may change the flags does this with them, by a trigger.
GRANT SELECT, INSERT, UPDATE ON @extschema@.attribute_builds TO telemetry_admin;
INSERT INTO @extschema@.attribute_builds (attribute_id, tenant_id)
    SELECT attribute_id, tenant_id FROM @extschema@.attributes WHERE is_hot;
