-- Who keeps vacuum from removing dead rows. One row for each holder, whatever its kind; works on any node.

CREATE VIEW @extschema@.xmin_horizon AS
    WITH holders (kind, holder, pid, database, role, xid_age, catalog_xid_age, held_since_at, remedy) AS (
        SELECT CASE WHEN a.backend_type = 'walsender' THEN 'standby'
                    WHEN a.state LIKE 'idle in transaction%' THEN 'idle transaction'
                    WHEN a.backend_type LIKE 'autovacuum%' THEN 'autovacuum'
                    WHEN a.backend_type <> 'client backend' THEN 'worker'
                    ELSE 'query' END,
               coalesce(nullif(a.application_name, ''), a.backend_type), a.pid, a.datname::text, a.usename::text,
               -- Whichever is older; a snapshot of a transaction that has written holds back no further than its own id.
               greatest(age(a.backend_xmin), age(a.backend_xid))::bigint, NULL::bigint,
               coalesce(a.xact_start, a.backend_start),
               CASE WHEN a.backend_type = 'walsender'
                    THEN 'end the old query on that standby, or turn its hot_standby_feedback off'
                    ELSE format('SELECT pg_terminate_backend(%s);', a.pid) END
        FROM pg_stat_activity a
        WHERE (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL) AND a.pid <> pg_backend_pid()
        UNION ALL
        SELECT 'prepared transaction', p.gid, NULL, p.database::text, p.owner::text, age(p.transaction)::bigint, NULL, p.prepared,
               format('COMMIT PREPARED %1$L; or ROLLBACK PREPARED %1$L; in database %2$I', p.gid, p.database)
        FROM pg_prepared_xacts p
        UNION ALL
        SELECT 'slot', s.slot_name::text, s.active_pid, s.database::text, NULL, age(s.xmin)::bigint, age(s.catalog_xmin)::bigint, NULL,
               CASE WHEN s.active THEN 'have the consumer of the slot go on, see replication_slots_health'
                    ELSE format('start its consumer, or, if nobody needs it any more: SELECT pg_drop_replication_slot(%L);',
                                s.slot_name) END
        FROM pg_replication_slots s
        WHERE s.xmin IS NOT NULL OR s.catalog_xmin IS NOT NULL)
    SELECT kind, holder, pid, database, role, xid_age, catalog_xid_age, held_since_at,
           extract(epoch FROM clock_timestamp() - held_since_at)::double precision AS held_seconds,
           coalesce(xid_age, catalog_xid_age) = max(coalesce(xid_age, catalog_xid_age)) OVER () AS is_oldest, remedy
    FROM holders;
COMMENT ON VIEW @extschema@.xmin_horizon IS
    'Who keeps vacuum from removing dead rows: sessions, prepared transactions, standbys and slots, with the way to end each';
COMMENT ON COLUMN @extschema@.xmin_horizon.kind IS
    'query, idle transaction, worker, autovacuum, prepared transaction, standby (hot_standby_feedback without a slot) or slot';
COMMENT ON COLUMN @extschema@.xmin_horizon.holder IS 'application_name, global id of the prepared transaction, or name of the slot';
COMMENT ON COLUMN @extschema@.xmin_horizon.pid IS 'process id, as in pg_stat_activity; NULL: no process';
COMMENT ON COLUMN @extschema@.xmin_horizon.database IS 'it holds back the tables of this database; NULL: those of all';
COMMENT ON COLUMN @extschema@.xmin_horizon.role IS 'the user';
COMMENT ON COLUMN @extschema@.xmin_horizon.xid_age IS 'transactions begun since the oldest that it may still see; NULL: it holds catalogs only';
COMMENT ON COLUMN @extschema@.xmin_horizon.catalog_xid_age IS 'the same for the system catalogs, which a logical slot holds';
COMMENT ON COLUMN @extschema@.xmin_horizon.held_since_at IS 'when its transaction began; NULL: the server does not know';
COMMENT ON COLUMN @extschema@.xmin_horizon.held_seconds IS 'how long ago that is';
COMMENT ON COLUMN @extschema@.xmin_horizon.is_oldest IS 'nobody holds back further than this one';
COMMENT ON COLUMN @extschema@.xmin_horizon.remedy IS 'what ends it';
GRANT SELECT ON @extschema@.xmin_horizon TO telemetry_admin, pg_monitor;
