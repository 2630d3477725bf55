-- Which tables are updated without touching their indexes, and what stands in the way of that.

CREATE VIEW @extschema@.hot_updates AS
    SELECT n.nspname::text AS schema_name, c.relname::text AS table_name,
           s.updated AS updates_total, s.hot AS hot_updates_total, s.hot::double precision / nullif(s.updated, 0) AS hot_ratio,
           coalesce((SELECT o.option_value::integer FROM pg_options_to_table(c.reloptions) o WHERE o.option_name = 'fillfactor'), 100)
               AS fillfactor,
           (SELECT array_agg(i.relname::text ORDER BY i.relname) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
            JOIN pg_am m ON m.oid = i.relam
            WHERE x.indrelid = c.oid AND NOT x.indisprimary AND m.amname <> 'brin') AS other_indexes,
           CASE WHEN s.updated > 10000 AND s.hot < 0.8 * s.updated
                THEN format('ALTER TABLE %I.%I SET (fillfactor = 70); and see whether an index of other_indexes is on a column that changes',
                            n.nspname, c.relname) END AS remedy
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (SELECT pg_stat_get_tuples_updated(c.oid) AS updated, pg_stat_get_tuples_hot_updated(c.oid) AS hot) s
    WHERE c.relkind = 'r' AND s.updated > 0 AND n.nspname NOT IN ('pg_catalog', 'information_schema');
COMMENT ON VIEW @extschema@.hot_updates IS
    'Tables that were updated since the statistics were last reset: how many updates left the indexes alone, and which indexes there are';
COMMENT ON COLUMN @extschema@.hot_updates.schema_name IS 'schema of the table';
COMMENT ON COLUMN @extschema@.hot_updates.table_name IS 'the table or partition';
COMMENT ON COLUMN @extschema@.hot_updates.updates_total IS 'rows updated';
COMMENT ON COLUMN @extschema@.hot_updates.hot_updates_total IS 'of these, without a new entry in any index';
COMMENT ON COLUMN @extschema@.hot_updates.hot_ratio IS 'their share';
COMMENT ON COLUMN @extschema@.hot_updates.fillfactor IS 'how full pages are made; the rest is room for updates';
COMMENT ON COLUMN @extschema@.hot_updates.other_indexes IS 'indexes besides the primary key: one on a column that changes prevents it. BRIN does not count from PostgreSQL 16 on';
COMMENT ON COLUMN @extschema@.hot_updates.remedy IS 'what to try, where the share is below 0.8 of more than 10,000';
GRANT SELECT ON @extschema@.hot_updates TO telemetry_admin, pg_monitor;
