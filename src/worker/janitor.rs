//! The janitor's jobs: statements that are long or must run at top level, so that no short task ever waits for them.

use super::task::Context;
use crate::error::Error;
use crate::installed::DOORS;
use crate::rejected::parts::parts;

/// The relation is looked up again: between the request and now it may have been dropped and made anew.
pub fn vacuum_staging_statement(context: &Context, relation: u32) -> Result<Option<String>, Error> {
    for door in DOORS {
        if context
            .installed
            .table_oid(door)?
            .is_some_and(|oid| oid.to_u32() == relation)
        {
            // Skip rather than queue behind somebody's lock; the keeper asks again.
            return Ok(Some(format!(
                "VACUUM (SKIP_LOCKED, PARALLEL 0) {}",
                context.installed.qualified(door)
            )));
        }
    }
    Ok(None)
}

/// What was deleted from the rejected readings of today makes room for the next ones. The file keeps its size: to give its end
/// back would lock the flush out.
pub fn vacuum_rejected_statement(context: &Context, relation: u32) -> Result<Option<String>, Error> {
    let part = parts(context.installed)?
        .into_iter()
        .find(|part| part.oid == relation);
    Ok(part.map(|part| format!("VACUUM (SKIP_LOCKED, TRUNCATE false, PARALLEL 0) {}", part.name)))
}
