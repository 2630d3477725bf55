//! The tasks, as a table: who runs what, how often.

use std::cell::RefCell;
use std::time::Duration;

use super::board::Role;
use super::role::{JANITOR_TASKS, KEEPER_TASKS};
use super::{janitor, maintenance, upkeep};
use crate::accounting::{keeper, minutes::Source, pause, tally};
use crate::alert;
use crate::error::Error;
use crate::fact_index;
use crate::guc;
use crate::heat::keeper as heat_keeper;
use crate::installed::Installed;
use crate::pg::process;
use crate::pg::xact::Failure;
use crate::promotion;
use crate::replication::heartbeat;
use crate::sample;
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

/// The statement of a job; None when it has become needless.
pub type Prepare = fn(&Context, relation: u32) -> Result<Option<String>, Error>;

/// What is to be done once the statement ran, in a transaction of its own.
pub type Finish = fn(&Context, relation: u32) -> Result<(), Error>;

/// What is to be noted when any of it failed.
pub type Failed = fn(&Context, relation: u32, failure: &Failure) -> Result<(), Error>;

/// A job of the janitor: a statement at top level, and what goes with it.
#[derive(Clone, Copy)]
pub struct Errand {
    pub prepare: Prepare,
    pub finish: Option<Finish>,
    pub failed: Option<Failed>,
}

impl Errand {
    const fn only(prepare: Prepare) -> Errand {
        Errand {
            prepare,
            finish: None,
            failed: None,
        }
    }
}

/// The next step of a job of the janitor; `first` of this job.
pub type Steps = fn(&Context, relation: u32, first: bool) -> Result<Step, Error>;

pub enum Step {
    Done,
    /// Call again.
    Again,
    /// To be run at top level before the next step.
    Statement(String),
    /// There is more to do, which something holds up.
    Waits(String),
}

pub enum Work {
    /// Runs every so often, in a transaction.
    Periodic { every: fn() -> Duration, run: Run },
    /// Runs when a job asks for it, at top level.
    OnDemand(Errand),
    /// Runs when a job asks for it, in one transaction after another.
    InSteps(Steps),
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
    Task {
        name: "summarise_brin",
        work: Work::Periodic {
            every: || Duration::from_secs(10),
            run: maintenance::summarise_brin,
        },
    },
    Task {
        name: "look_at_indexes",
        work: Work::Periodic {
            every: || Duration::from_secs(5),
            run: maintenance::look_at_indexes,
        },
    },
    Task {
        name: "watch_builds",
        work: Work::Periodic {
            every: || Duration::from_secs(1),
            run: promotion::watch_builds,
        },
    },
    Task {
        name: "keep_heat",
        work: Work::Periodic {
            every: || Duration::from_secs(60),
            run: heat_keeper::keep_heat,
        },
    },
    Task {
        name: "watch_alerts",
        work: Work::Periodic {
            every: guc::alert_interval,
            run: alert::watch_alerts,
        },
    },
    Task {
        name: "take_samples",
        work: Work::Periodic {
            every: guc::sample_tick,
            run: sample::task::take_some,
        },
    },
];

const JANITOR: &[Task] = &[
    Task {
        name: "vacuum_staging",
        work: Work::OnDemand(Errand::only(janitor::vacuum_staging_statement)),
    },
    Task {
        name: "vacuum_rejected",
        work: Work::OnDemand(Errand::only(janitor::vacuum_rejected_statement)),
    },
    Task {
        name: "retire_partition",
        work: Work::OnDemand(Errand {
            prepare: janitor::retire_statement,
            finish: Some(janitor::retired),
            failed: Some(janitor::not_retired),
        }),
    },
    Task {
        name: "seal_partition",
        work: Work::OnDemand(Errand {
            prepare: janitor::seal_statement,
            finish: Some(janitor::seal_vacuumed),
            failed: Some(janitor::not_sealed),
        }),
    },
    Task {
        name: "analyze_facts",
        work: Work::OnDemand(Errand::only(janitor::analyze_statement)),
    },
    Task {
        name: "build_index",
        work: Work::OnDemand(Errand::only(fact_index::next_statement)),
    },
    Task {
        name: "expire_readings",
        work: Work::InSteps(upkeep::expire_step),
    },
    Task {
        name: "rewrite_partition",
        work: Work::InSteps(upkeep::rewrite_step),
    },
    Task {
        name: "archive_partition",
        work: Work::InSteps(upkeep::archive_step),
    },
    Task {
        name: "build_attributes",
        work: Work::OnDemand(Errand::only(promotion::build_statement)),
    },
];

/// What has no place on the board would run unseen.
const _: () = assert!(KEEPER.len() <= KEEPER_TASKS && JANITOR.len() <= JANITOR_TASKS);

/// Places among the tasks of the janitor.
pub const VACUUM_STAGING: u8 = 0;
pub const VACUUM_REJECTED: u8 = 1;
pub const RETIRE: u8 = 2;
pub const SEAL: u8 = 3;
pub const ANALYZE: u8 = 4;
pub const BUILD_INDEX: u8 = 5;
pub const EXPIRE: u8 = 6;
pub const REWRITE: u8 = 7;
pub const ARCHIVE: u8 = 8;
pub const BUILD: u8 = 9;

/// How long a statement of the janitor may wait for a lock, where that is not as long as all others, and how long it may take in
/// all. An index in the making holds up nobody while it waits, and loses all its work when it gives up.
pub fn patience(task: u8) -> Option<(Duration, Duration)> {
    (task == BUILD_INDEX).then_some((Duration::from_secs(600), Duration::from_secs(24 * 3600)))
}

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
                .map(|reason| format!("{} rows wait: {reason}", flushed.waiting))
                .or(flushed.complaint),
            hindrance,
        })
    })
}

/// A run failed and was rolled back; whether it is worth another try, at once and with care.
pub fn try_with_care(role: Role, failure: &Failure) -> bool {
    let is_flusher = matches!(role, Role::Flusher(_));
    is_flusher && COURSE.with_borrow_mut(|course| course.stumbled(&failure.sqlstate))
}

/// What failed a moment ago may work by now, before the last flush for example.
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
        assert_eq!(JANITOR[usize::from(SEAL)].name, "seal_partition");
        assert_eq!(JANITOR[usize::from(ANALYZE)].name, "analyze_facts");
        assert_eq!(JANITOR[usize::from(BUILD_INDEX)].name, "build_index");
        assert_eq!(JANITOR[usize::from(EXPIRE)].name, "expire_readings");
        assert_eq!(JANITOR[usize::from(REWRITE)].name, "rewrite_partition");
        assert_eq!(JANITOR[usize::from(ARCHIVE)].name, "archive_partition");
        assert_eq!(JANITOR[usize::from(BUILD)].name, "build_attributes");
    }
}
