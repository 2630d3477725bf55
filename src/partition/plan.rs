//! What the next rotation would do, and why. The rotation does what is planned here and nothing else.

use std::collections::HashSet;

use pgrx::pg_sys;

use super::archive::moves;
use super::bounds::{Micros, Period};
use super::create::{Parent, free_child, missing_now};
use super::expire::deletions;
use super::retention::removals;
use super::rewrite::rewrites;
use super::seal;
use super::state::now;
use crate::error::Error;
use crate::installed::{Installed, Table};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Create,
    /// Take it out of facts.
    Detach,
    /// End a detachment that was interrupted.
    Finish,
    /// Drop what was taken out.
    Drop,
    /// Freeze what is complete, and note what it holds.
    Seal,
    /// Numbers of all partitions together, for the planner.
    Analyze,
    /// Delete readings from it whose time is over.
    Delete,
    /// Give back the room of deleted readings.
    Rewrite,
    /// Move what was taken out to where it is kept.
    Archive,
    /// Old enough to go, and kept.
    Keep,
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Detach => "detach",
            Action::Finish => "finish detaching",
            Action::Drop => "drop",
            Action::Seal => "seal",
            Action::Analyze => "analyze",
            Action::Delete => "delete",
            Action::Rewrite => "rewrite",
            Action::Archive => "archive",
            Action::Keep => "keep",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Planned {
    pub action: Action,
    pub parent: Parent,
    /// None for one that is not there yet.
    pub oid: Option<pg_sys::Oid>,
    /// Qualified and quoted.
    pub partition: String,
    pub period: Period,
    pub reason: String,
    /// What has to be run by itself, outside of a transaction.
    pub statement: Option<String>,
}

/// In the order in which it is done: rejected before facts, as the flush locks them.
pub fn plan(installed: &Installed) -> Result<Vec<Planned>, Error> {
    let mut planned = Vec::new();
    for parent in [Parent::Rejected, Parent::Facts] {
        planned.extend(creations(installed, parent)?);
    }
    planned.extend(removals(installed)?);
    // What goes need not be sealed before.
    let detached = planned.iter().filter(|planned| planned.action == Action::Detach);
    let detached: HashSet<Option<pg_sys::Oid>> = detached.map(|planned| planned.oid).collect();
    let seals = seals(installed)?.into_iter();
    planned.extend(seals.filter(|seal| !detached.contains(&seal.oid)));
    planned.extend(upkeep(installed)?);
    Ok(planned)
}

/// What is to be done with partitions that stay although something in them goes, and with those that are kept elsewhere.
pub fn upkeep(installed: &Installed) -> Result<Vec<Planned>, Error> {
    let mut planned = deletions(installed)?;
    planned.extend(rewrites(installed)?);
    planned.extend(moves(installed)?);
    Ok(planned)
}

fn seals(installed: &Installed) -> Result<Vec<Planned>, Error> {
    let mut planned: Vec<Planned> = seal::due(installed)?
        .into_iter()
        .map(|due| Planned {
            action: Action::Seal,
            parent: Parent::Facts,
            oid: Some(due.oid),
            period: due.period,
            reason: due.reason().to_owned(),
            statement: (!due.vacuumed).then(|| due.statement()),
            partition: due.partition,
        })
        .collect();
    if planned.is_empty()
        && let Some(statement) = seal::analyze_statement(installed)?
    {
        planned.push(Planned {
            action: Action::Analyze,
            parent: Parent::Facts,
            oid: Some(installed.require_table(Table::Facts)?),
            partition: installed.qualified(Table::Facts),
            period: Period {
                start: Micros::MIN,
                end: Micros::MAX,
            },
            reason: "a tenth of the partitions was sealed since the last time".to_owned(),
            statement: Some(statement),
        });
    }
    Ok(planned)
}

fn creations(installed: &Installed, parent: Parent) -> Result<Vec<Planned>, Error> {
    let missing = missing_now(installed, parent)?;
    let now = now();
    let ahead = missing
        .ahead
        .into_iter()
        .map(|period| (period, why_ahead(&period, now)));
    let gaps = missing.gaps.into_iter().map(|period| {
        (
            period,
            "a gap between partitions, where readings are still accepted",
        )
    });
    ahead
        .chain(gaps)
        .map(|(period, reason)| {
            Ok(Planned {
                action: Action::Create,
                parent,
                oid: None,
                partition: free_child(installed, parent, &period)?,
                period,
                reason: reason.to_owned(),
                statement: None,
            })
        })
        .collect()
}

fn why_ahead(period: &Period, now: Micros) -> &'static str {
    if period.contains(now) {
        "readings of now have no partition"
    } else {
        "to be ready ahead, by pg_telemetry.premake"
    }
}
