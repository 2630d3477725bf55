//! What was deleted from a partition that stays, and how far that has come: columns of `partition_state`.

use std::collections::HashMap;

use pgrx::pg_sys;

use super::policy::Expired;
use super::state;
use crate::error::Error;
use crate::installed::Installed;
use crate::sql::{argument, read, write};

#[derive(Debug, Clone)]
pub struct Removed {
    pub expired: Expired,
    /// Up to, and without, this page; None when all is done.
    pub block: Option<i64>,
    /// Since it was made, or rewritten.
    pub rows: i64,
    pub is_sealed: bool,
}

impl Removed {
    /// Whether nothing is left to do for these.
    pub fn covers(&self, expired: &Expired) -> bool {
        self.block.is_none() && expired.is_within(&self.expired)
    }

    /// The page to go on from.
    pub fn next_block(&self, expired: &Expired) -> i64 {
        match self.block {
            Some(block) if *expired == self.expired => block,
            _ => 0,
        }
    }
}

/// Of every partition that is known; none where the table or its columns are of an older version.
pub fn all(installed: &Installed) -> Result<HashMap<pg_sys::Oid, Removed>, Error> {
    let Some(state) = state::table(installed)? else {
        return Ok(HashMap::new());
    };
    let mut found = HashMap::new();
    read(
        &format!(
            "SELECT relation_oid, seal = 'sealed',
                    CASE WHEN removal_sealed_at = sealed_at THEN removed_all_but END,
                    CASE WHEN removal_sealed_at = sealed_at THEN removed_tenants END,
                    CASE WHEN removal_sealed_at = sealed_at THEN removal_block END,
                    removed_rows
             FROM {state} WHERE relation_oid IS NOT NULL AND left_at IS NULL"
        ),
        vec![],
        |rows| {
            for row in rows {
                let tenants: Option<Vec<i64>> = row.get(4)?;
                let expired = match (row.get::<bool>(3)?, tenants) {
                    (Some(true), tenants) => Expired::AllBut(tenants.unwrap_or_default()),
                    (_, Some(tenants)) => Expired::Of(tenants),
                    _ => Expired::Nobodys,
                };
                let removed = Removed {
                    expired,
                    is_sealed: row.get(2)?.unwrap_or_default(),
                    block: row.get(5)?,
                    rows: row.get(6)?.unwrap_or_default(),
                };
                if let Some(oid) = row.get(1)? {
                    found.insert(oid, removed);
                }
            }
            Ok(())
        },
    )?;
    Ok(found)
}

/// So far it has come: `rows` more are deleted, and it goes on at `block`.
pub fn note(
    installed: &Installed,
    partition: pg_sys::Oid,
    expired: &Expired,
    block: Option<i64>,
    rows: i64,
) -> Result<(), Error> {
    let Some(state) = state::table(installed)? else {
        return Ok(());
    };
    write(
        &format!(
            "UPDATE {state}
             SET removed_all_but = $2, removed_tenants = $3, removal_block = $4, removal_sealed_at = sealed_at,
                 removed_rows = removed_rows + $5, rows = greatest(rows - $5, 0)
             WHERE relation_oid = $1"
        ),
        vec![
            argument(partition),
            argument(matches!(expired, Expired::AllBut(_))),
            argument(expired.tenants().to_vec()),
            argument(block),
            argument(rows),
        ],
        |_| Ok(()),
    )
}

/// The room of what was deleted has been given back.
pub fn note_rewritten(installed: &Installed, partition: pg_sys::Oid) -> Result<(), Error> {
    let Some(state) = state::table(installed)? else {
        return Ok(());
    };
    write(
        &format!(
            "UPDATE {state} SET removed_rows = 0, rewritten_at = clock_timestamp() WHERE relation_oid = $1"
        ),
        vec![argument(partition)],
        |_| Ok(()),
    )
}
