//! What waits in a staging table, without reading more of it than a few megabytes.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::sql::{argument, look, read, value};

/// Up to this many pages rows are counted, all of them.
const COUNTED_PAGES: i64 = 1024;

/// Beyond, about this many pages stand for all.
const SAMPLED_PAGES: i64 = 400;

#[derive(Debug, Clone)]
pub struct Backlog {
    /// Rows that are there for somebody who looks: those that a flush is moving just now as well.
    pub rows: i64,
    pub estimated: bool,
    /// Of these rows, an estimate.
    pub row_bytes: i64,
    pub oldest_at: Option<TimestampWithTimeZone>,
}

/// The size of the file that holds its rows, in pages; one call to the operating system.
pub fn pages(relation: pg_sys::Oid) -> Result<i64, Error> {
    let found: Option<i64> = read(
        "SELECT pg_relation_size($1) / current_setting('block_size')::bigint",
        vec![argument(relation)],
        value,
    )?;
    Ok(found.unwrap_or(0))
}

pub fn measure(installed: &Installed, door: Table) -> Result<Backlog, Error> {
    let pages = pages(installed.require_table(door)?)?;
    let estimated = pages > COUNTED_PAGES;
    let share = if estimated {
        SAMPLED_PAGES as f64 / pages as f64
    } else {
        1.0
    };
    // Always the same pages, so that a backlog that nothing happens to is not another one each second.
    let sample = if estimated {
        format!("TABLESAMPLE SYSTEM ({}) REPEATABLE (1)", share * 100.0)
    } else {
        String::new()
    };
    // A tuple with its header, its line pointer and seven values of fixed width takes 68 bytes.
    let text = format!(
        "SELECT count(*), min(ingested_at), sum(68 + coalesce(pg_column_size(value_text), 0))::bigint FROM {} {sample}",
        installed.qualified(door)
    );
    look(&text, |rows| {
        let row = rows.first();
        let all = |counted: Option<i64>| (counted.unwrap_or(0) as f64 / share).round() as i64;
        Ok(Backlog {
            rows: all(row.get::<i64>(1)?),
            estimated,
            row_bytes: all(row.get::<i64>(3)?),
            oldest_at: row.get::<TimestampWithTimeZone>(2)?,
        })
    })
}
