//! How often pages were found in shared_buffers, in a window.

use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{not_watched, readable, window};
use crate::installed::{Installed, Table};
use crate::pg::answer::Answer;
use crate::pg::identity;
use crate::sql::{argument, each};

#[pg_extern]
fn cache_hit_rows(within: Option<Interval>, mut answer: Answer) -> Result<(), ErrorReport> {
    let installed = Installed::require()?;
    let within = window(within)?;
    let tables = [
        Table::SampleRuns,
        Table::RelationSamples,
        Table::ServerSamples,
        Table::SizeSamples,
    ];
    Ok(identity::as_owner(|| {
        if readable(&installed, &tables)?.is_some() {
            return Ok(());
        }
        let [runs, relations, server, sizes] = tables.map(|table| installed.qualified(table));
        // Every table that is there has a row; without a sample in the window nothing is known of any.
        let ours = not_watched("relation");
        let text = format!(
            "WITH covered AS (
                 SELECT source, max(sampled_at) AS sampled_at,
                        sum(extract(epoch FROM sampled_at - covers_from))::double precision AS seconds
                 FROM {runs} WHERE source IN ('relations', 'server') AND covers_from IS NOT NULL
                   AND sampled_at > statement_timestamp() - $1 GROUP BY source),
             used AS (
                 SELECT root, is_index, sum(blocks_hit)::bigint AS hit, sum(blocks_read)::bigint AS read
                 FROM {relations} WHERE sampled_at > statement_timestamp() - $1 GROUP BY 1, 2),
             known AS (
                 SELECT relation FROM {sizes} WHERE sampled_at = (SELECT max(sampled_at) FROM {sizes}) AND NOT ({ours})),
             found AS (
                 SELECT 'database'::text AS scope, current_database()::text AS name, 'server' AS source,
                        (SELECT sum(blocks_hit)::bigint FROM {server} WHERE sampled_at > statement_timestamp() - $1) AS hit,
                        (SELECT sum(blocks_read)::bigint FROM {server} WHERE sampled_at > statement_timestamp() - $1) AS read
                 UNION ALL
                 SELECT 'table', coalesce(u.root, k.relation), 'relations', coalesce(u.hit, 0), coalesce(u.read, 0)
                 FROM known k FULL JOIN (SELECT * FROM used WHERE NOT is_index) u ON u.root = k.relation
                 UNION ALL
                 SELECT 'index', root, 'relations', hit, read FROM used WHERE is_index)
             SELECT f.scope, f.name, CASE WHEN c.seconds IS NOT NULL THEN f.hit END, CASE WHEN c.seconds IS NOT NULL THEN f.read END,
                    CASE WHEN c.seconds IS NOT NULL THEN f.hit::double precision / nullif(f.hit + f.read, 0) END,
                    c.seconds, c.sampled_at
             FROM found f LEFT JOIN covered c ON c.source = f.source"
        );
        each(
            &text,
            vec![argument(within), argument(installed.quoted_schema())],
            |row| {
                answer.add(row);
                Ok(true)
            },
        )
    })?)
}
