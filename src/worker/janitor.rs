//! The janitor's jobs: statements that are long or must run at top level, so that no short task ever waits for them.

use pgrx::pg_sys;

use super::task::{Context, Step};
use crate::error::Error;
use crate::installed::{DOORS, Table};
use crate::partition::holders::still_there;
use crate::partition::plan::Action;
use crate::partition::retention::{mark, removals};
use crate::partition::{archive, expire, rewrite};
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

/// Takes an old partition out of facts, or ends that. Planned anew: policies may have changed since the request. As long as
/// somebody holds a lock, a detachment would wait, half done.
pub fn retire_statement(context: &Context, relation: u32) -> Result<Option<String>, Error> {
    let wanted = removals(context.installed)?
        .into_iter()
        .find(|planned| planned.statement.is_some() && planned.oid == Some(pg_sys::Oid::from(relation)));
    let Some(planned) = wanted else {
        return Ok(None);
    };
    let facts = context.installed.require_table(Table::Facts)?;
    if let Some(holder) = still_there(facts)? {
        return Err(Error::InTheWay {
            relation: planned.partition,
            holder: holder.to_string(),
        });
    }
    if planned.action == Action::Detach {
        mark(context.installed, &planned)?;
    }
    Ok(planned.statement)
}

/// Deletes readings whose time is over, a batch in each step.
pub fn expire_step(context: &Context, relation: u32, _first: bool) -> Result<Step, Error> {
    let batch = expire::delete_batch(context.installed, pg_sys::Oid::from(relation))?;
    Ok(match batch {
        Some(batch) if batch.more => Step::Again,
        _ => Step::Done,
    })
}

/// Gives back the room of deleted readings.
pub fn rewrite_step(context: &Context, relation: u32, first: bool) -> Result<Step, Error> {
    rewrite::step(context.installed, pg_sys::Oid::from(relation), first)
}

/// Moves a detached partition to where it is to be kept.
pub fn archive_step(context: &Context, relation: u32, _first: bool) -> Result<Step, Error> {
    archive::step(context.installed, pg_sys::Oid::from(relation))
}
