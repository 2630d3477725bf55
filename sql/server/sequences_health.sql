-- Sequences and the end of them: that of the sequence, or that of the column which takes its values, whichever is nearer.

CREATE VIEW @extschema@.sequences_health AS
    WITH sequences AS (
        SELECT c.oid, n.nspname, c.relname, s.seqincrement, s.seqcycle, s.seqmin, s.seqmax, owner.relation, owner.column_name,
               owner.type,
               CASE owner.type WHEN 'smallint'::regtype THEN 32767 WHEN 'integer'::regtype THEN 2147483647 END AS column_max,
               -- Reading a sequence would wait for whoever locks it.
               CASE WHEN has_sequence_privilege(c.oid, 'SELECT,USAGE') AND (c.relpersistence = 'p' OR NOT pg_is_in_recovery())
                     AND NOT EXISTS (SELECT FROM pg_locks l
                                     WHERE l.relation = c.oid AND l.granted
                                       AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
                                       AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
                    THEN pg_sequence_last_value(c.oid) END AS last_value
        FROM pg_sequence s
        JOIN pg_class c ON c.oid = s.seqrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN LATERAL (
            SELECT format('%I.%I', tn.nspname, t.relname) AS relation, a.attname::text AS column_name, a.atttypid AS type
            FROM pg_depend d
            JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
            JOIN pg_class t ON t.oid = d.refobjid
            JOIN pg_namespace tn ON tn.oid = t.relnamespace
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass
              AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
            LIMIT 1) owner ON true
        WHERE c.relpersistence <> 't'),
    ends AS (
        SELECT s.*, CASE WHEN s.seqincrement > 0 THEN least(s.seqmax, s.column_max) ELSE s.seqmin END AS end_value
        FROM sequences s)
    SELECT e.nspname::text AS schema_name, e.relname::text AS sequence_name, e.relation AS used_by_table,
           e.column_name AS used_by_column, e.last_value, e.end_value, e.seqcycle AS cycles, u.used_ratio,
           CASE WHEN e.seqcycle OR coalesce(u.used_ratio, 0) <= 0.5 THEN NULL
                WHEN e.end_value = e.column_max
                THEN format('ALTER TABLE %s ALTER COLUMN %I TYPE bigint; rewrites and locks the table: plan it', e.relation, e.column_name)
                ELSE format('ALTER SEQUENCE %I.%I AS bigint NO MAXVALUE;', e.nspname, e.relname) END AS remedy
    FROM ends e
    CROSS JOIN LATERAL (
        SELECT CASE WHEN e.seqincrement > 0
                    THEN (e.last_value::double precision - e.seqmin) / nullif(e.end_value::double precision - e.seqmin, 0)
                    ELSE (e.seqmax::double precision - e.last_value) / nullif(e.seqmax::double precision - e.end_value, 0)
               END AS used_ratio) u;
COMMENT ON VIEW @extschema@.sequences_health IS 'Sequences of this database, and how much of each is used up';
COMMENT ON COLUMN @extschema@.sequences_health.schema_name IS 'schema of the sequence';
COMMENT ON COLUMN @extschema@.sequences_health.sequence_name IS 'the sequence';
COMMENT ON COLUMN @extschema@.sequences_health.used_by_table IS 'the table whose column owns it; NULL: none';
COMMENT ON COLUMN @extschema@.sequences_health.used_by_column IS 'that column';
COMMENT ON COLUMN @extschema@.sequences_health.last_value IS 'the last value given out; NULL: none yet, you may not read it, or somebody locks it';
COMMENT ON COLUMN @extschema@.sequences_health.end_value IS 'the last one there can be: an integer column ends before a bigint sequence does';
COMMENT ON COLUMN @extschema@.sequences_health.cycles IS 'begins again at its end';
COMMENT ON COLUMN @extschema@.sequences_health.used_ratio IS 'share of its values that are used up; NULL: not known';
COMMENT ON COLUMN @extschema@.sequences_health.remedy IS 'what gives it more, when more than half is used up';
-- The owner too: it may read its own sequences, which the alert needs.
GRANT SELECT ON @extschema@.sequences_health TO telemetry_owner, telemetry_admin, pg_monitor;
