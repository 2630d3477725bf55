//! Classes of reads: how old the data may be for each. Some are built in; rows of `read_classes` override and add.

use pgrx::datum::Interval;

use super::ring::Time;
use crate::error::Error;
use crate::installed::{Installed, Readable, Table};
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

/// How old the data may be for reads of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// Microseconds; 0: only the primary may answer.
    Known(Time),
    NoSuchClass,
    /// Somebody keeps read_classes locked, where another budget may be.
    Locked,
}

pub fn allowance(installed: &Installed, class: &str) -> Result<Allowance, Error> {
    match installed.readable(Table::ReadClasses)? {
        Readable::Locked => return Ok(Allowance::Locked),
        Readable::Missing => {}
        Readable::Yes => {
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
                return Ok(Allowance::Known(
                    Time::try_from(configured.as_micros()).unwrap_or(0),
                ));
            }
        }
    }
    Ok(built_in(class).map_or(Allowance::NoSuchClass, Allowance::Known))
}
