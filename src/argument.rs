//! Arguments of SQL functions that more than one of them takes.

use std::time::Duration;

use pgrx::datum::Interval;

use crate::error::Error;

/// How long to wait for something.
pub fn timeout(given: Option<Interval>) -> Result<Duration, Error> {
    duration("timeout", given)
}

/// A length of time, not negative.
pub fn duration(argument: &'static str, given: Option<Interval>) -> Result<Duration, Error> {
    let micros = given.ok_or(Error::NullArgument { argument })?.as_micros();
    if micros < 0 {
        return Err(Error::InvalidText {
            argument,
            fault: "it is negative".to_owned(),
        });
    }
    // Longer than any server runs.
    Ok(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
}
