//! Arguments of SQL functions that more than one of them takes.

use std::time::Duration;

use pgrx::datum::Interval;

use crate::error::Error;

/// How long to wait for something.
pub fn timeout(given: Option<Interval>) -> Result<Duration, Error> {
    let timeout = given.ok_or(Error::NullArgument { argument: "timeout" })?;
    u64::try_from(timeout.as_micros())
        .map(Duration::from_micros)
        .map_err(|_| Error::InvalidText {
            argument: "timeout",
            fault: "it is negative".to_owned(),
        })
}
