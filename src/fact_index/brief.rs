//! Strong locks on facts for a moment: nobody who writes waits longer than one try.

use std::ffi::CStr;
use std::time::Duration;

use pgrx::pg_sys;

use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::partition::holders::holders;
use crate::pg::partitions::to_read;
use crate::pg::xact::{self, Failure};
use crate::pg::{process, settings, signals};
use crate::sql::{argument, read, run, value};

/// How long others may have to wait behind us.
const TRY: Duration = Duration::from_millis(10);

/// Between two tries those who waited go ahead.
const PAUSE: Duration = Duration::from_millis(90);

/// Ten seconds.
const TRIES: usize = 100;

/// What the server calls the process that builds, seals and removes.
const JANITOR: &CStr = c"pg_telemetry janitor";

/// Once a second.
const AUTOVACUUM_EVERY: usize = 10;

/// Runs `body`, whose locks are waited for no longer than a try. What it locked stays locked if it went well.
fn once<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<Result<T, Failure>, Error> {
    settings::undone_after(|| {
        settings::set_lock_timeout(TRY);
        Ok(xact::subtransaction(|| xact::with_snapshot(body)))
    })
}

/// The same again and again as long as nothing but a lock is in the way; None when it still is after so many tries.
pub fn tried<T>(tries: usize, body: impl Fn() -> Result<T, Error>) -> Result<Option<T>, Error> {
    tried_after(tries, |_| Ok(()), body)
}

/// As [`tried`], with something to be done before each try, which is told its number.
fn tried_after<T>(
    tries: usize,
    before: impl Fn(usize) -> Result<(), Error>,
    body: impl Fn() -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    for number in 1..=tries {
        before(number)?;
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
    match tried(TRIES, body)? {
        Some(value) => Ok(value),
        None => Err(not_locked(installed, what)?),
    }
}

fn not_locked(installed: &Installed, what: &'static str) -> Result<Error, Error> {
    let facts = installed.require_table(Table::Facts)?;
    let mut holder = holders(facts)?.into_iter().next();
    for leaf in to_read(facts) {
        if holder.is_some() {
            break;
        }
        holder = holders(leaf.oid)?.into_iter().next();
    }
    Ok(Error::NotLocked {
        what,
        holder: holder.map_or_else(|| "somebody".to_owned(), |holder| holder.to_string()),
    })
}

/// As [`often`], for locks on all partitions at once: maintenance makes way. Until the end of this transaction the janitor begins
/// no further step of an index: it would hold one partition after the other, and whoever needs all of them would never get them.
pub fn often_with_partitions<T>(
    installed: &Installed,
    what: &'static str,
    body: impl Fn() -> Result<T, Error>,
) -> Result<T, Error> {
    if installed.table_oid(Table::IndexRebuilds)?.is_some() {
        run(&format!(
            "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE",
            installed.qualified(Table::IndexRebuilds)
        ))?;
    }
    let facts = installed.require_table(Table::Facts)?;
    match tried_after(TRIES, |number| stop_maintenance(facts, number), body)? {
        Some(value) => Ok(value),
        None => Err(not_locked(installed, what)?),
    }
}

/// Before every try: the janitor may have begun a step between its look for us and our lock. At its end that step would wait for
/// our snapshot, and we for its lock. What is cancelled is taken again later, if it is still wanted. Autovacuum makes way for
/// whoever waits a second for a plain lock, and so it does here, except where it guards against wraparound.
fn stop_maintenance(facts: pg_sys::Oid, number_of_try: usize) -> Result<(), Error> {
    read(
        "SELECT DISTINCT l.pid
         FROM pg_locks l JOIN pg_inherits i ON i.inhrelid = l.relation JOIN pg_database d ON d.oid = l.database
         WHERE i.inhparent = $1 AND l.granted AND l.mode = 'ShareUpdateExclusiveLock' AND d.datname = current_database()",
        vec![argument(facts)],
        |rows| {
            for row in rows {
                let pid = row.get(1)?.unwrap_or_default();
                if process::is_worker(pid, JANITOR) {
                    process::cancel(pid);
                } else if number_of_try.is_multiple_of(AUTOVACUUM_EVERY) {
                    process::cancel_autovacuum(pid);
                }
            }
            Ok(())
        },
    )
}

/// Whether somebody wants all partitions for himself, or has them (see [`often_with_partitions`]).
pub fn somebody_is_alone(installed: &Installed) -> Result<bool, Error> {
    let Some(table) = installed.table_oid(Table::IndexRebuilds)? else {
        return Ok(false);
    };
    let found: Option<bool> = read(
        "SELECT EXISTS (SELECT FROM pg_locks
                        WHERE locktype = 'relation' AND relation = $1 AND mode = 'ShareRowExclusiveLock'
                          AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
        vec![argument(table)],
        value,
    )?;
    Ok(found == Some(true))
}
