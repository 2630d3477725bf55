//! Constraints and triggers of facts that wait for the commit. The flush runs under a restriction in which nothing may be left to
//! the commit, and a row that they refuse there could not be told from the others any more: so they are checked with the
//! statement that writes the rows.

use super::flush::Move;
use crate::error::Error;
use crate::installed::Table;
use crate::pg::xact;
use crate::sql::{argument, read, run, value};

/// To be called before rows are written by SQL; what a rollback undoes has to be done again.
pub fn make_immediate(work: &Move) -> Result<(), Error> {
    let statement = match work.not_deferred.get() {
        Some(known) => known,
        None => {
            let found = statement(work)?;
            work.not_deferred.get_or_init(|| found)
        }
    };
    let Some(statement) = statement else {
        return Ok(());
    };
    // What the caller itself has left to its commit is checked by this as well, and no row of ours is at fault if that fails.
    xact::subtransaction(|| run(statement)).map_err(|failure| Error::PendingCheckFails(failure.message))
}

/// None where there is nothing that could be deferred. Constraints of a partition that come from its parent follow that one.
fn statement(work: &Move) -> Result<Option<String>, Error> {
    read(
        "SELECT 'SET CONSTRAINTS ' || string_agg(DISTINCT format('%I.%I', n.nspname, c.conname), ', ') || ' IMMEDIATE'
         FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
         WHERE c.condeferrable AND c.conparentid = 0
           AND c.conrelid IN (SELECT relid FROM pg_partition_tree($1))",
        vec![argument(work.installed.require_table(Table::Facts)?)],
        value,
    )
}
