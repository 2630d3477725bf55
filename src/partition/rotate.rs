//! Doing what is planned, each action on its own: what fails leaves the others alone and says who was in the way.

use super::create::create_if_missing;
use super::holders::holders;
use super::plan::{Action, Planned, plan};
use crate::error::Error;
use crate::guc;
use crate::installed::Installed;
use crate::pg::settings;
use crate::pg::xact::{self, Failure};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Somebody else did it meanwhile.
    Needless,
    Failed,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Needless => "needless",
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
    plan(installed)?
        .iter()
        .map(|planned| carry_out(installed, planned))
        .collect()
}

fn carry_out(installed: &Installed, planned: &Planned) -> Result<Done, Error> {
    let tried = settings::undone_after(|| {
        settings::set_lock_timeout(guc::lock_timeout());
        Ok(xact::subtransaction(|| {
            xact::with_snapshot(|| match planned.action {
                Action::Create => create_if_missing(installed, planned.parent, &planned.period),
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

fn explained(installed: &Installed, planned: &Planned, failure: &Failure) -> Result<String, Error> {
    let mut text = format!("{} ({})", failure.message, failure.sqlstate);
    if failure.sqlstate == "55P03" {
        let parent = installed.require_table(planned.parent.table())?;
        let pids: Vec<String> = holders(parent)?.iter().map(|holder| holder.to_string()).collect();
        if !pids.is_empty() {
            text.push_str(&format!("; locks are held by {}", pids.join(", ")));
        }
    }
    Ok(text)
}
