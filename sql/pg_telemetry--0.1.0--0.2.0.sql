\echo Use "ALTER EXTENSION pg_telemetry UPDATE" to load this file. \quit

-- The library changes the role itself now: a member of telemetry_owner could replace functions that belong to that role, and
-- wait for a superuser to call them.
ALTER FUNCTION @extschema@.stage_flush(bigint) SECURITY INVOKER;
ALTER FUNCTION @extschema@.stage_flush(bigint) OWNER TO CURRENT_USER;
ALTER FUNCTION @extschema@.register_attribute(bigint, text, text, text, boolean) SECURITY INVOKER;
ALTER FUNCTION @extschema@.register_attribute(bigint, text, text, text, boolean) OWNER TO CURRENT_USER;
ALTER FUNCTION @extschema@.register_entity(bigint, text) SECURITY INVOKER;
ALTER FUNCTION @extschema@.register_entity(bigint, text) OWNER TO CURRENT_USER;

-- include ingest.sql

-- include hot.sql

-- include drain.sql
-- include partitions.sql
-- include partition_health.sql
-- include fact_indexes.sql
-- include release.sql
-- include replication_heartbeat.sql
-- include replication_freshness.sql
-- include replication_routing.sql
-- include replication_tokens.sql
-- include replication_health.sql
-- include replication_publications.sql
-- include rejected.sql

-- include pause.sql
-- include run_worker.sql

-- include readings.sql
-- include find.sql
-- include attribute_heat.sql
-- include promotion.sql

-- include flush_stats.sql

-- include staging_backlog.sql

-- include server/xmin_horizon.sql
-- include server/blocking.sql
-- include server/connection_saturation.sql
-- include server/wraparound.sql
-- include server/autovacuum_lag.sql
-- include server/sequences_health.sql
-- include server/settings_pending.sql
-- include server/archiver_health.sql
-- include server/hot_updates.sql
-- include server/wal_activity.sql
-- include server/checkpoint_activity.sql
-- include alerts.sql
-- include telemetry_metrics.sql

-- Nothing wrote documents so far. Before the other parameters, by which one could not tell any more who chose this one.
DO $leaves$
DECLARE
    leaf regclass;
BEGIN
    FOR leaf IN
        SELECT c.oid FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = pg_catalog.to_regclass('@extschema@.entity_jsonb') AND c.reloptions = ARRAY['fillfactor=70']
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s SET (fillfactor = 50)', leaf);
    END LOOP;
END
$leaves$;

-- Storage parameters that are new. What somebody has set is left as it is.
DO $storage$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT c.oid::regclass AS relation, string_agg(format('%s = %s', p.name, p.value), ', ' ORDER BY p.place) AS parameters
        FROM (VALUES
                (1, 'entities', 'autovacuum_vacuum_scale_factor', '0.05'),
                (2, 'entities', 'autovacuum_vacuum_insert_scale_factor', '0.05'),
                (3, 'entities', 'autovacuum_analyze_scale_factor', '0.05'),
                (1, 'entity_jsonb', 'autovacuum_vacuum_scale_factor', '0.02'),
                (2, 'entity_jsonb', 'autovacuum_vacuum_threshold', '1000'),
                (1, 'entity_values_ts', 'autovacuum_vacuum_insert_threshold', '1000000'),
                (2, 'entity_values_ts', 'autovacuum_vacuum_insert_scale_factor', '0'),
                (1, 'entity_values_rejected', 'autovacuum_vacuum_insert_threshold', '-1')) AS p (place, relation, name, value)
             JOIN pg_class r ON r.relname = p.relation AND r.relnamespace = '@extschema@'::regnamespace,
             LATERAL (SELECT t.relid FROM pg_partition_tree(r.oid) t WHERE t.isleaf
                      UNION SELECT r.oid WHERE r.relkind = 'r') AS l
             JOIN pg_class c ON c.oid = l.relid AND c.relkind = 'r'
        WHERE NOT EXISTS (SELECT FROM unnest(c.reloptions) AS o (option) WHERE split_part(o.option, '=', 1) = p.name)
        GROUP BY c.oid
    LOOP
        EXECUTE format('ALTER TABLE %s SET (%s)', wanted.relation, wanted.parameters);
    END LOOP;
END
$storage$;

COMMENT ON COLUMN @extschema@.worker_status.state IS
    'running, sleeping, waiting, paused, backoff, on demand, scheduled, stopped, standby, missing or not preloaded';

-- include finish.sql
