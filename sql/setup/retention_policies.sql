CREATE TABLE @extschema@.retention_policies (
    tenant_id bigint NOT NULL,
    keep interval,
    legal_hold boolean NOT NULL DEFAULT false,
    note text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT retention_policies_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT retention_policies_tenant_id_check CHECK (tenant_id >= 0),
    CONSTRAINT retention_policies_keep_check CHECK (keep > interval '0')
);
COMMENT ON TABLE @extschema@.retention_policies IS 'How long readings are kept; empty: for ever';
COMMENT ON COLUMN @extschema@.retention_policies.tenant_id IS 'the tenant; 0: every tenant without a row of its own';
COMMENT ON COLUMN @extschema@.retention_policies.keep IS 'age at which readings may go; NULL: never';
COMMENT ON COLUMN @extschema@.retention_policies.legal_hold IS 'nothing of this tenant is removed while true';
COMMENT ON COLUMN @extschema@.retention_policies.note IS 'why, for people';
COMMENT ON COLUMN @extschema@.retention_policies.updated_at IS 'last change';
GRANT SELECT ON @extschema@.retention_policies TO telemetry_reader, telemetry_admin;
GRANT INSERT, UPDATE, DELETE ON @extschema@.retention_policies TO telemetry_admin;
