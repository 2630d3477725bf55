-- An index that nobody uses is in no sample; this is what says since when it has been watched. Written each half hour.
CREATE TABLE @extschema@.index_use (
    index_name text NOT NULL,
    definition text NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_scan_at timestamptz,
    scans bigint NOT NULL,
    idle_seconds double precision NOT NULL,
    bytes bigint,
    CONSTRAINT index_use_pkey PRIMARY KEY (index_name)
) WITH (fillfactor = 70);
COMMENT ON TABLE @extschema@.index_use IS
    'Since when each index has been watched, and when it was last used';
COMMENT ON COLUMN @extschema@.index_use.index_name IS 'the index, with the schema; one of a partitioned table stands for those of all partitions';
COMMENT ON COLUMN @extschema@.index_use.definition IS 'table, columns and the like as the catalogs have them: with another definition counting begins anew';
COMMENT ON COLUMN @extschema@.index_use.first_seen_at IS 'when it was first looked at';
COMMENT ON COLUMN @extschema@.index_use.last_scan_at IS 'when a scan of it was last noticed';
COMMENT ON COLUMN @extschema@.index_use.scans IS 'scans that were noticed since first_seen_at';
COMMENT ON COLUMN @extschema@.index_use.idle_seconds IS 'how long it has been watched since then without a scan; time that nobody watched does not count';
COMMENT ON COLUMN @extschema@.index_use.bytes IS 'its size; NULL: not measured yet';
GRANT SELECT ON @extschema@.index_use TO telemetry_admin, pg_monitor;
