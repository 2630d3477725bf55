-- How much of each limit on connections is used: that of the server, and those of databases and roles that have one.

CREATE VIEW @extschema@.connection_saturation AS
    WITH sessions AS MATERIALIZED (
        SELECT a.datid, a.usesysid, a.state, a.wait_event_type, a.xact_start, a.state_change
        FROM pg_stat_activity a WHERE a.backend_type = 'client backend'),
    counted AS (
        SELECT 'server' AS scope, NULL::text AS name, NULL::oid AS oid,
               current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
                   - coalesce(current_setting('reserved_connections', true)::integer, 0) AS usable_connections
        UNION ALL
        SELECT 'database', d.datname::text, d.oid, d.datconnlimit FROM pg_database d WHERE d.datconnlimit >= 0
        UNION ALL
        SELECT 'role', r.rolname::text, r.oid, r.rolconnlimit FROM pg_roles r WHERE r.rolconnlimit >= 0 AND r.rolcanlogin)
    SELECT c.scope, c.name, c.usable_connections, s.used_connections,
           s.used_connections::double precision / nullif(c.usable_connections, 0) AS used_ratio,
           s.active_connections, s.idle_connections, s.idle_in_transaction_connections, s.lock_waiting_connections,
           s.oldest_transaction_seconds, s.oldest_idle_in_transaction_seconds
    FROM counted c CROSS JOIN LATERAL (
        -- Whoever may not see what others do sees no state: then nothing is known, which is not the same as none.
        SELECT count(*)::integer AS used_connections,
               CASE WHEN bool_and(s.state IS NOT NULL) IS NOT FALSE
                    THEN count(*) FILTER (WHERE s.state = 'active')::integer END AS active_connections,
               CASE WHEN bool_and(s.state IS NOT NULL) IS NOT FALSE
                    THEN count(*) FILTER (WHERE s.state = 'idle')::integer END AS idle_connections,
               CASE WHEN bool_and(s.state IS NOT NULL) IS NOT FALSE
                    THEN count(*) FILTER (WHERE s.state LIKE 'idle in transaction%')::integer END AS idle_in_transaction_connections,
               CASE WHEN bool_and(s.state IS NOT NULL) IS NOT FALSE
                    THEN count(*) FILTER (WHERE s.wait_event_type = 'Lock')::integer END AS lock_waiting_connections,
               extract(epoch FROM clock_timestamp() - min(s.xact_start))::double precision AS oldest_transaction_seconds,
               extract(epoch FROM clock_timestamp() - min(s.state_change) FILTER (WHERE s.state LIKE 'idle in transaction%'))
                   ::double precision AS oldest_idle_in_transaction_seconds
        FROM sessions s
        WHERE c.scope = 'server' OR (c.scope = 'database' AND s.datid = c.oid) OR (c.scope = 'role' AND s.usesysid = c.oid)) s;
COMMENT ON VIEW @extschema@.connection_saturation IS
    'Connections of clients against their limits: of the server, and of each database and role with a limit of its own';
COMMENT ON COLUMN @extschema@.connection_saturation.scope IS 'server, database or role';
COMMENT ON COLUMN @extschema@.connection_saturation.name IS 'which database or role; NULL: the server';
COMMENT ON COLUMN @extschema@.connection_saturation.usable_connections IS
    'the limit; of the server without what is reserved for superusers and by reserved_connections';
COMMENT ON COLUMN @extschema@.connection_saturation.used_connections IS 'sessions of clients now';
COMMENT ON COLUMN @extschema@.connection_saturation.used_ratio IS 'used by usable';
COMMENT ON COLUMN @extschema@.connection_saturation.active_connections IS 'of these, running a statement; NULL: not allowed to know';
COMMENT ON COLUMN @extschema@.connection_saturation.idle_connections IS 'waiting for the client, outside a transaction';
COMMENT ON COLUMN @extschema@.connection_saturation.idle_in_transaction_connections IS 'waiting for the client inside a transaction';
COMMENT ON COLUMN @extschema@.connection_saturation.lock_waiting_connections IS 'waiting for a lock, see blocking';
COMMENT ON COLUMN @extschema@.connection_saturation.oldest_transaction_seconds IS 'how long ago the oldest transaction among them began; NULL: there is none';
COMMENT ON COLUMN @extschema@.connection_saturation.oldest_idle_in_transaction_seconds IS
    'how long the one that has waited longest inside a transaction has done nothing; NULL: there is none';
GRANT SELECT ON @extschema@.connection_saturation TO telemetry_admin, pg_monitor;
