//! Advice about indexes, with what speaks for it and what against. Nothing is locked: definitions are compared as the catalogs have
//! them, and text is made of them only for what is found. All indexes of a partitioned index count as one.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::readable;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::answer::Answer;
use crate::pg::{identity, xact};
use crate::sql::{argument, each};

#[pg_extern]
fn index_health_rows(mut answer: Answer) -> Result<(), ErrorReport> {
    let installed = Installed::require()?;
    Ok(identity::as_owner(|| rows(&installed, &mut answer))?)
}

/// Without the table what is wrong with an index is told all the same, only not what nobody uses.
const NEVER_WATCHED: &str =
    "SELECT NULL::text AS index_name, NULL::timestamptz AS first_seen_at, NULL::timestamptz AS last_scan_at,
    NULL::bigint AS scans, NULL::double precision AS idle_seconds, NULL::bigint AS bytes WHERE false";

fn rows(installed: &Installed, answer: &mut Answer) -> Result<(), Error> {
    let uses = match readable(installed, &[Table::IndexUse])? {
        None => format!(
            "SELECT index_name, first_seen_at, last_scan_at, scans, idle_seconds, bytes FROM {}",
            installed.qualified(Table::IndexUse)
        ),
        Some(_) => NEVER_WATCHED.to_owned(),
    };
    let text = format!(
        "{}
         SELECT o.issue, o.index_name, o.table_name, o.bytes, j.scans, j.first_seen_at, j.last_scan_at, j.idle_seconds,
                CASE WHEN j.indexrelid IS NOT NULL THEN {SCANS_HERE} END, o.covered_by,
                CASE WHEN o.why_not IS NULL THEN o.advice ELSE 'none' END, o.why, o.why_not, o.remedy
         FROM ({DUPLICATE} UNION ALL {REDUNDANT} UNION ALL {} UNION ALL {INVALID} UNION ALL {MISSING} UNION ALL {}) AS o
              LEFT JOIN judged j ON j.indexrelid = o.indexrelid
         ORDER BY o.issue, o.bytes DESC NULLS LAST, o.index_name",
        KNOWN.replace("USES", &uses),
        UNUSED.replace("SCANS_HERE", SCANS_HERE),
        BRIN.replace("SCANS_HERE", SCANS_HERE)
    );
    let facts = installed.table_oid(Table::Facts)?;
    let arguments = vec![
        argument(facts),
        argument(installed.schema.clone()),
        argument(installed.quoted_schema()),
        argument(xact::in_recovery()),
    ];
    each(&text, arguments, |row| {
        answer.add(row);
        Ok(true)
    })
}

/// Scans of `j` by the statistics of this node: dear for one with many partitions, so not asked for all.
const SCANS_HERE: &str = "CASE WHEN j.relkind = 'i' THEN pg_stat_get_numscans(j.indexrelid)
    ELSE (SELECT sum(pg_stat_get_numscans(h.inhrelid))::bigint FROM pg_inherits h WHERE h.inhparent = j.indexrelid) END";

/// What is known of each index that is not a part of another: `keys` are its key columns, each with operator class, collation and
/// order, which have to be the same for one index to do the work of another.
const KNOWN: &str = "
    WITH uses AS MATERIALIZED (USES),
    known AS MATERIALIZED (
        SELECT x.indexrelid, x.indrelid, c.relname AS index_only, t.relname AS table_only, c.relkind, t.relkind AS table_kind, m.amname,
               format('%I.%I', n.nspname, c.relname) AS index_name, format('%I.%I', tn.nspname, t.relname) AS table_name,
               tn.nspname AS table_schema, t.relispartition AS of_partition,
               x.indisunique, x.indisprimary, x.indisreplident, x.indisclustered, x.indisvalid AND x.indisready AND x.indislive AS is_valid,
               x.indnkeyatts, x.indkey::int2[] AS columns, x.indexprs IS NOT NULL AS has_expressions,
               regexp_replace(coalesce(x.indexprs::text, '') || '/' || coalesce(x.indpred::text, ''), ':location -?[0-9]+', '', 'g') AS terms,
               ARRAY(SELECT concat_ws('/', x.indkey[k], x.indclass[k], x.indcollation[k], x.indoption[k])
                     FROM generate_series(0, x.indnkeyatts - 1) AS k) AS keys,
               x.indrelid = $1 AS of_facts,
               tn.nspname = $2 AND x.indrelid <> $1 AND pg_get_userbyid(t.relowner) = 'telemetry_owner'
                   AND c.relname LIKE t.relname || '\\_%' AS is_ours,
               (SELECT k.conname FROM pg_constraint k WHERE k.conindid = x.indexrelid AND k.contype <> 'f' LIMIT 1) AS constraint_name,
               x.indexprs IS NULL AND x.indpred IS NULL AND x.indnkeyatts = x.indnatts AND NOT x.indisunique
                   AND NOT EXISTS (SELECT FROM generate_series(0, x.indnkeyatts - 1) AS k
                                   WHERE x.indoption[k] <> 0
                                      OR NOT (SELECT o.opcdefault FROM pg_opclass o WHERE o.oid = x.indclass[k])) AS is_plain,
               u.bytes, u.scans, u.first_seen_at, u.last_scan_at, u.idle_seconds
        FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_class t ON t.oid = x.indrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace JOIN pg_am m ON m.oid = c.relam
             LEFT JOIN uses u ON u.index_name = format('%I.%I', n.nspname, c.relname)
        WHERE NOT c.relispartition AND c.relpersistence <> 't'
          AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_(catalog|toast|temp_)'),
    judged AS MATERIALIZED (
        SELECT k.*,
               CASE WHEN k.constraint_name IS NOT NULL THEN format('ALTER TABLE %s DROP CONSTRAINT %I;', k.table_name, k.constraint_name)
                    WHEN k.of_facts THEN format('SELECT %s.drop_fact_index(%L);', $3, k.index_only)
                    WHEN k.relkind = 'I' THEN format('DROP INDEX %s;', k.index_name)
                    ELSE format('DROP INDEX CONCURRENTLY %s;', k.index_name) END AS drop_it,
               concat_ws('; ',
                   'the constraint ' || quote_ident(k.constraint_name) || ' rests on it',
                   CASE WHEN k.indisunique AND k.constraint_name IS NULL THEN 'it keeps values unique' END,
                   CASE WHEN k.indisreplident THEN 'it is the replica identity of the table' END,
                   CASE WHEN k.indisclustered THEN 'CLUSTER goes by it' END,
                   CASE WHEN k.is_ours THEN 'pg_telemetry works with it' END,
                   CASE WHEN k.of_facts AND k.index_only IN ('entity_values_ts_ingested_at_brin', 'entity_values_ts_series_idx')
                        THEN 'readings() and the searches of pg_telemetry go by it' END) AS needed
        FROM known k),
    alike AS MATERIALIZED (
        SELECT a.indexrelid AS shorter, b.indexrelid AS longer
        FROM judged a JOIN judged b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid
        WHERE a.amname = 'btree' AND b.amname = 'btree' AND a.is_valid AND b.is_valid AND NOT a.has_expressions AND NOT b.has_expressions
          AND a.terms = b.terms AND a.indnkeyatts <= b.indnkeyatts AND b.keys[1:a.indnkeyatts] = a.keys AND a.columns <@ b.columns),
    standbys AS MATERIALIZED (
        SELECT CASE WHEN $4 THEN 0 ELSE (SELECT count(*) FROM pg_stat_get_wal_senders())
                   + (SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT active) END AS number)";

const DUPLICATE: &str = "
    SELECT 'duplicate' AS issue, d.indexrelid, d.index_name, d.table_name, d.bytes, d.kept AS covered_by, 'drop' AS advice,
           format('%s has the same columns in the same order', d.kept) AS why, nullif(d.needed, '') AS why_not, d.drop_it AS remedy
    FROM (SELECT j.*,
                 row_number() OVER same AS place, first_value(j.index_name) OVER same AS kept
          FROM judged j WHERE j.is_valid
          WINDOW same AS (PARTITION BY j.indrelid, j.amname, j.keys, j.terms, j.columns
                          ORDER BY j.needed <> '' DESC, j.indisprimary DESC, j.indisunique DESC, j.indexrelid)) AS d
    WHERE d.place > 1";

/// The shorter index goes; with a condition only where the other has the same.
const REDUNDANT: &str = "
    SELECT * FROM (SELECT DISTINCT ON (a.index_name) 'redundant', a.indexrelid, a.index_name, a.table_name, a.bytes, b.index_name, 'drop', format('%s begins with the same columns', b.index_name),
           nullif(concat_ws('; ', nullif(a.needed, ''),
                            CASE WHEN b.bytes > 4 * a.bytes THEN format('%s is %s times as large, so scans of it read more',
                                                                        b.index_name, round(b.bytes / a.bytes)) END), ''),
           a.drop_it
    FROM alike JOIN judged a ON a.indexrelid = alike.shorter JOIN judged b ON b.indexrelid = alike.longer
    WHERE a.indnkeyatts < b.indnkeyatts
    ORDER BY a.index_name, b.indnkeyatts, b.indexrelid) AS r";

const UNUSED: &str = "
    SELECT 'unused', j.indexrelid, j.index_name, j.table_name, j.bytes, NULL,
           CASE WHEN s.number > 0 THEN 'ask the standbys, then drop' ELSE 'drop' END,
           format('no scan of it in %s days that were watched%s', round((j.idle_seconds / 86400)::numeric, 1),
                  CASE WHEN s.number > 0 THEN format('; %s standbys count their own scans: see scans_here of this view there', s.number)
                       ELSE '; other nodes, if there are any, count their own scans' END),
           nullif(concat_ws('; ', nullif(j.needed, ''),
                            CASE WHEN j.idle_seconds < 14 * 86400 THEN 'it has been watched for less than 14 days' END,
                            CASE WHEN j.bytes IS NULL THEN 'its size is not known yet'
                                 WHEN j.bytes < 10 * 1048576 THEN 'it is smaller than 10 MB: dropping it saves next to nothing' END,
                            (SELECT format('it does the work of %s as well, which is used: drop that one first, and watch this one again', min(a.index_name))
                             FROM alike l JOIN judged a ON a.indexrelid = l.shorter
                             WHERE l.longer = j.indexrelid AND a.needed = '' AND coalesce(a.idle_seconds, 0) < 14 * 86400
                             HAVING count(*) > 0),
                            CASE WHEN $4 AND SCANS_HERE > 0 THEN 'this standby has used it' END,
                            CASE WHEN j.has_expressions THEN 'plans may go by the statistics of its expression' END,
                            CASE WHEN EXISTS (SELECT FROM pg_constraint f WHERE f.conrelid = j.indrelid AND f.contype = 'f'
                                                AND f.conkey <@ j.columns[0:cardinality(f.conkey) - 1])
                                 THEN 'a foreign key of the table would have it read as a whole when a row it refers to is deleted' END), ''),
           j.drop_it
    FROM judged j, standbys s
    WHERE j.is_valid AND NOT j.is_ours AND j.idle_seconds > 0 AND (j.bytes IS NULL OR j.bytes >= 1048576)";

const INVALID: &str = "
    SELECT 'invalid', i.indexrelid, i.index_name, i.table_name, i.bytes, NULL, 'rebuild', 'it answers no query, and every write keeps it up to date',
           CASE WHEN EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'relation' AND l.relation = i.indrelid AND l.granted
                               AND l.mode = 'ShareUpdateExclusiveLock'
                               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
                THEN 'somebody is at work on the table: it may be in the making' END,
           CASE WHEN i.root_of = $1 THEN format('SELECT %s.reindex_facts();', $3)
                ELSE format('REINDEX INDEX CONCURRENTLY %s;', i.index_name) END
    FROM (SELECT format('%I.%I', n.nspname, c.relname) AS index_name, format('%I.%I', tn.nspname, t.relname) AS table_name, x.indrelid, x.indexrelid,
                 c.relpages::bigint * current_setting('block_size')::bigint AS bytes,
                 (SELECT h.inhparent FROM pg_inherits h WHERE h.inhrelid = x.indrelid LIMIT 1) AS root_of
          FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
               JOIN pg_class t ON t.oid = x.indrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace
          WHERE NOT (x.indisvalid AND x.indisready AND x.indislive) AND c.relkind = 'i' AND c.relpersistence <> 't'
            AND n.nspname !~ '^pg_(catalog|toast|temp_)') AS i";

/// An index of the parent that some partitions have not, and one that some partitions have by themselves.
const MISSING: &str = "
    SELECT 'missing', j.indexrelid, j.index_name, j.table_name, j.bytes, NULL, 'build',
           format('%s of %s partitions have it; for the others queries read all of them', h.number, p.number), NULL,
           CASE WHEN j.of_facts THEN format('SELECT * FROM %s.fact_index_plan();', $3)
                ELSE (SELECT format('CREATE INDEX CONCURRENTLY ON %s USING %I (%s); then ALTER INDEX %s ATTACH PARTITION it; and the same for each other partition',
                                    l.lacking, j.amname,
                                    CASE WHEN j.is_plain THEN (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.place)
                                                               FROM unnest(j.columns) WITH ORDINALITY AS k (number, place)
                                                                    JOIN pg_attribute a ON a.attrelid = j.indrelid AND a.attnum = k.number)
                                         ELSE '…' END, j.index_name)
                      FROM (SELECT format('%I.%I', n.nspname, c.relname) AS lacking
                            FROM pg_inherits t JOIN pg_class c ON c.oid = t.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                            WHERE t.inhparent = j.indrelid
                              AND NOT EXISTS (SELECT FROM pg_index x JOIN pg_inherits i ON i.inhrelid = x.indexrelid
                                              WHERE x.indrelid = c.oid AND i.inhparent = j.indexrelid)
                            ORDER BY c.oid DESC LIMIT 1) AS l) END
    FROM judged j
         CROSS JOIN LATERAL (SELECT count(*) AS number FROM pg_inherits i WHERE i.inhparent = j.indexrelid) AS h
         CROSS JOIN LATERAL (SELECT count(*) AS number FROM pg_inherits i WHERE i.inhparent = j.indrelid) AS p
    WHERE j.relkind = 'I' AND h.number < p.number
    UNION ALL
    SELECT 'missing', NULL, min(o.index_name), o.parent, NULL, NULL, 'build for all',
           format('%s of %s partitions have such an index by themselves, new ones come without', count(*), o.partitions), NULL,
           CASE WHEN o.parent_oid = $1 AND o.is_plain THEN format('SELECT %s.add_fact_index(ARRAY[%s], %L);', $3, o.names, o.amname)
                ELSE format('CREATE INDEX ON ONLY %s USING %I (…); then ALTER INDEX … ATTACH PARTITION for each', o.parent, o.amname) END
    FROM (SELECT j.index_name, j.amname, h.inhparent AS parent_oid, format('%I.%I', n.nspname, c.relname) AS parent,
                 (SELECT count(*) FROM pg_inherits i WHERE i.inhparent = h.inhparent) AS partitions,
                 j.is_plain, j.terms,
                 (SELECT string_agg(quote_literal(a.attname), ', ' ORDER BY k.place)
                  FROM unnest(j.columns) WITH ORDINALITY AS k (number, place)
                       JOIN pg_attribute a ON a.attrelid = j.indrelid AND a.attnum = k.number) AS names
          FROM judged j JOIN pg_inherits h ON h.inhrelid = j.indrelid JOIN pg_class c ON c.oid = h.inhparent
               JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE j.of_partition AND j.relkind = 'i' AND j.is_valid) AS o
    GROUP BY o.parent, o.parent_oid, o.partitions, o.amname, o.names, o.terms, o.is_plain
    HAVING count(*) > 1 AND count(*) < o.partitions";

/// The largest partition stands for all of them. What is updated does not stay where it was written.
const BRIN: &str = "
    SELECT 'brin', j.indexrelid, j.index_name, j.table_name, j.bytes, NULL, 'replace',
           format('%s rows lie in the order of %I: a BRIN index of some kilobytes finds a range of it as well',
                  CASE WHEN s.correlation IS NULL THEN 'perhaps' ELSE round((100 * abs(s.correlation))::numeric, 1) || ' % of' END, a.attname),
           nullif(concat_ws('; ', nullif(j.needed, ''),
                            CASE WHEN s.correlation IS NULL THEN 'how rows lie is not known: it was never analyzed, or its statistics may not be read by telemetry_owner'
                                 WHEN abs(s.correlation) < 0.95 THEN 'rows do not lie in its order' END,
                            CASE WHEN w.changed > 0.01 * w.inserted THEN 'rows are updated or deleted, and then others lie between them' END,
                            CASE WHEN w.rows_read < 1000 * w.scans THEN 'its scans look for few rows each, for which BRIN would read whole page ranges' END), ''),
           CASE WHEN j.of_facts THEN format('SELECT %s.add_fact_index(ARRAY[%L], ''brin''); then SELECT %s.drop_fact_index(%L);', $3, a.attname, $3, j.index_only)
                WHEN j.relkind = 'I' THEN format('CREATE INDEX ON %s USING brin (%I); DROP INDEX %s;', j.table_name, a.attname, j.index_name)
                ELSE format('CREATE INDEX CONCURRENTLY ON %s USING brin (%I); DROP INDEX CONCURRENTLY %s;', j.table_name, a.attname, j.index_name) END
    FROM judged j JOIN pg_attribute a ON a.attrelid = j.indrelid AND a.attnum = j.columns[0]
         CROSS JOIN LATERAL (
             SELECT c.oid, c.relname, n.nspname
             FROM (SELECT j.indrelid AS oid WHERE j.table_kind <> 'p'
                   UNION ALL SELECT h.inhrelid FROM pg_inherits h WHERE h.inhparent = j.indrelid AND j.table_kind = 'p') AS parts
                  JOIN pg_class c ON c.oid = parts.oid JOIN pg_namespace n ON n.oid = c.relnamespace
             ORDER BY c.reltuples DESC, c.oid LIMIT 1) AS largest
         LEFT JOIN pg_stats s ON s.schemaname = largest.nspname AND s.tablename = largest.relname AND s.attname = a.attname AND NOT s.inherited
         CROSS JOIN LATERAL (
             SELECT pg_stat_get_tuples_inserted(largest.oid) AS inserted,
                    pg_stat_get_tuples_updated(largest.oid) + pg_stat_get_tuples_deleted(largest.oid) AS changed,
                    CASE WHEN j.relkind = 'i' THEN pg_stat_get_tuples_returned(j.indexrelid)
                         ELSE (SELECT sum(pg_stat_get_tuples_returned(h.inhrelid))::bigint FROM pg_inherits h WHERE h.inhparent = j.indexrelid)
                    END AS rows_read, SCANS_HERE AS scans) AS w
    WHERE j.amname = 'btree' AND j.indnkeyatts = 1 AND cardinality(j.columns) = 1 AND NOT j.indisunique AND j.is_valid AND NOT j.is_ours AND j.terms = '/'
      AND j.bytes >= 64 * 1048576
      AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype, 'int4'::regtype, 'int8'::regtype)";
