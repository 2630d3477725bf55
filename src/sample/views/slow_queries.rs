//! What statements did in a window, and why that is not known where it is not.

use pgrx::datum::Interval;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::{readable, window};
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::answer::Answer;
use crate::pg::identity;
use crate::sql::{argument, each};

#[pg_extern]
fn slow_queries_rows(within: Option<Interval>, mut answer: Answer) -> Result<(), ErrorReport> {
    let installed = Installed::require()?;
    let within = window(within)?;
    let reads_texts = identity::may_act_as(pg_sys::Oid::from(pg_sys::ROLE_PG_READ_ALL_STATS));
    Ok(identity::as_owner(|| {
        rows(&installed, within, reads_texts, &mut answer)
    })?)
}

fn rows(
    installed: &Installed,
    within: Interval,
    reads_texts: bool,
    answer: &mut Answer,
) -> Result<(), Error> {
    let tables = [Table::SampleRuns, Table::StatementSamples, Table::StatementTexts];
    if let Some(reason) = readable(installed, &tables)? {
        return each(
            &format!("{NOTHING} $1::text, NULL::text, NULL::double precision, NULL::timestamptz"),
            vec![argument(reason)],
            |row| {
                answer.add(row);
                Ok(true)
            },
        );
    }
    let [runs, samples, texts] = tables.map(|table| installed.qualified(table));
    let text = format!(
        "WITH covered AS (
             SELECT max(sampled_at) AS sampled_at, sum(extract(epoch FROM sampled_at - covers_from))::double precision AS seconds,
                    sum(evictions) AS evictions
             FROM {runs} WHERE source = 'statements' AND covers_from IS NOT NULL AND sampled_at > statement_timestamp() - $1),
         latest AS (SELECT state, message, sampled_at FROM {runs} WHERE source = 'statements' ORDER BY sampled_at DESC LIMIT 1),
         sums AS (
             SELECT queryid, user_oid, toplevel, sum(calls)::bigint AS calls, sum(exec_ms) AS exec_ms, sum(exec_ms_squared) AS squared,
                    sum(plan_ms) AS plan_ms, sum(rows)::bigint AS rows, sum(blocks_hit)::bigint AS hit, sum(blocks_read)::bigint AS read,
                    sum(temp_bytes)::bigint AS temp_bytes, sum(wal_bytes)::bigint AS wal_bytes
             FROM {samples} WHERE sampled_at > statement_timestamp() - $1 GROUP BY 1, 2, 3),
         found AS (
             SELECT s.queryid, coalesce(r.rolname::text, s.user_oid::text) AS user_name, s.toplevel, s.calls, s.exec_ms,
                    s.exec_ms / s.calls AS mean_ms,
                    CASE WHEN s.calls > 1 THEN sqrt(greatest(0, s.squared / s.calls - (s.exec_ms / s.calls) ^ 2)) END AS stddev_ms,
                    s.exec_ms / nullif(sum(s.exec_ms) OVER (), 0) AS share, s.plan_ms, s.rows::double precision / s.calls AS rows_per_call,
                    (s.hit + s.read)::double precision / s.calls AS blocks_per_call, s.hit::double precision / nullif(s.hit + s.read, 0) AS hit_ratio,
                    s.temp_bytes, s.wal_bytes,
                    CASE WHEN s.queryid IS NULL THEN '(all others)'::text WHEN $2 THEN t.query END AS query,
                    'sampled'::text AS state, NULL::text AS hint, c.seconds, c.sampled_at
             FROM sums s CROSS JOIN covered c LEFT JOIN pg_roles r ON r.oid = s.user_oid LEFT JOIN {texts} t ON t.queryid = s.queryid
             WHERE s.calls > 0)
         SELECT * FROM found
         UNION ALL
         {NOTHING} coalesce(l.state, 'no samples'),
                CASE WHEN l.state IS NULL THEN 'nothing was sampled: preload pg_telemetry, or call take_samples() each minute'
                     WHEN l.state = 'sampled' THEN 'no statement was finished in this window, or nobody took samples in it: see worker_status'
                     WHEN l.state = 'began' THEN 'counting has just begun: the next sample has the first figures'
                     ELSE l.message END, c.seconds, coalesce(c.sampled_at, l.sampled_at)
         FROM covered c LEFT JOIN latest l ON true
         WHERE NOT EXISTS (SELECT FROM found) OR l.state NOT IN ('sampled', 'began')
         UNION ALL
         {NOTHING} 'evicted',
                format('pg_stat_statements made room for others %s times: what the evicted ones did since the look before is missing here, and '
                       'those that came back show too little. Raise pg_stat_statements.max%s, which needs a restart',
                       c.evictions, ' from ' || current_setting('pg_stat_statements.max', true)), c.seconds, c.sampled_at
         FROM covered c WHERE c.evictions > 0
         ORDER BY 5 DESC NULLS FIRST"
    );
    each(&text, vec![argument(within), argument(reads_texts)], |row| {
        answer.add(row);
        Ok(true)
    })
}

/// A row that says why there is none, up to its state.
const NOTHING: &str = "SELECT NULL::bigint, NULL::text, NULL::boolean, NULL::bigint, NULL::double precision, NULL::double precision,
    NULL::double precision, NULL::double precision, NULL::double precision, NULL::double precision, NULL::double precision,
    NULL::double precision, NULL::bigint, NULL::bigint, NULL::text,";
