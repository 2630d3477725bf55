//! Who holds a lock on a table. From pg_locks, which needs no rights; pg_stat_activity would hide the sessions of others.

use std::fmt;
use std::time::{Duration, Instant};

use pgrx::pg_sys;

use crate::error::Error;
use crate::pg::signals;
use crate::sql::{argument, read};

/// One transaction of somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// None for a prepared transaction.
    pid: Option<i32>,
    transaction: String,
    mode: String,
}

impl Holder {
    /// Whether its lock is one of those who write.
    pub fn writes(&self) -> bool {
        !matches!(
            self.mode.as_str(),
            "AccessShareLock" | "RowShareLock" | "ShareUpdateExclusiveLock"
        )
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(out, "process {pid} ({})", self.mode),
            None => write!(out, "a prepared transaction ({})", self.mode),
        }
    }
}

/// All of them in a few words; None when there is nobody.
pub fn named(holders: &[Holder]) -> Option<String> {
    let names: Vec<String> = holders.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Transactions of others that hold a lock on the relation, the strongest lock of each.
pub fn holders(relation: pg_sys::Oid) -> Result<Vec<Holder>, Error> {
    let text = "SELECT DISTINCT ON (virtualtransaction) pid, virtualtransaction, mode
                FROM pg_locks
                WHERE locktype = 'relation' AND relation = $1 AND granted
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND pid IS DISTINCT FROM pg_backend_pid()
                ORDER BY virtualtransaction,
                         array_position(ARRAY['AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock',
                                              'ShareUpdateExclusiveLock', 'RowExclusiveLock', 'RowShareLock'], mode)";
    let mut found = Vec::new();
    read(text, vec![argument(relation)], |rows| {
        for row in rows {
            found.push(Holder {
                pid: row.get(1)?,
                transaction: row.get(2)?.unwrap_or_default(),
                mode: row.get(3)?.unwrap_or_default(),
            });
        }
        Ok(())
    })?;
    Ok(found)
}

/// Whoever holds a lock for longer may hold it for hours.
const LONG: Duration = Duration::from_secs(3);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Somebody who has held a lock on the relation for seconds; it takes that long to find out when there is anybody.
pub fn still_there(relation: pg_sys::Oid) -> Result<Option<Holder>, Error> {
    let mut left = holders(relation)?;
    let start = Instant::now();
    while !left.is_empty() && start.elapsed() < LONG {
        signals::pause(LOOK);
        let now = holders(relation)?;
        left.retain(|holder| now.contains(holder));
    }
    Ok(left.into_iter().next())
}
