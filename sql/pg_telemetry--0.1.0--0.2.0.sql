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

-- include drain.sql
-- include partitions.sql
-- include replication_heartbeat.sql
-- include replication_freshness.sql
-- include replication_routing.sql
-- include replication_tokens.sql
-- include replication_health.sql
-- include replication_publications.sql
-- include rejected.sql

-- include pause.sql

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
-- include telemetry_metrics.sql

COMMENT ON COLUMN @extschema@.worker_status.state IS
    'running, sleeping, waiting, paused, backoff, on demand, stopped, standby, missing or not preloaded';

-- include finish.sql
