//! The janitor's jobs: statements that are long or must run at top level, so that no short task ever waits for them.

use pgrx::pg_sys;

use super::maintenance::ask_janitor;
use super::task::{ANALYZE, Context, SEAL};
use crate::error::Error;
use crate::installed::{DOORS, Installed, Table};
use crate::partition::holders::{holders, named, still_there};
use crate::partition::parts::parts;
use crate::partition::plan::Action;
use crate::partition::retention::{mark, removals};
use crate::partition::seal::{self, Due};
use crate::partition::state;
use crate::pg::fault;
use crate::pg::xact::Failure;

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
    let part = parts(context.installed, Table::Rejected)?
        .into_iter()
        .find(|part| part.oid == relation);
    Ok(part.map(|part| format!("VACUUM (SKIP_LOCKED, TRUNCATE false, PARALLEL 0) {}", part.name)))
}

/// Seals a partition: vacuum first, unless that was done before somebody interrupted it.
pub fn seal_statement(context: &Context, relation: u32) -> Result<Option<String>, Error> {
    let Some(due) = seal::due_of(context.installed, pg_sys::Oid::from(relation))? else {
        return Ok(None);
    };
    if due.vacuumed {
        seal_and_go_on(context, &due)?;
        return Ok(None);
    }
    seal::begin(context.installed, due.oid)?;
    Ok(Some(due.statement()))
}

/// It was vacuumed, or passed over.
pub fn seal_vacuumed(context: &Context, relation: u32) -> Result<(), Error> {
    fault::point("seal_vacuumed");
    match seal::due_of(context.installed, pg_sys::Oid::from(relation))? {
        Some(due) if due.vacuumed => seal_and_go_on(context, &due),
        Some(due) if !due.reopened => Err(Error::NotVacuumed(due.partition)),
        _ => Ok(()),
    }
}

/// One at a time, and the next at once.
fn seal_and_go_on(context: &Context, due: &Due) -> Result<(), Error> {
    seal::finish(context.installed, due)?;
    ask_to_seal(context.installed, context.database)
}

pub fn not_sealed(context: &Context, relation: u32, failure: &Failure) -> Result<(), Error> {
    let partition = pg_sys::Oid::from(relation);
    note_failure(context, partition, partition, failure)?;
    ask_to_seal(context.installed, context.database)
}

/// Asks for the next partition that is to be sealed, or for what comes when there is none.
pub fn ask_to_seal(installed: &Installed, database: u32) -> Result<(), Error> {
    match seal::due_but(installed, state::left_alone(installed)?)? {
        Some(due) => drop(ask_janitor(database, SEAL, due.oid.to_u32())),
        None if seal::analyze_statement(installed)?.is_some() => drop(ask_janitor(database, ANALYZE, 0)),
        None => {}
    }
    Ok(())
}

/// The numbers of all partitions together.
pub fn analyze_statement(context: &Context, _relation: u32) -> Result<Option<String>, Error> {
    seal::analyze_statement(context.installed)
}

/// Takes an old partition out of facts, or ends that. Planned anew: policies may have changed since the request. Whoever holds a
/// lock for long would hold a detachment up as long, half done.
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
        fault::point("marked");
    }
    Ok(planned.statement)
}

/// It is detached.
pub fn retired(context: &Context, relation: u32) -> Result<(), Error> {
    fault::point("detached");
    state::note_success(context.installed, pg_sys::Oid::from(relation))?;
    state::adopt(context.installed)?;
    Ok(())
}

pub fn not_retired(context: &Context, relation: u32, failure: &Failure) -> Result<(), Error> {
    let facts = context.installed.require_table(Table::Facts)?;
    note_failure(context, pg_sys::Oid::from(relation), facts, failure)
}

/// Whoever holds a lock on `locked` now is named, if a lock was what it failed for.
pub(super) fn note_failure(
    context: &Context,
    partition: pg_sys::Oid,
    locked: pg_sys::Oid,
    failure: &Failure,
) -> Result<(), Error> {
    let in_the_way = match failure.sqlstate.as_str() {
        "55P03" => named(&holders(locked)?),
        _ => None,
    };
    state::note_failure(context.installed, partition, failure, in_the_way)
}
