//! Classes of reads: how old the data may be for each. Some are built in; rows of `read_classes` override and add.

use pgrx::datum::Interval;

use super::ring::Time;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::sql::{argument, read, value};

/// In code and not in the table, so that they are there before anybody writes a row and a dump does not bring them again.
fn built_in(class: &str) -> Option<Time> {
    match class {
        "strong" => Some(0),
        "eventual" => Some(3_000_000),
        "analytics" => Some(300_000_000),
        _ => None,
    }
}

/// Microseconds that the data may be old; 0: only the primary may answer. None: there is no such class.
pub fn allowance(installed: &Installed, class: &str) -> Result<Option<Time>, Error> {
    if installed.table_oid(Table::ReadClasses)?.is_some() {
        let configured: Option<Interval> = read(
            &format!(
                "SELECT max_lag FROM {} WHERE class = $1",
                installed.qualified(Table::ReadClasses)
            ),
            vec![argument(class.to_owned())],
            value,
        )?;
        if let Some(configured) = configured {
            // Negative ones are refused by the table; whatever else comes fails closed.
            return Ok(Some(Time::try_from(configured.as_micros()).unwrap_or(0)));
        }
    }
    Ok(built_in(class))
}
