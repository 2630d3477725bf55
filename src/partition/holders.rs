//! Who holds a lock on a table. From pg_locks, which needs no rights; pg_stat_activity would hide the sessions of others.

use std::fmt;

use pgrx::pg_sys;

use crate::error::Error;
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
