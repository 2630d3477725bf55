-- A look around when the fleet has stopped. Every query can be pasted into psql.
\pset footer off

\echo
\echo Latest values of one robot, read from facts:
SELECT DISTINCT ON (a.name)
       a.name AS attribute,
       coalesce(f.value_num::text, f.value_int::text, f.value_text) AS value,
       a.unit, f.observed_at
FROM entity_values_ts AS f
JOIN attributes AS a USING (attribute_id)
JOIN entities AS e ON e.tenant_id = f.tenant_id AND e.entity_id = f.entity_id
WHERE e.tenant_id = 3 AND e.external_id = 'picker-42'
  AND f.ingested_at > now() - interval '7 days'
ORDER BY a.name, f.ingested_at DESC;

\echo Partitions of facts:
SELECT p.relid AS partition, pg_get_expr(c.relpartbound, c.oid) AS bounds,
       pg_size_pretty(pg_total_relation_size(c.oid)) AS size
FROM pg_partition_tree('entity_values_ts') AS p
JOIN pg_class AS c ON c.oid = p.relid
WHERE p.isleaf
ORDER BY p.relid::text;

\echo What could never be stored, and why:
SELECT sqlstate, reason, count(*) FROM entity_values_rejected GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 5;

\echo The workers:
SELECT worker, task, state, pid, runs_total AS runs, errors_total AS errors,
       round(last_duration_ms::numeric, 1) AS last_ms, last_success_at
FROM worker_status;
