//! Dropping one partition of a table that others write to, with little patience: whoever waits for ACCESS EXCLUSIVE has everybody else
//! queue behind it.

use std::time::Duration;

use crate::error::Error;
use crate::pg::xact::Failure;
use crate::pg::{settings, signals, xact};
use crate::sql::run;

/// Longest time for a lock that writers would queue behind.
const PATIENCE: Duration = Duration::from_millis(10);

/// How often, and in which steps, such a lock is tried for: writers hold the parent as long as they last.
const TRIES: usize = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(5);

/// Both names are for use in SQL. `before` looks at the partition while nobody else can. The inner error says why it is still there.
pub fn drop_impatiently<T>(
    parent: &str,
    partition: &str,
    before: impl Fn() -> Result<T, Error>,
) -> Result<Result<T, Failure>, Error> {
    let mut attempt = 1;
    loop {
        // Detached first: that takes the parent before the partition, as everybody else does.
        let dropped = impatiently(|| {
            xact::subtransaction(|| {
                run(&format!("LOCK TABLE ONLY {parent} IN ACCESS EXCLUSIVE MODE"))?;
                let seen = before()?;
                run(&format!("ALTER TABLE {parent} DETACH PARTITION {partition}"))?;
                run(&format!("DROP TABLE {partition}"))?;
                Ok(seen)
            })
        })?;
        if dropped.is_ok() || attempt == TRIES {
            return Ok(dropped);
        }
        attempt += 1;
        signals::pause(BETWEEN_TRIES);
    }
}

/// Runs `body` with little patience for locks.
pub fn impatiently<T>(body: impl FnOnce() -> T) -> Result<T, Error> {
    settings::undone_after(|| {
        settings::set_lock_timeout(PATIENCE);
        Ok(body())
    })
}
