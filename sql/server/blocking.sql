-- Who waits for whom. Only sessions that wait for a lock are asked, so that it costs nothing while nobody does.

CREATE VIEW @extschema@.blocking AS
    WITH RECURSIVE waits (blocked_pid, blocker_pid) AS MATERIALIZED (
        SELECT a.pid, blocker.pid
        FROM pg_stat_activity a CROSS JOIN LATERAL unnest(pg_blocking_pids(a.pid)) AS blocker (pid)
        WHERE a.wait_event_type = 'Lock'),
    chains (blocked_pid, root_pid, depth, path) AS (
        SELECT DISTINCT blocked_pid, blocker_pid, 1, ARRAY[blocked_pid, blocker_pid] FROM waits
        UNION ALL
        SELECT c.blocked_pid, w.blocker_pid, c.depth + 1, c.path || w.blocker_pid
        FROM chains c JOIN waits w ON w.blocked_pid = c.root_pid
        WHERE w.blocker_pid <> ALL (c.path) AND c.depth < 50),
    roots (blocked_pid, root_pid, depth) AS (
        SELECT blocked_pid, root_pid, min(depth) FROM chains c
        WHERE NOT EXISTS (SELECT FROM waits w WHERE w.blocked_pid = c.root_pid)
        GROUP BY blocked_pid, root_pid)
    SELECT r.blocked_pid, nullif(r.root_pid, 0) AS root_pid, r.depth,
           extract(epoch FROM clock_timestamp() - l.waitstart)::double precision AS waited_seconds,
           l.locktype AS lock_type, l.mode AS lock_mode,
           (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.oid = l.relation AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
               AS relation,
           blocked.datname::text AS database, blocked.usename::text AS blocked_role, blocked.query AS blocked_query,
           root.usename::text AS root_role, root.application_name AS root_application,
           CASE WHEN r.root_pid = 0 THEN 'prepared transaction' ELSE root.state END AS root_state,
           extract(epoch FROM clock_timestamp() - root.xact_start)::double precision AS root_transaction_seconds,
           root.query AS root_query,
           CASE WHEN r.root_pid = 0 THEN 'see pg_prepared_xacts: COMMIT PREPARED or ROLLBACK PREPARED the one in the way'
                WHEN root.state = 'active' THEN format('SELECT pg_cancel_backend(%s);', r.root_pid)
                ELSE format('SELECT pg_terminate_backend(%s);', r.root_pid) END AS remedy
    FROM roots r
    LEFT JOIN pg_stat_activity blocked ON blocked.pid = r.blocked_pid
    LEFT JOIN pg_stat_activity root ON root.pid = r.root_pid
    LEFT JOIN LATERAL (
        SELECT * FROM pg_locks l WHERE l.pid = r.blocked_pid AND NOT l.granted LIMIT 1) l ON true;
COMMENT ON VIEW @extschema@.blocking IS
    'Sessions that wait for a lock, and at whose end the wait ends: one row for each pair';
COMMENT ON COLUMN @extschema@.blocking.blocked_pid IS 'process id of the session that waits';
COMMENT ON COLUMN @extschema@.blocking.root_pid IS 'process id of the one that waits for nobody itself; NULL: a prepared transaction';
COMMENT ON COLUMN @extschema@.blocking.depth IS '1: it waits for the root itself; 2: for one that waits for the root; and so on';
COMMENT ON COLUMN @extschema@.blocking.waited_seconds IS 'for how long it has waited; NULL: the wait has just begun';
COMMENT ON COLUMN @extschema@.blocking.lock_type IS 'relation, transactionid, tuple, extend, advisory and so on';
COMMENT ON COLUMN @extschema@.blocking.lock_mode IS 'the mode that it wants';
COMMENT ON COLUMN @extschema@.blocking.relation IS 'the table or index, where the lock is about one of this database';
COMMENT ON COLUMN @extschema@.blocking.database IS 'the database of the session that waits';
COMMENT ON COLUMN @extschema@.blocking.blocked_role IS 'its user';
COMMENT ON COLUMN @extschema@.blocking.blocked_query IS 'its statement; without pg_read_all_stats only that of one''s own sessions';
COMMENT ON COLUMN @extschema@.blocking.root_role IS 'the user of the root';
COMMENT ON COLUMN @extschema@.blocking.root_application IS 'its application_name';
COMMENT ON COLUMN @extschema@.blocking.root_state IS 'what it is doing: active, idle in transaction and so on, or prepared transaction';
COMMENT ON COLUMN @extschema@.blocking.root_transaction_seconds IS 'how long ago its transaction began';
COMMENT ON COLUMN @extschema@.blocking.root_query IS 'its current or last statement';
COMMENT ON COLUMN @extschema@.blocking.remedy IS 'what ends the wait; think of what the root was doing first';
GRANT SELECT ON @extschema@.blocking TO telemetry_admin, pg_monitor;
