//! Strong locks on facts for a moment: nobody who writes waits longer than one try.

use std::time::Duration;

use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::partition::holders::holders;
use crate::pg::partitions::to_read;
use crate::pg::xact::{self, Failure};
use crate::pg::{settings, signals};
use crate::sql::{argument, read, run, value};

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
    let facts = installed.require_table(Table::Facts)?;
    let mut holder = holders(facts)?.into_iter().next();
    for leaf in to_read(facts) {
        if holder.is_some() {
            break;
        }
        holder = holders(leaf.oid)?.into_iter().next();
    }
    Err(Error::NotLocked {
        what,
        holder: holder.map_or_else(|| "somebody".to_owned(), |holder| holder.to_string()),
    })
}

/// Until the end of this transaction the janitor begins no further step: it would hold one partition after the other, and
/// whoever needs all of them at once would never get them. A step that is under way is cancelled: at its end it would wait for our
/// snapshot, and we for its lock. It is taken again later, if it is still wanted.
pub fn alone_with_partitions(installed: &Installed) -> Result<(), Error> {
    if installed.table_oid(Table::IndexRebuilds)?.is_none() {
        return Ok(());
    }
    run(&format!(
        "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE",
        installed.qualified(Table::IndexRebuilds)
    ))?;
    read(
        "SELECT pg_cancel_backend(s.pid) FROM pg_stat_progress_create_index s JOIN pg_stat_activity a ON a.pid = s.pid
         WHERE s.datid = a.datid AND a.datname = current_database() AND a.backend_type = 'pg_telemetry janitor'
           AND s.relid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = $1)",
        vec![argument(installed.require_table(Table::Facts)?)],
        |_| Ok(()),
    )
}

/// Whether somebody else wants to be.
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
