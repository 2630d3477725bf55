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

/// Bytes of a reason: it is shown beside what it is about.
const LONGEST_REASON: usize = 500;

/// What somebody says about what they do, for people.
pub fn reason(given: Option<String>) -> Result<Option<String>, Error> {
    let fault = given.as_deref().and_then(|reason| match reason {
        _ if reason.len() > LONGEST_REASON => Some(format!("it is longer than {LONGEST_REASON} bytes")),
        _ if reason.chars().any(char::is_control) => Some("it has control characters".to_owned()),
        _ => None,
    });
    match fault {
        Some(fault) => Err(Error::InvalidText {
            argument: "reason",
            fault,
        }),
        None => Ok(given),
    }
}
