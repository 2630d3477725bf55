-- Refuse before anything is made, and name everything that is in the way at once.

SET LOCAL search_path = pg_catalog, pg_temp;

DO $preflight$
DECLARE
    -- Everything that this extension creates in its schema, members and data tables alike.
    relations CONSTANT text[] := ARRAY[
        'attributes', 'entities', 'entity_values_ingest', 'entity_values_ingest_durable', 'entity_values_ts',
        'entity_values_rejected', 'entity_jsonb', 'projection_pending', 'replication_heartbeat', 'retention_policies',
        'rejected_removed', 'ingest_requests', 'ingest_requests_volatile', 'entity_search', 'attribute_builds',
        'attribute_use', 'attribute_heat', 'partition_state', 'flush_state', 'flush_pause', 'flush_sentinel',
        'flush_history', 'crash_history',
        'fact_index_rebuilds', 'fact_indexes', 'worker_runs',
        'worker_status', 'rejected_summary', 'flush_stats', 'staging_backlog', 'partition_health',
        'read_classes', 'replication_lag', 'replication_slots_health',
        'xmin_horizon', 'blocking', 'connection_saturation', 'wraparound', 'autovacuum_lag', 'sequences_health',
        'settings_pending', 'archiver_health', 'hot_updates', 'wal_activity', 'checkpoint_activity',
        'alert_rules', 'alert_state', 'alert_notes', 'alert_evaluations', 'telemetry_alerts',
        'sample_runs', 'relation_samples', 'statement_samples', 'statement_texts', 'server_samples', 'size_samples',
        'tenant_samples', 'index_use', 'sample_baseline',
        'slow_queries', 'cache_hit', 'table_usage', 'tenant_usage', 'index_health', 'telemetry_metrics', 'telemetry_metric_sources'];
    functions CONSTANT text[] := ARRAY[
        'setup', 'stage_flush', 'last_flush', 'drain', 'pause', 'resume', 'register_attribute', 'register_entity',
        'worker_status_rows', 'run_worker', 'flush_stats_rows', 'staging_backlog_rows', 'checkpoint_activity_rows', 'flush_totals',
        'partition_totals', 'telemetry_metrics_rows',
        'partition_plan', 'rotate_partitions', 'set_retention', 'ingested_periods', 'partition_health_rows',
        'add_fact_index', 'drop_fact_index', 'reindex_facts', 'fact_index_plan', 'fact_index_rows', 'release_tables',
        'retry_rejected', 'trim_rejected', 'rejected_summary_rows', 'ingest', 'ingest_external', 'ingest_many',
        'upsert_hot_attrs', 'entity_latest', 'entities_latest', 'delete_entity', 'undelete_entity', 'rebuild_hot',
        'rebuild_hot_batch', 'rebuild_hot_tenant', 'verify_hot',
        'heartbeat', 'freshness', 'can_serve', 'route_read', 'commit_token', 'token_reached', 'wait_for_token',
        'replication_lag_rows', 'replication_slots_health_rows', 'create_cdc_publications',
        'take_samples', 'slow_queries_rows', 'cache_hit_rows', 'table_usage_rows', 'tenant_usage_rows', 'index_health_rows',
        'readings', 'find_entities_by_attributes', 'explain_find', 'attribute_heat_rows', 'promote_attribute',
        'telemetry_alerts_rows', 'health', 'evaluate_alerts', 'ack_alert', 'unack_alert', 'silence_alert', 'unsilence_alert',
        'test_alert',
        'demote_attribute', 'build_attributes', 'attribute_flags_changed',
        'staging_refuses_change', 'attribute_keeps_identity', 'sentinel_refuses_truncate'];
    taken text;
    public_may_create boolean;
BEGIN
    IF current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'feature_not_supported',
            MESSAGE = format('pg_telemetry needs a database with encoding UTF8, not %s', current_setting('server_encoding')),
            HINT = 'CREATE DATABASE … ENCODING UTF8 TEMPLATE template0;';
    END IF;

    SELECT EXISTS (
        SELECT FROM pg_namespace n, LATERAL aclexplode(n.nspacl) a
        WHERE n.oid = '@extschema@'::regnamespace AND a.grantee = 0 AND a.privilege_type = 'CREATE')
    INTO public_may_create;

    IF public_may_create THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = format('schema %s lets every user create objects in it', '@extschema@'),
            DETAIL = 'Anybody could plant an object there that looks like one of pg_telemetry.',
            HINT = format('REVOKE CREATE ON SCHEMA %s FROM PUBLIC, or use a schema of its own: CREATE SCHEMA telemetry; '
                          'CREATE EXTENSION pg_telemetry SCHEMA telemetry;', '@extschema@');
    END IF;

    -- Data tables and their trigger functions of an earlier installation belong to telemetry_owner: setup() adopts them.
    SELECT string_agg(what, ', ' ORDER BY what) INTO taken
    FROM (
        SELECT CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view ' WHEN 'S' THEN 'sequence '
                              WHEN 'i' THEN 'index ' WHEN 'I' THEN 'index ' WHEN 'c' THEN 'type '
                              WHEN 'f' THEN 'foreign table ' ELSE 'table ' END || c.oid::regclass AS what
        FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner
        WHERE c.relnamespace = '@extschema@'::regnamespace
          AND c.relname = ANY (relations)
          AND NOT (o.rolname = 'telemetry_owner' AND c.relkind IN ('r', 'p')
                   AND c.relname NOT IN ('worker_status', 'rejected_summary', 'flush_stats', 'staging_backlog', 'partition_health',
                                         'fact_indexes', 'attribute_heat', 'telemetry_alerts', 'slow_queries', 'cache_hit',
                                         'table_usage', 'tenant_usage', 'index_health'))
        UNION ALL
        SELECT 'function ' || p.oid::regprocedure
        FROM pg_proc p JOIN pg_roles o ON o.oid = p.proowner
        WHERE p.pronamespace = '@extschema@'::regnamespace
          AND p.proname = ANY (functions)
           AND NOT (o.rolname = 'telemetry_owner' AND p.proname IN ('staging_refuses_change', 'attribute_keeps_identity',
                                                                   'attribute_flags_changed', 'sentinel_refuses_truncate'))
    ) AS collisions;

    IF taken IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'duplicate_object',
            MESSAGE = format('schema %s already has objects with names that pg_telemetry needs', '@extschema@'),
            DETAIL = 'In the way: ' || taken || '.',
            HINT = 'Rename or drop them, or choose another schema: CREATE EXTENSION pg_telemetry SCHEMA …; tables of an '
                   'earlier installation are adopted when their owner is telemetry_owner.';
    END IF;
END
$preflight$;
