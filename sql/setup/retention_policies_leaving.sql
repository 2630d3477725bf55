ALTER TABLE @extschema@.retention_policies
    ADD COLUMN IF NOT EXISTS leaves_as text
        CONSTRAINT retention_policies_leaves_as_check CHECK (leaves_as IS NULL OR leaves_as IN ('drop', 'keep', 'archive') AND tenant_id = 0),
    ADD COLUMN IF NOT EXISTS archive_schema text
        CONSTRAINT retention_policies_archive_schema_check CHECK (archive_schema IS NULL OR tenant_id = 0),
    ADD COLUMN IF NOT EXISTS archive_tablespace text
        CONSTRAINT retention_policies_archive_tablespace_check CHECK (archive_tablespace IS NULL OR tenant_id = 0);
COMMENT ON COLUMN @extschema@.retention_policies.leaves_as IS
    'for tenant 0: what becomes of a partition whose time is over: drop, keep (as a table of its own) or archive; NULL: by pg_telemetry.retention_keeps_tables';
COMMENT ON COLUMN @extschema@.retention_policies.archive_schema IS
    'for tenant 0: where partitions go that leave as archive; NULL: they stay in their schema';
COMMENT ON COLUMN @extschema@.retention_policies.archive_tablespace IS
    'for tenant 0: on what they go; NULL: they stay where they are';
