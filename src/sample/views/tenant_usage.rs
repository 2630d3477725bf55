//! The readings of each tenant, by the last look at each partition.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::readable;
use crate::installed::{Installed, Table};
use crate::pg::answer::Answer;
use crate::pg::identity;
use crate::sql::each;

#[pg_extern]
fn tenant_usage_rows(mut answer: Answer) -> Result<(), ErrorReport> {
    let installed = Installed::require()?;
    Ok(identity::as_owner(|| {
        if readable(&installed, &[Table::TenantSamples])?.is_some() {
            return Ok(());
        }
        let samples = installed.qualified(Table::TenantSamples);
        // A day ago there may have been partitions that are gone by now, and not those of today.
        let text = format!(
            "WITH latest AS (SELECT relation_oid, max(sampled_at) AS sampled_at FROM {samples} GROUP BY 1),
             earlier AS (
                 SELECT relation_oid, max(sampled_at) AS sampled_at FROM {samples}
                 WHERE sampled_at <= statement_timestamp() - interval '1 day' GROUP BY 1),
             now AS (
                 SELECT s.place, s.tenant_id, sum(s.rows_estimate)::bigint AS rows, sum(s.bytes_estimate)::bigint AS bytes,
                        min(s.sampled_at) AS sampled_at
                 FROM {samples} s JOIN latest l USING (relation_oid, sampled_at) JOIN pg_class c ON c.oid = s.relation_oid
                 WHERE s.rows_estimate > 0 GROUP BY 1, 2),
             before AS (
                 SELECT s.place, s.tenant_id, sum(s.rows_estimate)::bigint AS rows
                 FROM {samples} s JOIN earlier e USING (relation_oid, sampled_at) GROUP BY 1, 2)
             SELECT coalesce(n.place, b.place), coalesce(n.tenant_id, b.tenant_id), coalesce(n.rows, 0), coalesce(n.bytes, 0),
                    n.rows::double precision / nullif(sum(n.rows) OVER (PARTITION BY coalesce(n.place, b.place)), 0)::double precision,
                    CASE WHEN EXISTS (SELECT FROM earlier) THEN coalesce(b.rows, 0) END, n.sampled_at
             FROM now n FULL JOIN before b ON b.place = n.place AND coalesce(b.tenant_id, -1) = coalesce(n.tenant_id, -1)
             WHERE coalesce(n.rows, b.rows) > 0"
        );
        each(&text, vec![], |row| {
            answer.add(row);
            Ok(true)
        })
    })?)
}
