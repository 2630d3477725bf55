//! The partitions of facts in a few numbers, for exporters: from what `partition_state` knows, which costs a tenth of a look at
//! each of them.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::Error;
use crate::installed::{Installed, Readable, Table};
use crate::pg::identity;
use crate::sql::{argument, read};

type Totals = (
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<TimestampWithTimeZone>,
);

/// All NULL where nothing is known: the table is of a later version, or somebody has locked it.
#[allow(clippy::type_complexity)]
#[pg_extern]
fn partition_totals() -> Result<
    TableIterator<
        'static,
        (
            name!(open, Option<i64>),
            name!(sealing, Option<i64>),
            name!(sealed, Option<i64>),
            name!(reopened, Option<i64>),
            name!(detach_pending, Option<i64>),
            name!(detached, Option<i64>),
            name!(failing, Option<i64>),
            name!(gaps, Option<i64>),
            name!(covered_until, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let installed = Installed::require()?;
    let row = identity::as_owner(|| totals(&installed))?;
    Ok(TableIterator::once(row))
}

fn totals(installed: &Installed) -> Result<Totals, Error> {
    let facts = installed.table_oid(Table::Facts)?;
    let (Some(facts), Readable::Yes) = (facts, installed.readable(Table::PartitionState)?) else {
        return Ok(Totals::default());
    };
    let text = format!(
        "WITH known AS (
             SELECT starts_at, ends_at, seal, left_at, tries,
                    CASE WHEN left_at IS NULL THEN lead(starts_at) OVER (PARTITION BY left_at IS NULL ORDER BY starts_at) END AS next
             FROM {})
         SELECT count(*) FILTER (WHERE left_at IS NULL AND seal = 'open'),
                count(*) FILTER (WHERE left_at IS NULL AND seal = 'sealing'),
                count(*) FILTER (WHERE left_at IS NULL AND seal = 'sealed'),
                count(*) FILTER (WHERE left_at IS NULL AND seal = 'reopened'),
                (SELECT count(*) FROM pg_inherits WHERE inhparent = $1 AND inhdetachpending),
                count(*) FILTER (WHERE left_at IS NOT NULL),
                count(*) FILTER (WHERE tries > 0),
                count(*) FILTER (WHERE next > ends_at),
                -- The end of the first stretch without a gap that ends after now, if it began before.
                CASE WHEN bool_or(left_at IS NULL AND starts_at <= now() AND ends_at > now())
                    THEN min(ends_at) FILTER (WHERE left_at IS NULL AND ends_at > now() AND (next IS NULL OR next > ends_at)) END
         FROM known",
        installed.qualified(Table::PartitionState)
    );
    read(&text, vec![argument(facts)], |rows| {
        let row = rows.first();
        Ok((
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
            row.get(5)?,
            row.get(6)?,
            row.get(7)?,
            row.get(8)?,
            row.get(9)?,
        ))
    })
}
