//! One flush: from each staging table, rows that belong into facts go there, rows that can never be stored go to rejected, and
//! rows that have no partition yet get one, or wait. All in the caller's transaction, so that a row is moved exactly once
//! or not at all. No watermark: what is taken is what is visible, whoever committed it when.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

use crate::error::Error;
use crate::guc;
use crate::installed::{DOORS, Installed, Table};
use crate::partition::bounds::Micros;
use crate::partition::create::{Parent, coverage, ensure_ahead, ensure_at};
use crate::pg::partitions::EPOCH_2000;
use crate::pg::{settings, xact};
use crate::sql::{Argument, argument, read, write};

/// Partitions that one flush makes for rows that have none; further ones wait for the next.
const PARTITIONS_PER_FLUSH: i64 = 100;

#[derive(Debug, Default, Clone)]
pub struct Flushed {
    pub stored: i64,
    pub rejected: i64,
    pub waiting: i64,
    pub waiting_reason: Option<String>,
    pub partitions_created: usize,
}

impl Flushed {
    /// Rows that left staging.
    pub fn taken(&self) -> i64 {
        self.stored + self.rejected
    }

    /// Counts add up; what waits is what waited last.
    pub fn add(&mut self, later: Flushed) {
        self.stored += later.stored;
        self.rejected += later.rejected;
        self.partitions_created += later.partitions_created;
        self.waiting = later.waiting;
        self.waiting_reason = later.waiting_reason;
    }
}

/// Takes at most `max_rows` rows out of staging.
pub fn flush(installed: &Installed, max_rows: i64) -> Result<Flushed, Error> {
    let mut total = Flushed::default();
    for door in DOORS {
        let left = max_rows - total.taken();
        if left <= 0 || is_empty(installed, door)? {
            continue;
        }
        let waiting_before = total.waiting;
        let mut flushed = flush_door(installed, door, left)?;
        flushed.waiting += waiting_before;
        flushed.waiting_reason = flushed.waiting_reason.or(total.waiting_reason.take());
        total.add(flushed);
    }
    Ok(total)
}

/// The cheap answer that an idle flusher needs: reads, takes no transaction id, writes nothing.
pub fn is_empty(installed: &Installed, door: Table) -> Result<bool, Error> {
    let text = format!("SELECT EXISTS (SELECT FROM {})", installed.qualified(door));
    let found: Option<bool> = read(&text, vec![], crate::sql::value)?;
    Ok(found != Some(true))
}

fn flush_door(installed: &Installed, door: Table, max_rows: i64) -> Result<Flushed, Error> {
    let facts = installed.require_table(Table::Facts)?;
    ensure_ahead(installed, Parent::Rejected)?;
    if door == Table::Ingest {
        // The rows go for good from a table that a crash empties; their facts must not be lost in the same crash.
        settings::commit_to_local_disk();
    }
    let mut flushed = move_rows(installed, door, facts, max_rows)?;

    let uncovered = rows_without_partition(installed, door, facts)?;
    if uncovered.rows == 0 {
        return Ok(flushed);
    }
    match xact::subtransaction(|| ensure_at(installed, Parent::Facts, &uncovered.times)) {
        Ok(created) => {
            flushed.partitions_created = created;
            let left = max_rows - flushed.taken();
            if left > 0 {
                flushed.add(Flushed {
                    partitions_created: 0,
                    ..move_rows(installed, door, facts, left)?
                });
            }
            flushed.waiting = rows_without_partition(installed, door, facts)?.rows;
        }
        Err(failure) => {
            flushed.waiting = uncovered.rows;
            flushed.waiting_reason = Some(format!(
                "no partition could be made: {} ({})",
                failure.message, failure.sqlstate
            ));
        }
    }
    Ok(flushed)
}

/// What the statements below know about times: the bounds that partitions cover, and the window that is accepted.
const TIMES: &str = "times AS (
    SELECT coalesce((SELECT range_agg(tstzrange(b.start, b.stop))
                     FROM unnest($1, $2) AS b (start, stop)), '{}'::tstzmultirange) AS covered,
           tstzrange(clock_timestamp() - make_interval(secs => $3),
                                clock_timestamp() + make_interval(secs => $4)) AS accepted)";

fn time_arguments(facts: pg_sys::Oid) -> Result<Vec<Argument>, Error> {
    let (starts, ends) = coverage(facts)?;
    Ok(vec![
        argument(starts),
        argument(ends),
        argument(guc::accept_past_seconds() as f64),
        argument(guc::accept_future_seconds() as f64),
    ])
}

fn move_rows(
    installed: &Installed,
    door: Table,
    facts: pg_sys::Oid,
    max_rows: i64,
) -> Result<Flushed, Error> {
    let mut arguments = time_arguments(facts)?;
    arguments.push(argument(max_rows));
    arguments.push(argument(door == Table::IngestDurable));
    write(&move_statement(installed, door), arguments, |rows| {
        let (stored, rejected) = rows.first().get_two::<i64, i64>()?;
        Ok(Flushed {
            stored: stored.unwrap_or(0),
            rejected: rejected.unwrap_or(0),
            ..Flushed::default()
        })
    })
}

/// Claims by row lock and skips what others hold: several flushers share the work, and none waits for another.
fn move_statement(installed: &Installed, door: Table) -> String {
    let staging = installed.qualified(door);
    let attributes = installed.qualified(Table::Attributes);
    let facts = installed.qualified(Table::Facts);
    let rejected = installed.qualified(Table::Rejected);
    format!(
        "WITH {TIMES},
         claimed AS (
             DELETE FROM {staging} WHERE ctid = ANY (ARRAY(
                 SELECT s.ctid FROM {staging} AS s, times AS t
                 WHERE s.ingested_at IS NULL
                    OR s.ingested_at <@ t.covered
                    OR NOT s.ingested_at <@ t.accepted
                 LIMIT $5 FOR UPDATE OF s SKIP LOCKED))
             RETURNING tenant_id, entity_id, ingested_at, observed_at, value_num, value_int, attribute_id, value_text),
         judged AS MATERIALIZED (
             SELECT c.*, CASE
                 WHEN c.tenant_id IS NULL THEN '23502:tenant_id is missing'
                 WHEN c.entity_id IS NULL THEN '23502:entity_id is missing'
                 WHEN c.attribute_id IS NULL THEN '23502:attribute_id is missing'
                 WHEN c.ingested_at IS NULL THEN '23502:ingested_at is missing'
                 WHEN c.tenant_id < 1 THEN '22003:tenant_id is below 1'
                 WHEN NOT c.ingested_at <@ t.accepted THEN '22008:ingested_at is outside the accepted window'
                 WHEN NOT isfinite(c.observed_at) THEN '22008:observed_at is infinite'
                 WHEN num_nonnulls(c.value_num, c.value_int, c.value_text) = 0 THEN '22023:no value is set'
                 WHEN num_nonnulls(c.value_num, c.value_int, c.value_text) > 1
                     THEN '22023:more than one value is set'
                 WHEN a.value_type IS NULL THEN '42704:attribute is not registered for the tenant'
                 WHEN a.value_type = 'number' AND c.value_num IS NULL THEN '42804:attribute is a number, value is not'
                 WHEN a.value_type IN ('integer', 'boolean', 'timestamp') AND c.value_int IS NULL
                     THEN '42804:attribute is ' || a.value_type || ', value is not in value_int'
                 WHEN a.value_type IN ('text', 'json') AND c.value_text IS NULL
                     THEN '42804:attribute is ' || a.value_type || ', value is not in value_text'
                 WHEN a.value_type = 'boolean' AND c.value_int NOT IN (0, 1) THEN '22003:boolean is neither 0 nor 1'
             END AS fault
             FROM claimed AS c
                 CROSS JOIN times AS t
                 LEFT JOIN {attributes} AS a
                     ON a.attribute_id = c.attribute_id AND a.tenant_id IN (0, c.tenant_id)),
         stored AS (
             INSERT INTO {facts} (tenant_id, entity_id, ingested_at, observed_at,
                                  value_num, value_int, attribute_id, value_text)
             SELECT tenant_id, entity_id, ingested_at, observed_at, value_num, value_int, attribute_id, value_text
             FROM judged WHERE fault IS NULL
             RETURNING 1),
         refused AS (
             INSERT INTO {rejected} (tenant_id, entity_id, ingested_at, observed_at,
                                     value_num, value_int, attribute_id, value_text, durable, sqlstate, reason)
             SELECT tenant_id, entity_id, ingested_at, observed_at, value_num, value_int, attribute_id, value_text,
                    $6, split_part(fault, ':', 1), substr(fault, 7)
             FROM judged WHERE fault IS NOT NULL
             RETURNING 1)
         SELECT (SELECT count(*) FROM stored), (SELECT count(*) FROM refused)"
    )
}

struct Uncovered {
    rows: i64,
    /// One time for each hour that has such rows: whatever the step, they name every partition that is missing.
    times: Vec<Micros>,
}

/// Rows inside the accepted window for which there is no partition.
fn rows_without_partition(
    installed: &Installed,
    door: Table,
    facts: pg_sys::Oid,
) -> Result<Uncovered, Error> {
    let mut arguments = time_arguments(facts)?;
    arguments.push(argument(PARTITIONS_PER_FLUSH));
    let text = format!(
        "WITH {TIMES},
         uncovered AS (
             SELECT min(s.ingested_at) AS at, count(*) AS rows
             FROM {} AS s, times AS t
             WHERE s.ingested_at <@ t.accepted AND NOT s.ingested_at <@ t.covered
             GROUP BY date_bin('1 hour', s.ingested_at, '2000-01-01 00:00:00+00'))
         SELECT coalesce(sum(rows), 0)::bigint, ARRAY(SELECT at FROM uncovered ORDER BY at LIMIT $5)
         FROM uncovered",
        installed.qualified(door)
    );
    read(&text, arguments, |rows| {
        let (count, times) = rows.first().get_two::<i64, Vec<TimestampWithTimeZone>>()?;
        let since_1970 = |time: TimestampWithTimeZone| pg_sys::TimestampTz::from(time) + EPOCH_2000;
        Ok(Uncovered {
            rows: count.unwrap_or(0),
            times: times.unwrap_or_default().into_iter().map(since_1970).collect(),
        })
    })
}
