-- How far transaction ids and multixact ids are from their end: every database, and the oldest tables of this one.

CREATE VIEW @extschema@.wraparound AS
    WITH aged AS (
        SELECT 'database' AS scope, d.datname::text AS name, age(d.datfrozenxid)::bigint AS xid_age,
               mxid_age(d.datminmxid)::bigint AS multixact_age,
               format('VACUUM (FREEZE); in database %I, and see xmin_horizon', d.datname) AS remedy
        FROM pg_database d
        UNION ALL
        SELECT 'table', t.name, t.xid_age, t.multixact_age, format('VACUUM (FREEZE) %s;', t.name)
        FROM (
            SELECT format('%I.%I', n.nspname, c.relname) AS name, age(c.relfrozenxid)::bigint AS xid_age,
                   mxid_age(c.relminmxid)::bigint AS multixact_age
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'm', 't') AND c.relfrozenxid <> '0'
            ORDER BY greatest(age(c.relfrozenxid), mxid_age(c.relminmxid)) DESC
            LIMIT 20) t)
    SELECT scope, name, xid_age, xid_age / 2147483648.0::double precision AS xid_used_ratio,
           xid_age / current_setting('autovacuum_freeze_max_age')::double precision AS xid_freeze_ratio,
           multixact_age, multixact_age / 2147483648.0::double precision AS multixact_used_ratio,
           multixact_age / current_setting('autovacuum_multixact_freeze_max_age')::double precision AS multixact_freeze_ratio,
           remedy
    FROM aged;
COMMENT ON VIEW @extschema@.wraparound IS
    'How much of the transaction ids and multixact ids is used up since the last freeze: all databases, and the 20 oldest tables of this one';
COMMENT ON COLUMN @extschema@.wraparound.scope IS 'database or table';
COMMENT ON COLUMN @extschema@.wraparound.name IS 'which one';
COMMENT ON COLUMN @extschema@.wraparound.xid_age IS 'transaction ids since its oldest unfrozen row, at most';
COMMENT ON COLUMN @extschema@.wraparound.xid_used_ratio IS 'of the two thousand million after which the server refuses to write';
COMMENT ON COLUMN @extschema@.wraparound.xid_freeze_ratio IS 'of autovacuum_freeze_max_age, at which autovacuum freezes by force: well above 1, something keeps it from that';
COMMENT ON COLUMN @extschema@.wraparound.multixact_age IS 'multixact ids since its oldest';
COMMENT ON COLUMN @extschema@.wraparound.multixact_used_ratio IS 'as xid_used_ratio';
COMMENT ON COLUMN @extschema@.wraparound.multixact_freeze_ratio IS 'as xid_freeze_ratio, by autovacuum_multixact_freeze_max_age';
COMMENT ON COLUMN @extschema@.wraparound.remedy IS 'what to run when the ratios say so';
GRANT SELECT ON @extschema@.wraparound TO telemetry_admin, pg_monitor;
