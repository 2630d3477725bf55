//! What was done with each table in a window, and how large it is.

use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{not_watched, readable, window};
use crate::installed::{Installed, Table};
use crate::pg::answer::Answer;
use crate::pg::identity;
use crate::sql::{argument, each};

#[pg_extern]
fn table_usage_rows(within: Option<Interval>, mut answer: Answer) -> Result<(), ErrorReport> {
    let installed = Installed::require()?;
    let within = window(within)?;
    let tables = [Table::SampleRuns, Table::RelationSamples, Table::SizeSamples];
    Ok(identity::as_owner(|| {
        if readable(&installed, &tables)?.is_some() {
            return Ok(());
        }
        let [runs, relations, sizes] = tables.map(|table| installed.qualified(table));
        let ours = not_watched("s.relation");
        let text = format!(
            "WITH covered AS (
                 SELECT max(sampled_at) AS sampled_at, sum(extract(epoch FROM sampled_at - covers_from))::double precision AS seconds
                 FROM {runs} WHERE source = 'relations' AND covers_from IS NOT NULL AND sampled_at > statement_timestamp() - $1),
             used AS (
                 SELECT table_name, sum(scans) FILTER (WHERE NOT is_index)::bigint AS seq_scans,
                        sum(rows_read) FILTER (WHERE NOT is_index)::bigint AS seq_rows,
                        sum(scans) FILTER (WHERE is_index)::bigint AS index_scans,
                        sum(rows_fetched) FILTER (WHERE is_index)::bigint AS index_rows,
                        sum(rows_inserted)::bigint AS inserted, sum(rows_updated)::bigint AS updated,
                        sum(rows_hot_updated)::bigint AS hot, sum(rows_deleted)::bigint AS deleted
                 FROM {relations} WHERE sampled_at > statement_timestamp() - $1 GROUP BY table_name),
             sized AS (SELECT * FROM {sizes} WHERE sampled_at = (SELECT max(sampled_at) FROM {sizes})),
             earlier AS (
                 SELECT relation, bytes + index_bytes AS bytes FROM {sizes}
                 WHERE sampled_at = (SELECT max(sampled_at) FROM {sizes} WHERE sampled_at <= statement_timestamp() - interval '1 day'))
             SELECT coalesce(u.table_name, s.relation), s.bytes, s.index_bytes, s.rows_estimate, s.partitions,
                    s.bytes + s.index_bytes - e.bytes, f.seq_scans, f.seq_rows, f.index_scans, f.index_rows, f.inserted, f.updated,
                    f.hot, f.deleted, f.hot::double precision / nullif(f.updated, 0), c.seconds, c.sampled_at, s.sampled_at
             FROM sized s FULL JOIN used u ON u.table_name = s.relation CROSS JOIN covered c
                  LEFT JOIN earlier e ON e.relation = s.relation
                  LEFT JOIN LATERAL (
                      SELECT coalesce(u.seq_scans, 0) AS seq_scans, coalesce(u.seq_rows, 0) AS seq_rows,
                             coalesce(u.index_scans, 0) AS index_scans, coalesce(u.index_rows, 0) AS index_rows,
                             coalesce(u.inserted, 0) AS inserted, coalesce(u.updated, 0) AS updated, coalesce(u.hot, 0) AS hot,
                             coalesce(u.deleted, 0) AS deleted) AS f ON c.seconds IS NOT NULL AND (s.relation IS NULL OR NOT ({ours}))"
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
