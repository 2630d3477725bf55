//! Strong locks on facts for a moment: nobody who writes waits longer than one try.

use std::time::Duration;

use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::partition::holders::holders;
use crate::pg::xact::{self, Failure};
use crate::pg::{settings, signals};

/// How long others may have to wait behind us.
const TRY: Duration = Duration::from_millis(10);

/// Between two tries those who waited go ahead.
const PAUSE: Duration = Duration::from_millis(90);

/// Ten seconds.
const TRIES: usize = 100;

/// Runs `body`, whose locks are waited for no longer than a try. What it locked stays locked if it went well.
fn once<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<Result<T, Failure>, Error> {
    settings::undone_after(|| {
        settings::set_lock_timeout(TRY);
        Ok(xact::subtransaction(|| xact::with_snapshot(body)))
    })
}

/// The same again and again as long as nothing but a lock is in the way; None when it still is after so many tries.
pub fn tried<T>(tries: usize, body: impl Fn() -> Result<T, Error>) -> Result<Option<T>, Error> {
    for number in 1..=tries {
        match once(&body)? {
            Ok(value) => return Ok(Some(value)),
            Err(failure) if failure.sqlstate == "55P03" => {}
            Err(failure) => return Err(failure.into()),
        }
        if number < tries {
            signals::pause(PAUSE);
        }
    }
    Ok(None)
}

/// The same for ten seconds; an error then, which names somebody who is in the way.
pub fn often<T>(
    installed: &Installed,
    what: &'static str,
    body: impl Fn() -> Result<T, Error>,
) -> Result<T, Error> {
    if let Some(value) = tried(TRIES, body)? {
        return Ok(value);
    }
    let holders = holders(installed.require_table(Table::Facts)?)?;
    Err(Error::NotLocked {
        what,
        holder: holders
            .first()
            .map_or_else(|| "somebody".to_owned(), ToString::to_string),
    })
}
