//! Since when each index has been watched, and for how long without a scan. That an index is not used is in no sample, so it is
//! written down here: only time that was watched counts. Definitions are compared as the catalogs have them: to make text of one, the
//! server would lock its table.

use super::baseline::begin;
use super::turn::{Outcome, Turn};
use crate::error::Error;
use crate::installed::Table;
use crate::pg::handover;
use crate::sql::{argument, time, write};

/// Beyond it the samples in between are not added up; days without a keeper were not watched anyway.
const LONGEST: i64 = 86_400_000_000;

pub fn sample(turn: &Turn) -> Result<Outcome, Error> {
    let installed = turn.installed;
    let since = begin(installed, "indexes", turn.now, LONGEST)?;
    let text = format!(
        "WITH watched AS (
             SELECT coalesce(sum(extract(epoch FROM sampled_at - covers_from)), 0)::double precision AS seconds
             FROM {runs} WHERE source = 'relations' AND covers_from IS NOT NULL AND sampled_at > $2 AND sampled_at <= $1),
         used AS (
             SELECT root, sum(scans)::bigint AS scans, max(sampled_at) AS at FROM {samples}
             WHERE is_index AND scans > 0 AND sampled_at > $2 AND sampled_at <= $1 GROUP BY root),
         there AS (
             SELECT format('%I.%I', n.nspname, c.relname) AS name,
                    concat_ws(' ', x.indrelid::regclass, c.relam, x.indnkeyatts, x.indkey, x.indclass, x.indcollation, x.indoption,
                              regexp_replace(concat_ws(' ', x.indexprs, x.indpred), ':location -?[0-9]+', '', 'g')) AS definition
             FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('i', 'I') AND NOT c.relispartition AND c.relpersistence <> 't'
               AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_(catalog|toast|temp_)'),
         gone AS (
             DELETE FROM {uses} u WHERE NOT EXISTS (SELECT FROM there t WHERE t.name = u.index_name))
         INSERT INTO {uses} AS u (index_name, definition, first_seen_at, scans, idle_seconds)
         SELECT t.name, t.definition, $1, 0, 0 FROM there t
         ON CONFLICT (index_name) DO UPDATE SET
             definition = excluded.definition,
             first_seen_at = CASE WHEN u.definition = excluded.definition THEN u.first_seen_at ELSE excluded.first_seen_at END,
             last_scan_at = CASE WHEN u.definition = excluded.definition
                                 THEN coalesce((SELECT at FROM used WHERE root = u.index_name), u.last_scan_at) END,
             scans = CASE WHEN u.definition = excluded.definition
                          THEN u.scans + coalesce((SELECT scans FROM used WHERE root = u.index_name), 0) ELSE 0 END,
             idle_seconds = CASE WHEN u.definition = excluded.definition
                                      AND NOT EXISTS (SELECT FROM used WHERE root = u.index_name)
                                 THEN u.idle_seconds + (SELECT seconds FROM watched) ELSE 0 END",
        runs = installed.qualified(Table::SampleRuns),
        samples = installed.qualified(Table::RelationSamples),
        uses = installed.qualified(Table::IndexUse),
    );
    let samples = write(&text, vec![time(turn.now), argument(since)], |_| {
        Ok(handover::processed())
    })?;
    Ok(Outcome::sampled(since, samples))
}
