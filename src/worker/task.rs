//! The tasks, as a table: who runs what, how often.

use std::cell::RefCell;
use std::time::Duration;

use super::board::Role;
use super::{janitor, maintenance};
use crate::accounting::{keeper, minutes::Source, pause, tally};
use crate::error::Error;
use crate::guc;
use crate::installed::Installed;
use crate::pg::process;
use crate::pg::xact::Failure;
use crate::replication::heartbeat;
use crate::staging::course::Course;
use crate::staging::flush::flush;

/// What a run that ended well says about itself.
#[derive(Debug, Default)]
pub struct Report {
    /// More is waiting: run again at once.
    pub again: bool,
    /// Why something that waits could not be done.
    pub waiting: Option<String>,
    /// Looking at that again costs next to nothing.
    pub waits_cheaply: bool,
    /// Rows can be seen that could not be seen before.
    pub moved: bool,
    /// There is nothing to do until some transaction has written something and ended.
    pub idle: bool,
    pub hindrance: Option<Hindrance>,
}

/// What stood in the way of a part of the work; the rest was done.
#[derive(Debug)]
pub struct Hindrance {
    pub sqlstate: String,
    pub message: String,
    /// How long that part is left alone.
    pub wait: Duration,
    /// Met in this run, and not only remembered.
    pub met: bool,
}

/// What a run works on.
pub struct Context<'a> {
    pub installed: &'a Installed,
    pub database: u32,
}

pub type Run = fn(&Context) -> Result<Report, Error>;

/// The statement that a job of the janitor runs at top level; None when it has become needless.
pub type Statement = fn(&Context, relation: u32) -> Result<Option<String>, Error>;

pub enum Work {
    /// Runs every so often, in a transaction.
    Periodic { every: fn() -> Duration, run: Run },
    /// Runs when a job asks for it, at top level.
    OnDemand(Statement),
}

pub struct Task {
    pub name: &'static str,
    pub work: Work,
}

/// Every flusher runs this.
const FLUSHER: &[Task] = &[Task {
    name: "flush",
    work: Work::Periodic {
        every: guc::flush_interval,
        run: flush_once,
    },
}];

const KEEPER: &[Task] = &[
    // First: the others may wait for a lock.
    Task {
        name: "heartbeat",
        work: Work::Periodic {
            every: guc::heartbeat_interval,
            run: heartbeat::beat_if_wanted,
        },
    },
    Task {
        name: "rotate",
        work: Work::Periodic {
            every: || Duration::from_secs(60),
            run: maintenance::rotate,
        },
    },
    Task {
        name: "sweep_staging",
        work: Work::Periodic {
            every: || Duration::from_secs(1),
            run: maintenance::sweep_staging,
        },
    },
    Task {
        name: "keep_accounts",
        work: Work::Periodic {
            every: || Duration::from_secs(1),
            run: keeper::keep_accounts,
        },
    },
    Task {
        name: "trim_rejected",
        work: Work::Periodic {
            every: || Duration::from_secs(10),
            run: maintenance::trim_rejected,
        },
    },
    Task {
        name: "forget_requests",
        work: Work::Periodic {
            every: || Duration::from_secs(60),
            run: maintenance::forget_requests,
        },
    },
];

const JANITOR: &[Task] = &[
    Task {
        name: "vacuum_staging",
        work: Work::OnDemand(janitor::vacuum_staging_statement),
    },
    Task {
        name: "vacuum_rejected",
        work: Work::OnDemand(janitor::vacuum_rejected_statement),
    },
    Task {
        name: "retire_partition",
        work: Work::OnDemand(janitor::retire_statement),
    },
];

/// Places among the tasks of the janitor.
pub const VACUUM_STAGING: u8 = 0;
pub const VACUUM_REJECTED: u8 = 1;
pub const RETIRE: u8 = 2;

pub fn tasks_of(role: Role) -> &'static [Task] {
    match role {
        Role::Flusher(_) => FLUSHER,
        Role::Keeper => KEEPER,
        Role::Janitor => JANITOR,
        Role::Probe => &[],
    }
}

thread_local! {
    static COURSE: RefCell<Course> = RefCell::default();
}

fn flush_once(context: &Context) -> Result<Report, Error> {
    flush_rows(context, guc::flush_batch_rows())
}

/// At most so many rows.
pub fn flush_rows(context: &Context, rows: i64) -> Result<Report, Error> {
    if let Some(paused) = pause::holds(context.installed)? {
        return Ok(Report {
            waiting: Some(paused),
            ..Report::default()
        });
    }
    COURSE.with_borrow_mut(|course| {
        let flushed = tally::counted(Source::Worker, rows, || flush(context.installed, rows, course))?;
        let hindrance = course.obstacle().map(|obstacle| Hindrance {
            sqlstate: obstacle.failure.sqlstate.clone(),
            message: obstacle.failure.message.clone(),
            wait: obstacle.wait(process::now()),
            met: course.met_something(),
        });
        Ok(Report {
            again: flushed.more,
            moved: flushed.taken() > 0,
            waits_cheaply: flushed.waiting == flushed.locked,
            idle: !flushed.unfinished && hindrance.is_none(),
            waiting: flushed
                .waiting_reason
                .map(|reason| format!("{} rows wait: {reason}", flushed.waiting)),
            hindrance,
        })
    })
}

/// A run failed and was rolled back; whether it is worth another try, at once and with care.
pub fn try_with_care(role: Role, failure: &Failure) -> bool {
    let is_flusher = matches!(role, Role::Flusher(_));
    is_flusher && COURSE.with_borrow_mut(|course| course.stumbled(&failure.sqlstate))
}

/// Before the last flush: what failed a moment ago may work by now.
pub fn insist() {
    COURSE.with_borrow_mut(Course::insist);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_janitor_finds_its_tasks_by_their_places() {
        assert_eq!(JANITOR[usize::from(VACUUM_STAGING)].name, "vacuum_staging");
        assert_eq!(JANITOR[usize::from(VACUUM_REJECTED)].name, "vacuum_rejected");
        assert_eq!(JANITOR[usize::from(RETIRE)].name, "retire_partition");
    }
}
