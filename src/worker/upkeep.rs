//! The janitor's jobs that go step by step, each in a transaction of its own.

use pgrx::pg_sys;

use super::janitor::note_failure;
use super::task::{Context, Step};
use crate::error::Error;
use crate::partition::{archive, expire, rewrite, state};
use crate::pg::xact::Failure;

/// Deletes readings whose time is over, a batch in each step.
pub fn expire_step(context: &Context, relation: u32, _first: bool) -> Result<Step, Error> {
    let batch = expire::delete_batch(context.installed, pg_sys::Oid::from(relation))?;
    match batch {
        Some(batch) if batch.more => Ok(Step::Again),
        _ => done(context, relation),
    }
}

/// Gives back the room of deleted readings.
pub fn rewrite_step(context: &Context, relation: u32, first: bool) -> Result<Step, Error> {
    match rewrite::step(context.installed, pg_sys::Oid::from(relation), first)? {
        Step::Done => done(context, relation),
        step => Ok(step),
    }
}

/// Moves a detached partition to where it is to be kept.
pub fn archive_step(context: &Context, relation: u32, _first: bool) -> Result<Step, Error> {
    match archive::step(context.installed, pg_sys::Oid::from(relation))? {
        Step::Done => done(context, relation),
        step => Ok(step),
    }
}

fn done(context: &Context, relation: u32) -> Result<Step, Error> {
    state::note_success(context.installed, pg_sys::Oid::from(relation))?;
    Ok(Step::Done)
}

/// Left alone for a while then.
pub fn failed(context: &Context, relation: u32, failure: &Failure) -> Result<(), Error> {
    let partition = pg_sys::Oid::from(relation);
    note_failure(context, partition, partition, failure)
}
