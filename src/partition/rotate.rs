//! Doing what is planned, each action on its own: what fails leaves the others alone and says who was in the way.

use std::time::Duration;

use super::create::create_if_missing;
use super::holders::{holders, named};
use super::plan::{Action, Planned, plan, upkeep};
use super::retention::{doubts_about_the_clock, drop_retired, mark, removals};
use super::{archive, expire, rewrite, seal, state};
use crate::error::Error;
use crate::guc;
use crate::installed::Installed;
use crate::pg::xact::{self, Failure};
use crate::pg::{process, settings};
use crate::shmem;
use crate::worker::maintenance::ask_janitor;
use crate::worker::task::{ANALYZE, ARCHIVE, EXPIRE, RETIRE, REWRITE, SEAL};

/// How many partitions a call begins to seal, where there is no janitor: each of them is a statement for somebody to run.
const SEALS_AT_A_TIME: usize = 100;

/// How long a call deletes readings from one partition, where there is no janitor to do it.
const AT_A_TIME: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Somebody else did it meanwhile.
    Needless,
    /// It has to be a statement of its own.
    Left,
    Failed,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Needless => "needless",
            Outcome::Left => "left",
            Outcome::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Done {
    pub action: Action,
    pub partition: String,
    pub outcome: Outcome,
    pub detail: Option<String>,
}

/// All that is planned now.
pub fn rotate(installed: &Installed) -> Result<Vec<Done>, Error> {
    state::adopt(installed)?;
    let planned = plan(installed)?;
    settle(installed, &planned)?;
    let mut seals = 0;
    let mut done = Vec::new();
    for planned in planned.iter().filter(|planned| planned.action != Action::Keep) {
        done.push(match &planned.statement {
            // The janitor goes on from the first to the next by itself.
            Some(_) if planned.action == Action::Seal && seals > 0 && shmem::has_workers() => {
                left_to_janitor(planned)
            }
            Some(_) if planned.action == Action::Seal && seals >= SEALS_AT_A_TIME => {
                left_to_next_call(planned)
            }
            Some(statement) => leave(installed, planned, statement)?,
            None => match job_of(planned.action) {
                Some(job) => hand_over(installed, planned, job)?,
                None => carry_out(installed, planned)?,
            },
        });
        seals += usize::from(planned.action == Action::Seal);
    }
    Ok(done)
}

/// What may take long is for the janitor.
fn job_of(action: Action) -> Option<u8> {
    match action {
        Action::Delete => Some(EXPIRE),
        Action::Rewrite => Some(REWRITE),
        Action::Archive => Some(ARCHIVE),
        _ => None,
    }
}

fn ask(planned: &Planned, job: u8) -> bool {
    planned
        .oid
        .is_some_and(|oid| ask_janitor(process::my_database(), job, oid.to_u32()))
}

/// Without a janitor it is done here and now, as far as a transaction of somebody else's may.
fn hand_over(installed: &Installed, planned: &Planned, job: u8) -> Result<Done, Error> {
    if ask(planned, job) {
        return Ok(left_to_janitor(planned));
    }
    if planned.action != Action::Rewrite {
        return carry_out(installed, planned);
    }
    Ok(Done {
        detail: Some(format!(
            "needs the workers, or CALL run_worker('janitor'); VACUUM FULL {} gives the room back as well, and locks its readers out meanwhile",
            planned.partition
        )),
        ..left_to_janitor(planned)
    })
}

fn left_to_janitor(planned: &Planned) -> Done {
    Done {
        action: planned.action,
        partition: planned.partition.clone(),
        outcome: Outcome::Left,
        detail: Some("left to the janitor".to_owned()),
    }
}

fn left_to_next_call(planned: &Planned) -> Done {
    Done {
        detail: Some("left to the next call".to_owned()),
        ..left_to_janitor(planned)
    }
}

/// What was about to leave and is not planned to any more stays.
fn settle(installed: &Installed, planned: &[Planned]) -> Result<(), Error> {
    let leaving = planned
        .iter()
        .filter(|planned| matches!(planned.action, Action::Detach | Action::Finish));
    state::stay_but(installed, leaving.filter_map(|planned| planned.oid).collect())
}

/// A detachment that locks nobody out cannot be part of a transaction, and neither can a vacuum: the janitor does it, or a
/// person.
fn leave(installed: &Installed, planned: &Planned, statement: &str) -> Result<Done, Error> {
    let task = match planned.action {
        Action::Seal => SEAL,
        Action::Analyze => ANALYZE,
        _ => RETIRE,
    };
    if ask(planned, task) {
        return Ok(left_to_janitor(planned));
    }
    let mut done = match planned.action {
        Action::Detach | Action::Seal => carry_out(installed, planned)?,
        _ => left_to_janitor(planned),
    };
    if done.outcome != Outcome::Failed {
        done.outcome = Outcome::Left;
        done.detail = Some(format!("run this by itself: {statement}"));
    }
    Ok(done)
}

/// Removals only, for the keeper, which makes partitions on its own; what failed, if anything did.
pub fn remove(installed: &Installed) -> Result<Option<String>, Error> {
    let mut failed = None;
    let planned = removals(installed)?;
    settle(installed, &planned)?;
    let left_alone = state::left_alone(installed)?;
    let stays = planned.iter().any(|planned| planned.action == Action::Keep);
    for planned in planned {
        match (&planned.statement, planned.action) {
            _ if planned.oid.is_some_and(|oid| left_alone.contains(&oid)) => {}
            (Some(statement), _) => drop(leave(installed, &planned, statement)?),
            (None, Action::Drop) => {
                let done = carry_out(installed, &planned)?;
                if done.outcome == Outcome::Failed {
                    failed = failed.or(done.detail.map(|detail| format!("{}: {detail}", done.partition)));
                }
            }
            _ => {}
        }
    }
    // What stays for a doubt is told where a DBA looks, not only in the plan.
    if stays && failed.is_none() {
        failed = doubts_about_the_clock(installed)?;
    }
    for planned in upkeep(installed)? {
        if let Some(job) = job_of(planned.action)
            && !planned.oid.is_some_and(|oid| left_alone.contains(&oid))
        {
            ask(&planned, job);
        }
    }
    if !rewrite::left_over(installed)?.is_empty() {
        ask_janitor(process::my_database(), REWRITE, 0);
    }
    Ok(failed)
}

fn carry_out(installed: &Installed, planned: &Planned) -> Result<Done, Error> {
    let tried = settings::undone_after(|| {
        settings::set_lock_timeout(guc::lock_timeout());
        Ok(xact::subtransaction(|| {
            xact::with_snapshot(|| match planned.action {
                Action::Create => create_if_missing(installed, planned.parent, &planned.period),
                Action::Detach => mark(installed, planned).map(|()| true),
                Action::Seal => seal(installed, planned),
                Action::Delete => expire::delete_for(installed, planned, AT_A_TIME),
                Action::Archive => archive::move_away(installed, planned),
                _ => drop_retired(installed, planned),
            })
        }))
    })?;
    let (outcome, detail) = match tried {
        Ok(true) => (Outcome::Done, planned.reason.clone()),
        Ok(false) => (Outcome::Needless, "somebody else did it meanwhile".to_owned()),
        Err(failure) => (Outcome::Failed, explained(installed, planned, &failure)?),
    };
    Ok(Done {
        action: planned.action,
        partition: planned.partition.clone(),
        outcome,
        detail: Some(detail),
    })
}

/// As far as it goes inside of a transaction: the beginning or the end.
fn seal(installed: &Installed, planned: &Planned) -> Result<bool, Error> {
    let Some(oid) = planned.oid else {
        return Ok(false);
    };
    match seal::due_of(installed, oid)? {
        Some(due) if due.vacuumed => seal::finish(installed, &due),
        Some(due) => seal::begin(installed, due.oid).map(|()| true),
        None => Ok(false),
    }
}

fn explained(installed: &Installed, planned: &Planned, failure: &Failure) -> Result<String, Error> {
    let mut text = format!("{} ({})", failure.message, failure.sqlstate);
    if failure.sqlstate == "55P03" {
        let parent = installed.require_table(planned.parent.table())?;
        if let Some(holders) = named(&holders(parent)?) {
            text.push_str(&format!("; locks are held by {holders}"));
        }
    }
    Ok(text)
}
