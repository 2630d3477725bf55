//! How tables and indexes are used. Counters are read by oid and nothing is locked, so whoever holds ACCESS EXCLUSIVE on one of them
//! keeps nobody waiting; a relation that is dropped meanwhile is left out.

use super::baseline::{begin, changes};
use super::task::longest_gap;
use super::turn::{Outcome, Turn};
use crate::error::Error;
use crate::installed::Table;
use crate::pg::handover;
use crate::sql::{argument, time, write};

/// Names are only looked up of what has changed. TOAST counts with nobody, and samples not with themselves: there would be no end of
/// them on a server on which nothing happens.
const NOW: &str = "
    SELECT c.oid::bigint AS a, 0::bigint AS b, c.oid AS relation_oid, c.relkind = 'i' AS is_index,
           ARRAY[pg_stat_get_blocks_hit(c.oid), greatest(0, pg_stat_get_blocks_fetched(c.oid) - pg_stat_get_blocks_hit(c.oid)),
                 pg_stat_get_numscans(c.oid), pg_stat_get_tuples_returned(c.oid), pg_stat_get_tuples_fetched(c.oid),
                 pg_stat_get_tuples_inserted(c.oid), pg_stat_get_tuples_updated(c.oid), pg_stat_get_tuples_hot_updated(c.oid),
                 pg_stat_get_tuples_deleted(c.oid)]::double precision[] AS counters
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 'i') AND c.relpersistence <> 't'
      AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_(catalog|toast|temp_)'
      AND NOT (n.nspname = $4 AND c.relname ~ ('^' || $5))";

/// Begins the name of a table of samples, and of its partitions and indexes.
pub const SAMPLES: &str =
    "(sample_(runs|baseline)|(relation|statement|server|size|tenant)_samples|statement_texts|index_use)";

pub fn sample(turn: &Turn) -> Result<Outcome, Error> {
    let installed = turn.installed;
    let covers_from = begin(installed, "relations", turn.now, longest_gap())?;
    let text = format!(
        "{}
         INSERT INTO {} (sampled_at, blocks_hit, blocks_read, scans, rows_read, rows_fetched, rows_inserted, rows_updated,
                         rows_hot_updated, rows_deleted, relation_oid, is_index, relation, root, table_name)
         SELECT $2, d.delta[1], d.delta[2], d.delta[3], d.delta[4], d.delta[5], d.delta[6], d.delta[7], d.delta[8], d.delta[9],
                d.relation_oid, d.is_index, format('%I.%I', n.nspname, c.relname), format('%I.%I', rn.nspname, r.relname),
                format('%I.%I', tn.nspname, t.relname)
         FROM changed d
              JOIN pg_class c ON c.oid = d.relation_oid JOIN pg_namespace n ON n.oid = c.relnamespace
              CROSS JOIN LATERAL (SELECT CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::oid END) AS p (root)
              JOIN pg_class r ON r.oid = coalesce(p.root, c.oid) JOIN pg_namespace rn ON rn.oid = r.relnamespace
              LEFT JOIN pg_index x ON x.indexrelid = r.oid
              JOIN pg_class t ON t.oid = coalesce(x.indrelid, r.oid) JOIN pg_namespace tn ON tn.oid = t.relnamespace
         WHERE $3 AND 0 <> ANY (d.delta)",
        changes(installed, NOW),
        installed.qualified(Table::RelationSamples)
    );
    let arguments = vec![
        argument("relations".to_owned()),
        time(turn.now),
        argument(covers_from.is_some()),
        argument(installed.schema.clone()),
        argument(SAMPLES.to_owned()),
    ];
    let samples = write(&text, arguments, |_| Ok(handover::processed()))?;
    Ok(Outcome::sampled(covers_from, samples))
}
