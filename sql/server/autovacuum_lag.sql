-- What autovacuum has to do in this database and has not done yet. Figures of the statistics only: no table is touched or locked.

CREATE VIEW @extschema@.autovacuum_lag AS
    WITH settings AS MATERIALIZED (
        SELECT current_setting('autovacuum')::boolean AS enabled,
               current_setting('autovacuum_vacuum_threshold')::double precision AS vacuum_threshold,
               current_setting('autovacuum_vacuum_scale_factor')::double precision AS vacuum_scale,
               -- From PostgreSQL 18 on.
               nullif(coalesce(current_setting('autovacuum_vacuum_max_threshold', true)::double precision, -1), -1) AS vacuum_max,
               current_setting('autovacuum_vacuum_insert_threshold')::double precision AS insert_threshold,
               current_setting('autovacuum_vacuum_insert_scale_factor')::double precision AS insert_scale,
               current_setting('autovacuum_analyze_threshold')::double precision AS analyze_threshold,
               current_setting('autovacuum_analyze_scale_factor')::double precision AS analyze_scale,
               current_setting('autovacuum_freeze_max_age')::double precision AS freeze_max_age),
    options AS (
        SELECT c.oid,
               max(o.option_value) FILTER (WHERE o.option_name = 'autovacuum_enabled')::boolean AS enabled,
               max(o.option_value) FILTER (WHERE o.option_name = 'autovacuum_vacuum_threshold')::double precision AS vacuum_threshold,
               max(o.option_value) FILTER (WHERE o.option_name = 'autovacuum_vacuum_scale_factor')::double precision AS vacuum_scale,
               max(o.option_value) FILTER (WHERE o.option_name = 'autovacuum_vacuum_max_threshold')::double precision AS vacuum_max,
               max(o.option_value) FILTER (WHERE o.option_name = 'autovacuum_vacuum_insert_threshold')::double precision AS insert_threshold,
               max(o.option_value) FILTER (WHERE o.option_name = 'autovacuum_vacuum_insert_scale_factor')::double precision AS insert_scale,
               max(o.option_value) FILTER (WHERE o.option_name = 'autovacuum_analyze_threshold')::double precision AS analyze_threshold,
               max(o.option_value) FILTER (WHERE o.option_name = 'autovacuum_analyze_scale_factor')::double precision AS analyze_scale,
               max(o.option_value) FILTER (WHERE o.option_name = 'autovacuum_freeze_max_age')::double precision AS freeze_max_age
        FROM pg_class c CROSS JOIN LATERAL pg_options_to_table(c.reloptions) o
        WHERE c.reloptions IS NOT NULL AND o.option_name LIKE 'autovacuum%'
        GROUP BY c.oid),
    tables AS MATERIALIZED (
        SELECT c.oid, n.nspname, c.relname, c.relkind, c.relfrozenxid,
               s.enabled AND coalesce(o.enabled, true) AS enabled,
               pg_stat_get_dead_tuples(c.oid) AS dead_rows,
               pg_stat_get_ins_since_vacuum(c.oid) AS inserted_rows,
               pg_stat_get_mod_since_analyze(c.oid) AS modified_rows,
               least(coalesce(o.vacuum_threshold, s.vacuum_threshold) + coalesce(o.vacuum_scale, s.vacuum_scale) * known.rows,
                     nullif(coalesce(o.vacuum_max, s.vacuum_max), -1)) AS dead_rows_allowed,
               coalesce(o.insert_threshold, s.insert_threshold) AS insert_threshold,
               coalesce(o.insert_threshold, s.insert_threshold) + coalesce(o.insert_scale, s.insert_scale) * known.rows
                   AS inserted_rows_allowed,
               coalesce(o.analyze_threshold, s.analyze_threshold) + coalesce(o.analyze_scale, s.analyze_scale) * known.rows
                   AS modified_rows_allowed,
               -- What the table sets can only be less than the setting.
               least(coalesce(o.freeze_max_age, s.freeze_max_age), s.freeze_max_age) AS freeze_max_age
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        CROSS JOIN settings s
        CROSS JOIN LATERAL (SELECT greatest(c.reltuples, 0)::double precision AS rows) known
        LEFT JOIN options o ON o.oid = c.oid
        WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence <> 't')
    SELECT t.nspname::text AS schema_name, t.relname::text AS table_name, t.enabled AS is_enabled,
           t.dead_rows, t.dead_rows_allowed::bigint AS dead_rows_allowed, t.dead_rows / nullif(t.dead_rows_allowed, 0) AS dead_ratio,
           CASE WHEN t.insert_threshold >= 0 THEN t.inserted_rows / nullif(t.inserted_rows_allowed, 0) END AS insert_ratio,
           CASE WHEN t.relkind <> 't' THEN t.modified_rows / nullif(t.modified_rows_allowed, 0) END AS analyze_ratio,
           CASE WHEN t.relfrozenxid <> '0' THEN age(t.relfrozenxid) / nullif(t.freeze_max_age, 0) END AS freeze_ratio,
           pg_stat_get_last_autovacuum_time(t.oid) AS last_autovacuum_at,
           pg_stat_get_last_vacuum_time(t.oid) AS last_vacuum_at,
           p.pid AS running_pid, p.phase AS running_phase,
           p.heap_blks_scanned::double precision / nullif(p.heap_blks_total, 0) AS running_scanned_ratio,
           CASE WHEN NOT t.enabled AND coalesce(t.dead_rows > t.dead_rows_allowed, false)
                    THEN format('autovacuum is off: VACUUM %1$I.%2$I; or ALTER TABLE %1$I.%2$I RESET (autovacuum_enabled);', t.nspname, t.relname)
                WHEN t.dead_rows > 2 * t.dead_rows_allowed
                    THEN format('see xmin_horizon for who keeps dead rows; then VACUUM (VERBOSE) %I.%I;', t.nspname, t.relname)
                WHEN t.relfrozenxid <> '0' AND age(t.relfrozenxid) > 1.1 * t.freeze_max_age
                    THEN format('VACUUM (FREEZE) %I.%I;', t.nspname, t.relname) END AS remedy
    FROM tables t
    LEFT JOIN pg_stat_progress_vacuum p
        ON p.relid = t.oid AND p.datname = current_database()
    WHERE t.dead_rows > t.dead_rows_allowed / 2 OR p.pid IS NOT NULL
       OR (t.insert_threshold >= 0 AND t.inserted_rows > t.inserted_rows_allowed / 2)
       OR (t.relkind <> 't' AND t.modified_rows > t.modified_rows_allowed / 2)
       OR (t.relfrozenxid <> '0' AND age(t.relfrozenxid) > t.freeze_max_age / 2);
COMMENT ON VIEW @extschema@.autovacuum_lag IS
    'Tables of this database that have reached half of what makes autovacuum come, or more: to vacuum, to analyze, to freeze';
COMMENT ON COLUMN @extschema@.autovacuum_lag.schema_name IS 'schema of the table';
COMMENT ON COLUMN @extschema@.autovacuum_lag.table_name IS 'the table, partition, or TOAST table';
COMMENT ON COLUMN @extschema@.autovacuum_lag.is_enabled IS 'whether autovacuum looks after it, by the setting and by the table''s own parameter';
COMMENT ON COLUMN @extschema@.autovacuum_lag.dead_rows IS 'dead rows, by the statistics: zero after a crash, whatever is there';
COMMENT ON COLUMN @extschema@.autovacuum_lag.dead_rows_allowed IS 'above this many, autovacuum comes';
COMMENT ON COLUMN @extschema@.autovacuum_lag.dead_ratio IS 'one by the other: above 1 it is due, well above 1 for long it does not keep up or cannot remove them';
COMMENT ON COLUMN @extschema@.autovacuum_lag.insert_ratio IS 'the same for rows inserted since the last vacuum; NULL: inserts alone do not make it come';
COMMENT ON COLUMN @extschema@.autovacuum_lag.analyze_ratio IS 'the same for changes since the last ANALYZE; NULL: a TOAST table has no statistics';
COMMENT ON COLUMN @extschema@.autovacuum_lag.freeze_ratio IS 'age of its oldest transaction id against the age at which it is frozen by force';
COMMENT ON COLUMN @extschema@.autovacuum_lag.last_autovacuum_at IS 'when autovacuum last ended with it';
COMMENT ON COLUMN @extschema@.autovacuum_lag.last_vacuum_at IS 'when somebody else''s VACUUM did';
COMMENT ON COLUMN @extschema@.autovacuum_lag.running_pid IS 'who vacuums it now';
COMMENT ON COLUMN @extschema@.autovacuum_lag.running_phase IS 'what that one is at';
COMMENT ON COLUMN @extschema@.autovacuum_lag.running_scanned_ratio IS 'share of the pages that it has seen';
COMMENT ON COLUMN @extschema@.autovacuum_lag.remedy IS 'what to do, where something is wrong';
GRANT SELECT ON @extschema@.autovacuum_lag TO telemetry_admin, pg_monitor;
