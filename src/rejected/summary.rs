//! An overview of rejected readings that costs little, however many there are.

use pgrx::datum::{Date, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::partition::parts::parts;
use crate::pg::identity;
use crate::sql::{argument, read};

/// Bytes that are read at most: a tenth of a second's worth of memory. Beyond that a sample of the pages stands for all.
const READ: i64 = 64 << 20;

type Time = TimestampWithTimeZone;

struct Line {
    day: Option<Date>,
    tenant_id: Option<i64>,
    attribute_id: Option<i32>,
    sqlstate: Option<String>,
    reason: Option<String>,
    rows: Option<i64>,
    bytes: Option<i64>,
    first: Option<Time>,
    last: Option<Time>,
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn rejected_summary_rows() -> Result<
    TableIterator<
        'static,
        (
            name!(day, Option<Date>),
            name!(tenant_id, Option<i64>),
            name!(attribute_id, Option<i32>),
            name!(sqlstate, Option<String>),
            name!(reason, Option<String>),
            name!(rows, Option<i64>),
            name!(bytes, Option<i64>),
            name!(first_at, Option<Time>),
            name!(last_at, Option<Time>),
            name!(is_estimate, bool),
        ),
    >,
    ErrorReport,
> {
    let (lines, is_estimate) = identity::as_owner(summary)?;
    Ok(TableIterator::new(lines.into_iter().map(move |line| {
        (
            line.day,
            line.tenant_id,
            line.attribute_id,
            line.sqlstate,
            line.reason,
            line.rows,
            line.bytes,
            line.first,
            line.last,
            is_estimate,
        )
    })))
}

fn summary() -> Result<(Vec<Line>, bool), Error> {
    let installed = Installed::require()?;
    let bytes: i64 = parts(&installed, Table::Rejected)?
        .iter()
        .map(|part| part.bytes)
        .sum();
    let share = if bytes > READ {
        READ as f64 / bytes as f64
    } else {
        1.0
    };
    // Each row has its header and the pointer to it besides what its columns take.
    let text = format!(
        "SELECT (rejected_at AT TIME ZONE 'UTC')::date, tenant_id, attribute_id, sqlstate, reason,
                round(count(*) / $1)::bigint, round(sum(pg_column_size(r.*) + 4) / $1)::bigint,
                min(rejected_at), max(rejected_at)
         FROM {} AS r TABLESAMPLE SYSTEM ($1 * 100)
         GROUP BY 1, 2, 3, 4, 5",
        installed.qualified(Table::Rejected)
    );
    let lines = lines(&text, share)?;
    Ok((lines, share < 1.0))
}

fn lines(text: &str, share: f64) -> Result<Vec<Line>, Error> {
    read(text, vec![argument(share)], |rows| {
        let mut lines = Vec::with_capacity(rows.len());
        for row in rows {
            lines.push(Line {
                day: row.get(1)?,
                tenant_id: row.get(2)?,
                attribute_id: row.get(3)?,
                sqlstate: row.get(4)?,
                reason: row.get(5)?,
                rows: row.get(6)?,
                bytes: row.get(7)?,
                first: row.get(8)?,
                last: row.get(9)?,
            });
        }
        Ok(lines)
    })
}
