//! The row of `flush_state`: what is known about the fast door, for the time after a crash.

use pgrx::datum::TimestampWithTimeZone;

use super::backlog::Backlog;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::server;
use crate::sql::{argument, read, value, write};

/// Whether the tables are there: those of an older version came without, until somebody calls setup().
pub fn is_kept(installed: &Installed) -> Result<bool, Error> {
    let tables = [
        Table::FlushState,
        Table::Sentinel,
        Table::FlushHistory,
        Table::CrashHistory,
    ];
    let found: Option<i64> = read(
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relname = ANY ($2)",
        vec![
            argument(installed.schema.clone()),
            argument(tables.map(Table::name).to_vec()),
        ],
        value,
    )?;
    Ok(found == Some(tables.len() as i64))
}

/// Whether nobody holds the row; then it is ours to the end of the transaction.
pub fn is_free(installed: &Installed) -> Result<bool, Error> {
    let text = format!(
        "SELECT true FROM {} FOR UPDATE SKIP LOCKED",
        installed.qualified(Table::FlushState)
    );
    let found: Option<bool> = write(&text, vec![], value)?;
    Ok(found == Some(true))
}

/// Writes down what is seen now, unless a crash has ended the epoch and nobody has noticed yet. Passes over a row that somebody
/// else is writing: that is as good.
pub fn note(installed: &Installed, backlog: &Backlog, flushed_until: Option<i64>) -> Result<(), Error> {
    let state = installed.qualified(Table::FlushState);
    let sentinel = installed.qualified(Table::Sentinel);
    let flushed_until = flushed_until.and_then(|at| TimestampWithTimeZone::try_from(at).ok());
    let text = format!(
        "UPDATE {state} SET seen_at = clock_timestamp(), timeline = $1, rows_waiting = $2, bytes_waiting = $3,
             rows_are_estimated = $4, flushed_until = greatest(flushed_until, $5)
         WHERE ctid = (SELECT ctid FROM {state} WHERE epoch IN (SELECT epoch FROM {sentinel}) FOR UPDATE SKIP LOCKED)"
    );
    let arguments = vec![
        argument(server::timeline()),
        argument(backlog.rows),
        argument(backlog.row_bytes),
        argument(backlog.estimated),
        argument(flushed_until),
    ];
    write(&text, arguments, |_| Ok(()))
}

/// Whether a prepared transaction may hold rows of a flush that nobody can tell the end of.
pub fn has_prepared_transactions() -> Result<bool, Error> {
    let found: Option<bool> = read(
        "SELECT EXISTS (SELECT FROM pg_prepared_xacts WHERE database = current_database())",
        vec![],
        value,
    )?;
    Ok(found == Some(true))
}
