//! `run_worker()`: a session does what a worker would, for a while. A scheduler calls it where nothing is preloaded. It is the code of
//! the workers that runs, between transactions of its own, with a board that only this session sees; what became of its tasks it
//! writes into `worker_runs`.

use std::time::{Duration, Instant};

use pgrx::datum::Interval;
use pgrx::prelude::*;

use super::board::{Database, ROLES, Role};
use super::runs::Keeping;
use super::service::Service;
use super::task::{self, tasks_of};
use crate::argument;
use crate::error::Error;
use crate::guc;
use crate::installed::Installed;
use crate::pg::lock::SessionLock;
use crate::pg::procedure::{self, Call};
use crate::pg::{activity, identity, process, settings, signals, xact};
use crate::registry::required;
use crate::shmem;

const NAME: &str = "run_worker()";

/// What the keeper does to find work for the janitor.
const FINDS_JOBS: [&str; 5] = [
    "rotate",
    "sweep_staging",
    "trim_rejected",
    "look_at_indexes",
    "watch_builds",
];

/// Longest wait, so that a new job or a reload of the settings is noticed.
const NAP: Duration = Duration::from_secs(1);

/// After some jobs, before the next look for others.
const SOON_AGAIN: Duration = Duration::from_secs(2);

procedure::declare!(void run_worker_wrapper, pg_finfo_run_worker_wrapper, |call| {
    let worker = call.argument::<String>(0);
    let wanted = Worker::named(required(worker.as_deref(), "worker")?)?;
    let limit = argument::duration("how_long", call.argument::<Interval>(1))?;
    run(call, wanted, limit)
});

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worker {
    Flusher,
    Keeper,
    Janitor,
}

impl Worker {
    fn named(name: &str) -> Result<Worker, Error> {
        match name {
            "flusher" => Ok(Worker::Flusher),
            "keeper" => Ok(Worker::Keeper),
            "janitor" => Ok(Worker::Janitor),
            _ => Err(Error::InvalidText {
                argument: "worker",
                fault: format!("there is no \"{name}\"; there are flusher, keeper and janitor"),
            }),
        }
    }

    /// Those of which this session may be one.
    fn roles(self) -> Vec<Role> {
        match self {
            Worker::Flusher => (0..guc::flush_workers())
                .filter_map(|number| u8::try_from(number).ok())
                .map(Role::Flusher)
                .collect(),
            Worker::Keeper => vec![Role::Keeper],
            Worker::Janitor => vec![Role::Janitor],
        }
    }
}

fn run(call: &Call, wanted: Worker, limit: Duration) -> Result<(), Error> {
    xact::check_writable()?;
    let installed = Installed::require()?;
    let owner = identity::owner()?;
    if !guc::background_workers() {
        notice!("pg_telemetry.background_workers is off, so nothing is done");
        return Ok(());
    }
    if shmem::is_available() {
        notice!("pg_telemetry is preloaded: its workers do this, and the schedule is needed no more");
        return Ok(());
    }
    let mut free = wanted.roles().into_iter().filter_map(|role| {
        let lock = SessionLock::try_take(installed.extension, u16::try_from(role.index() + 1).ok()?)?;
        Some((role, lock))
    });
    let Some((role, lock)) = free.next() else {
        notice!("another session is at it, so nothing is done");
        return Ok(());
    };
    let database = process::my_database();
    let ended = call.outside_of_transactions(NAME, || {
        let _statement = activity::InStatement::begin();
        let _board = shmem::OwnBoard::of(database);
        let _settings = settings::Pinned::for_a_while();
        let _identity = identity::Meanwhile::acting_as(owner);
        serve(database, role, limit)
    });
    drop(lock);
    ended?
}

/// Ends with the error of a task that has failed and not worked since, so that whoever scheduled this is told.
fn serve(database: u32, role: Role, limit: Duration) -> Result<(), Error> {
    let began = Instant::now();
    let mut worker = Service::new(database, role);
    // The janitor has nobody to tell it what to do.
    let mut finder = (role == Role::Janitor).then(|| Service::new(database, Role::Keeper));
    let mut keeping = Keeping::of(role);
    settings::set_lock_timeout(worker.lock_timeout());
    // What failed in an earlier call may work by now.
    task::insist();
    signals::was_cancelled();
    let mut found = None;
    keeping.write(&mut worker, true);
    loop {
        if signals::reload_if_asked() {
            worker.take_new_settings();
            if let Some(finder) = &mut finder {
                finder.take_new_settings();
            }
        }
        let go_on = match &mut finder {
            Some(finder) => find_jobs(finder, &mut found) && worker.do_jobs(),
            None => worker.run_due(),
        };
        activity::idle();
        let left = limit.saturating_sub(began.elapsed());
        let cancelled = signals::was_cancelled();
        if !go_on || cancelled || left.is_zero() || !guc::background_workers() {
            keeping.write(&mut worker, true);
            return match (cancelled, first_failing(database)) {
                (true, _) => Err(Error::Cancelled),
                (false, Some(failed)) => Err(failed),
                (false, None) => Ok(()),
            };
        }
        keeping.write(&mut worker, false);
        signals::wait(worker.nap().min(NAP).min(left));
    }
}

/// Looks for jobs, and soon again once some were found: each may be the first step of several. False when the extension is gone.
fn find_jobs(finder: &mut Service, found: &mut Option<Instant>) -> bool {
    if found.is_some_and(|found| found.elapsed() > SOON_AGAIN) {
        *found = None;
        finder.take_new_settings();
    }
    let tasks = tasks_of(Role::Keeper).iter().enumerate();
    let mut wanted = tasks.filter(|(_, task)| FINDS_JOBS.contains(&task.name));
    let there = wanted.all(|(index, _)| finder.run_if_due(index));
    let has_jobs = shmem::look(|board| board.database(finder.database).is_some_and(Database::has_jobs));
    if has_jobs == Some(true) {
        *found = Some(Instant::now());
    }
    there
}

fn first_failing(database: u32) -> Option<Error> {
    let known = shmem::look(|board| board.database(database).copied()).flatten()?;
    let roles = (0..ROLES).filter_map(Role::from_index);
    let mut tasks = roles.flat_map(|role| {
        tasks_of(role)
            .iter()
            .enumerate()
            .map(move |(index, task)| (role, index, task))
    });
    tasks.find_map(|(role, index, task)| {
        let state = known
            .task(role, index)
            .filter(|state| state.consecutive_errors > 0)?;
        Some(Error::TaskFailed {
            worker: role.label(),
            task: task.name,
            sqlstate: state.sqlstate.get().unwrap_or_default(),
            message: state.message.get().unwrap_or_default(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_jobs_are_tasks_of_the_keeper() {
        let tasks: Vec<&str> = tasks_of(Role::Keeper).iter().map(|task| task.name).collect();
        assert!(FINDS_JOBS.iter().all(|name| tasks.contains(name)), "{tasks:?}");
    }
}
