-- Views over the samples that the keeper takes, or take_samples(). They read what is stored, on a standby what was replicated.

CREATE FUNCTION @extschema@.take_samples(OUT source text, OUT state text, OUT samples bigint, OUT message text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 6
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'take_samples_wrapper';
COMMENT ON FUNCTION @extschema@.take_samples() IS
    'Takes all samples now and removes old ones, as the keeper does each minute: for servers without workers';
REVOKE ALL ON FUNCTION @extschema@.take_samples() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.take_samples() TO telemetry_admin;

CREATE FUNCTION @extschema@.slow_queries_rows(
        within interval DEFAULT '1 hour', OUT queryid bigint, OUT user_name text, OUT toplevel boolean, OUT calls bigint,
        OUT exec_ms double precision, OUT mean_ms double precision, OUT stddev_ms double precision,
        OUT exec_share_ratio double precision, OUT plan_ms double precision, OUT rows_per_call double precision,
        OUT blocks_per_call double precision, OUT hit_ratio double precision, OUT temp_bytes bigint, OUT wal_bytes bigint,
        OUT query text, OUT state text, OUT hint text, OUT observed_seconds double precision, OUT sampled_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'slow_queries_rows_wrapper';
COMMENT ON FUNCTION @extschema@.slow_queries_rows(interval) IS
    'Statements of this database by the time they took, in the last so much time; slow_queries shows the last hour';
REVOKE ALL ON FUNCTION @extschema@.slow_queries_rows(interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.slow_queries_rows(interval) TO telemetry_admin, pg_monitor;

CREATE VIEW @extschema@.slow_queries AS
    SELECT queryid, user_name, toplevel, calls, exec_ms, mean_ms, stddev_ms, exec_share_ratio, plan_ms, rows_per_call,
           blocks_per_call, hit_ratio, temp_bytes, wal_bytes, query, state, hint, observed_seconds, sampled_at
    FROM @extschema@.slow_queries_rows();
COMMENT ON VIEW @extschema@.slow_queries IS
    'Statements of this database in the last hour, by the time they took; one row says why, where that is not known';
COMMENT ON COLUMN @extschema@.slow_queries.queryid IS 'as in pg_stat_statements; NULL: all others together, or see state';
COMMENT ON COLUMN @extschema@.slow_queries.user_name IS 'who ran it';
COMMENT ON COLUMN @extschema@.slow_queries.toplevel IS 'sent by a client, and not run inside a function';
COMMENT ON COLUMN @extschema@.slow_queries.calls IS 'executions';
COMMENT ON COLUMN @extschema@.slow_queries.exec_ms IS 'time spent in executing, all calls together';
COMMENT ON COLUMN @extschema@.slow_queries.mean_ms IS 'time of one execution';
COMMENT ON COLUMN @extschema@.slow_queries.stddev_ms IS 'standard deviation of that; NULL for a single call';
COMMENT ON COLUMN @extschema@.slow_queries.exec_share_ratio IS 'share of the time that all statements took';
COMMENT ON COLUMN @extschema@.slow_queries.plan_ms IS 'time spent in planning; 0 where pg_stat_statements.track_planning is off';
COMMENT ON COLUMN @extschema@.slow_queries.rows_per_call IS 'rows returned or changed by one execution';
COMMENT ON COLUMN @extschema@.slow_queries.blocks_per_call IS 'pages looked at by one execution';
COMMENT ON COLUMN @extschema@.slow_queries.hit_ratio IS 'share of these that was found in shared_buffers; NULL: none was looked at';
COMMENT ON COLUMN @extschema@.slow_queries.temp_bytes IS 'temporary files, read and written';
COMMENT ON COLUMN @extschema@.slow_queries.wal_bytes IS 'WAL written';
COMMENT ON COLUMN @extschema@.slow_queries.query IS 'its text; NULL: not allowed to know (pg_read_all_stats may), or it names a password';
COMMENT ON COLUMN @extschema@.slow_queries.state IS 'sampled; evicted: those of the others are not all there is; began, no samples, not installed, not loaded, not readable, full or failed: then the row has no figures';
COMMENT ON COLUMN @extschema@.slow_queries.hint IS 'what is the matter, and what to do';
COMMENT ON COLUMN @extschema@.slow_queries.observed_seconds IS 'how much of the window the samples cover; NULL: none of it';
COMMENT ON COLUMN @extschema@.slow_queries.sampled_at IS 'when the last sample was taken';
GRANT SELECT ON @extschema@.slow_queries TO telemetry_admin, pg_monitor;

CREATE FUNCTION @extschema@.cache_hit_rows(
        within interval DEFAULT '1 hour', OUT scope text, OUT name text, OUT blocks_hit bigint, OUT blocks_read bigint,
        OUT hit_ratio double precision, OUT observed_seconds double precision, OUT sampled_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cache_hit_rows_wrapper';
COMMENT ON FUNCTION @extschema@.cache_hit_rows(interval) IS
    'How often pages were found in shared_buffers in the last so much time; cache_hit shows the last hour';
REVOKE ALL ON FUNCTION @extschema@.cache_hit_rows(interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.cache_hit_rows(interval) TO telemetry_admin, pg_monitor;

CREATE VIEW @extschema@.cache_hit AS
    SELECT scope, name, blocks_hit, blocks_read, hit_ratio, observed_seconds, sampled_at
    FROM @extschema@.cache_hit_rows();
COMMENT ON VIEW @extschema@.cache_hit IS
    'How often pages were found in shared_buffers in the last hour: of the database, of each table, of each index that was used';
COMMENT ON COLUMN @extschema@.cache_hit.scope IS 'database, table or index';
COMMENT ON COLUMN @extschema@.cache_hit.name IS 'with the schema; a partitioned one stands for all its partitions';
COMMENT ON COLUMN @extschema@.cache_hit.blocks_hit IS 'pages found in shared_buffers';
COMMENT ON COLUMN @extschema@.cache_hit.blocks_read IS 'pages that were not; the kernel may have had them';
COMMENT ON COLUMN @extschema@.cache_hit.hit_ratio IS 'share of those found; NULL: none was asked for';
COMMENT ON COLUMN @extschema@.cache_hit.observed_seconds IS 'how much of the window the samples cover; NULL: none of it';
COMMENT ON COLUMN @extschema@.cache_hit.sampled_at IS 'when the last sample was taken';
GRANT SELECT ON @extschema@.cache_hit TO telemetry_admin, pg_monitor;

CREATE FUNCTION @extschema@.table_usage_rows(
        within interval DEFAULT '1 hour', OUT table_name text, OUT bytes bigint, OUT index_bytes bigint,
        OUT rows_estimate bigint, OUT partitions integer, OUT growth_day_bytes bigint, OUT seq_scans bigint,
        OUT seq_rows_read bigint, OUT index_scans bigint, OUT index_rows_fetched bigint, OUT rows_inserted bigint,
        OUT rows_updated bigint, OUT rows_hot_updated bigint, OUT rows_deleted bigint, OUT hot_ratio double precision,
        OUT observed_seconds double precision, OUT sampled_at timestamptz, OUT sized_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'table_usage_rows_wrapper';
COMMENT ON FUNCTION @extschema@.table_usage_rows(interval) IS
    'What was done with each table in the last so much time; table_usage shows the last hour';
REVOKE ALL ON FUNCTION @extschema@.table_usage_rows(interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.table_usage_rows(interval) TO telemetry_admin, pg_monitor;

CREATE VIEW @extschema@.table_usage AS
    SELECT table_name, bytes, index_bytes, rows_estimate, partitions, growth_day_bytes, seq_scans, seq_rows_read, index_scans,
           index_rows_fetched, rows_inserted, rows_updated, rows_hot_updated, rows_deleted, hot_ratio, observed_seconds,
           sampled_at, sized_at
    FROM @extschema@.table_usage_rows();
COMMENT ON VIEW @extschema@.table_usage IS
    'What was done with each table in the last hour, and how large it is; partitions are added up';
COMMENT ON COLUMN @extschema@.table_usage.table_name IS 'with the schema';
COMMENT ON COLUMN @extschema@.table_usage.bytes IS 'its size, with TOAST and without indexes';
COMMENT ON COLUMN @extschema@.table_usage.index_bytes IS 'size of its indexes';
COMMENT ON COLUMN @extschema@.table_usage.rows_estimate IS 'rows by the counters of the server or the last analyze';
COMMENT ON COLUMN @extschema@.table_usage.partitions IS 'tables it consists of';
COMMENT ON COLUMN @extschema@.table_usage.growth_day_bytes IS 'how much more that is than a day ago; NULL: not known so long';
COMMENT ON COLUMN @extschema@.table_usage.seq_scans IS 'sequential scans';
COMMENT ON COLUMN @extschema@.table_usage.seq_rows_read IS 'rows that these read';
COMMENT ON COLUMN @extschema@.table_usage.index_scans IS 'scans of its indexes';
COMMENT ON COLUMN @extschema@.table_usage.index_rows_fetched IS 'rows fetched by way of an index';
COMMENT ON COLUMN @extschema@.table_usage.rows_inserted IS 'rows inserted';
COMMENT ON COLUMN @extschema@.table_usage.rows_updated IS 'rows updated';
COMMENT ON COLUMN @extschema@.table_usage.rows_hot_updated IS 'of these, without new entries in indexes';
COMMENT ON COLUMN @extschema@.table_usage.rows_deleted IS 'rows deleted';
COMMENT ON COLUMN @extschema@.table_usage.hot_ratio IS 'share of updates without new entries in indexes; NULL: none was updated';
COMMENT ON COLUMN @extschema@.table_usage.observed_seconds IS 'how much of the window the samples cover; NULL: none of it';
COMMENT ON COLUMN @extschema@.table_usage.sampled_at IS 'when the last sample was taken';
COMMENT ON COLUMN @extschema@.table_usage.sized_at IS 'when the sizes were taken';
GRANT SELECT ON @extschema@.table_usage TO telemetry_admin, pg_monitor;

CREATE FUNCTION @extschema@.tenant_usage_rows(
        OUT place text, OUT tenant_id bigint, OUT rows_estimate bigint, OUT bytes_estimate bigint,
        OUT share_ratio double precision, OUT rows_day_ago_estimate bigint, OUT sampled_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'tenant_usage_rows_wrapper';
COMMENT ON FUNCTION @extschema@.tenant_usage_rows() IS
    'The rows of the view tenant_usage';
REVOKE ALL ON FUNCTION @extschema@.tenant_usage_rows() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.tenant_usage_rows() TO telemetry_admin, pg_monitor;

CREATE VIEW @extschema@.tenant_usage AS
    SELECT place, tenant_id, rows_estimate, bytes_estimate, share_ratio, rows_day_ago_estimate, sampled_at
    FROM @extschema@.tenant_usage_rows();
COMMENT ON VIEW @extschema@.tenant_usage IS
    'Readings of each tenant, estimated from a few pages of each partition';
COMMENT ON COLUMN @extschema@.tenant_usage.place IS 'facts, rejected, staging or durable staging';
COMMENT ON COLUMN @extschema@.tenant_usage.tenant_id IS 'the tenant; NULL: all beyond the first hundred of a partition, and rejected readings that name none';
COMMENT ON COLUMN @extschema@.tenant_usage.rows_estimate IS 'readings';
COMMENT ON COLUMN @extschema@.tenant_usage.bytes_estimate IS 'their share of the tables and indexes';
COMMENT ON COLUMN @extschema@.tenant_usage.share_ratio IS 'their share of the readings of all tenants';
COMMENT ON COLUMN @extschema@.tenant_usage.rows_day_ago_estimate IS 'readings a day ago; NULL: not known so long';
COMMENT ON COLUMN @extschema@.tenant_usage.sampled_at IS 'when the oldest look was that this rests on: what is written is looked at each hour';
GRANT SELECT ON @extschema@.tenant_usage TO telemetry_admin, pg_monitor;

CREATE FUNCTION @extschema@.index_health_rows(
        OUT issue text, OUT index_name text, OUT table_name text, OUT bytes bigint, OUT scans bigint,
        OUT watched_since_at timestamptz, OUT last_scan_at timestamptz, OUT idle_seconds double precision,
        OUT scans_here bigint, OUT covered_by text, OUT advice text, OUT why text, OUT why_not text, OUT remedy text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 20
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'index_health_rows_wrapper';
COMMENT ON FUNCTION @extschema@.index_health_rows() IS
    'The rows of the view index_health';
REVOKE ALL ON FUNCTION @extschema@.index_health_rows() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.index_health_rows() TO telemetry_admin, pg_monitor;

CREATE VIEW @extschema@.index_health AS
    SELECT issue, index_name, table_name, bytes, scans, watched_since_at, last_scan_at, idle_seconds, scans_here, covered_by,
           advice, why, why_not, remedy
    FROM @extschema@.index_health_rows();
COMMENT ON VIEW @extschema@.index_health IS
    'Advice about indexes: what speaks for it, what against, and what to run. What is not said to be done is not to be done';
COMMENT ON COLUMN @extschema@.index_health.issue IS 'unused, duplicate, redundant, invalid, missing or brin';
COMMENT ON COLUMN @extschema@.index_health.index_name IS 'with the schema; one of a partitioned table stands for those of all partitions';
COMMENT ON COLUMN @extschema@.index_health.table_name IS 'its table';
COMMENT ON COLUMN @extschema@.index_health.bytes IS 'its size; NULL: not measured yet';
COMMENT ON COLUMN @extschema@.index_health.scans IS 'scans of it since watched_since_at on the primary';
COMMENT ON COLUMN @extschema@.index_health.watched_since_at IS 'since when scans are counted; a new definition begins anew';
COMMENT ON COLUMN @extschema@.index_health.last_scan_at IS 'when a scan was last noticed';
COMMENT ON COLUMN @extschema@.index_health.idle_seconds IS 'how long it has been watched since then; time that nobody watched does not count';
COMMENT ON COLUMN @extschema@.index_health.scans_here IS 'scans by the statistics of the node that is asked, since they were last reset';
COMMENT ON COLUMN @extschema@.index_health.covered_by IS 'the index that does the same';
COMMENT ON COLUMN @extschema@.index_health.advice IS 'what to do; none: why_not says why';
COMMENT ON COLUMN @extschema@.index_health.why IS 'what speaks for it';
COMMENT ON COLUMN @extschema@.index_health.why_not IS 'what speaks against it; NULL: nothing that is known';
COMMENT ON COLUMN @extschema@.index_health.remedy IS 'what to run if it is to be done';
GRANT SELECT ON @extschema@.index_health TO telemetry_admin, pg_monitor;
