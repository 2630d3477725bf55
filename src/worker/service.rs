//! The life of one worker of a database: takes its place on the board, connects, becomes telemetry_owner, and runs its tasks
//! until there is nothing left to serve.

use std::time::{Duration, Instant};

use super::board::{Job, Presence, Role};
use super::hold;
use super::place::{call_it_done, leave_place, notices, probe, take_place};
use super::readiness;
use super::schedule::{Entry, LogGate, Now};
use super::task::{self, Context, Errand, Failed, Run, Step, Steps, Task, Work, tasks_of, try_with_care};
use super::upkeep;
use crate::error::Error;
use crate::guc;
use crate::installed::Installed;
use crate::pg::xact::{self, Failure};
use crate::pg::{activity, identity, lock, process, settings, signals, toplevel, worker};
use crate::shmem;
use crate::sql;
use crate::version;

/// Longest sleep: how soon a worker notices that the extension is gone.
const LONGEST_NAP: Duration = Duration::from_secs(1);

/// A janitor without a job leaves after this time and frees its slot.
const JANITOR_LINGERS: Duration = Duration::from_secs(60);

/// Longest time for one job of the janitor.
const JOB_LIMIT: Duration = Duration::from_secs(3600);

/// How long one job of the janitor goes on while others wait.
const JOB_TURN: Duration = Duration::from_secs(10);

/// How long it is taken for granted that no restore has begun.
const READY_FOR: Duration = Duration::from_secs(5);

pub fn run(database: u32, role: Role) {
    signals::install(match role {
        Role::Flusher(_) | Role::Keeper => signals::Stop::InItsOwnWay,
        _ => signals::Stop::AtOnce,
    });
    if !take_place(database, role) {
        return;
    }
    worker::at_exit(leave_place);
    worker::connect(database);
    settings::pin();
    activity::set_application_name("pg_telemetry");

    if role == Role::Probe {
        if probe(database) {
            call_it_done(database, role);
        }
        return;
    }
    let mut service = Service::new(database, role);
    match xact::attempt(guc::task_timeout(), identity::owner) {
        Ok(owner) => identity::become_for_good(owner),
        Err(failure) => return service.record_failure(0, Duration::ZERO, &failure, Duration::ZERO),
    }
    service.live();
    call_it_done(database, role);
}

/// What came of a run.
pub enum Outcome<T> {
    Done(T),
    Waiting(String),
    /// The extension is not there.
    Gone,
}

pub struct Service {
    pub database: u32,
    pub role: Role,
    pub born: Instant,
    pub tasks: Vec<(&'static Task, Entry, LogGate)>,
    installed: Option<Installed>,
    ready_until: Option<Instant>,
    last_job: Instant,
    /// How many transactions had ended when a task began that found nothing to do, and until when that counts.
    idle_since: Option<(u64, Instant)>,
}

impl Service {
    pub fn new(database: u32, role: Role) -> Self {
        let tasks = tasks_of(role)
            .iter()
            .map(|task| (task, Entry::default(), LogGate::default()))
            .collect();
        Service {
            database,
            role,
            born: Instant::now(),
            tasks,
            installed: None,
            ready_until: None,
            last_job: Instant::now(),
            idle_since: None,
        }
    }

    pub fn now(&self) -> Now {
        self.born.elapsed()
    }

    /// A keeper that waits for locks writes no heartbeat meanwhile.
    pub fn lock_timeout(&self) -> Duration {
        match self.role {
            Role::Keeper => guc::lock_timeout().min(guc::heartbeat_interval() / 2),
            _ => guc::lock_timeout(),
        }
    }

    fn live(&mut self) {
        settings::set_lock_timeout(self.lock_timeout());
        while self.may_go_on() {
            if signals::reload_if_asked() {
                self.take_new_settings();
            }
            if signals::stop_requested() {
                if matches!(self.role, Role::Flusher(_)) {
                    // The signal that asked may still be about to cancel something; not this.
                    signals::absorb_interrupts();
                    self.last_flush();
                    self.last_words();
                }
                return;
            }
            let go_on = match self.role {
                Role::Janitor => self.do_jobs(),
                _ => self.run_due(),
            };
            if !go_on {
                return;
            }
            activity::idle();
            signals::wait(self.nap());
            self.idle_on();
        }
    }

    /// Whether there is something to serve, and this process is the one that serves it: two that started at the same moment
    /// may both have taken the place. The launcher starts a worker again when that changes.
    fn may_go_on(&self) -> bool {
        let wanted = match self.role {
            Role::Flusher(number) => usize::from(number) < guc::flush_workers(),
            Role::Janitor => self.last_job.elapsed() < JANITOR_LINGERS,
            _ => true,
        };
        let serving = shmem::look(|board| {
            board
                .database(self.database)
                .filter(|known| known.workers[self.role.index()].pid == process::my_pid())
                .is_some_and(|known| known.presence != Presence::Absent && !hold::is_held(known))
        });
        wanted && guc::background_workers() && serving == Some(true)
    }

    pub fn take_new_settings(&mut self) {
        settings::set_lock_timeout(self.lock_timeout());
        self.idle_since = None;
        let now = self.now();
        for (_, entry, _) in &mut self.tasks {
            entry.reload(now);
        }
    }

    pub fn nap(&self) -> Duration {
        let now = self.now();
        self.tasks
            .iter()
            .filter(|(task, ..)| matches!(task.work, Work::Periodic { .. }))
            .map(|(_, entry, _)| entry.wait(now))
            .fold(LONGEST_NAP, Duration::min)
    }

    /// Runs what is due; false when the extension is gone.
    pub fn run_due(&mut self) -> bool {
        for index in 0..self.tasks.len() {
            // The first one is punctual: it does not wait until all the others had their turn.
            let punctual = index == 0 || self.run_if_due(0);
            if !(punctual && self.run_if_due(index)) {
                return false;
            }
        }
        true
    }

    pub fn run_if_due(&mut self, index: usize) -> bool {
        let (task, entry, _) = &mut self.tasks[index];
        let Work::Periodic { every, run } = task.work else {
            return true;
        };
        let now = self.born.elapsed();
        if !entry.is_due(now) {
            return true;
        }
        entry.begin(now, every());
        self.run_periodic(index, every(), run)
    }

    /// As long as nobody has written anything since a look that found nothing to do, looking again is in vain.
    fn idle_on(&self) {
        let every = self.tasks.iter().filter_map(|(task, ..)| match task.work {
            Work::Periodic { every, .. } => Some(every()),
            Work::OnDemand(_) | Work::InSteps(_) => None,
        });
        let nap = every.fold(LONGEST_NAP, Duration::min);
        while self.is_idle() && !signals::asks_for_attention() {
            signals::wait(nap);
        }
    }

    fn is_idle(&self) -> bool {
        self.idle_since
            .is_some_and(|(completed, until)| completed == xact::completed() && Instant::now() < until)
    }

    fn run_periodic(&mut self, index: usize, every: Duration, run: Run) -> bool {
        let completed = xact::completed();
        let start = self.begin(index);
        let mut outcome = self.in_transaction(guc::task_timeout(), run);
        if let Err(failure) = &outcome
            && try_with_care(self.role, failure)
        {
            outcome = self.in_transaction(guc::task_timeout(), run);
        }
        self.idle_since = None;
        match outcome {
            Ok(Outcome::Gone) => return self.leave_for_good(),
            Ok(Outcome::Done(report)) => {
                let now = self.now();
                let (_, entry, gate) = &mut self.tasks[index];
                entry.succeeded();
                if report.again {
                    entry.again(now);
                } else if report.waiting.is_some() && !report.waits_cheaply {
                    entry.rest(now, start.elapsed());
                } else if report.moved {
                    entry.hurry(now, every, start.elapsed());
                }
                match &report.hindrance {
                    Some(hindrance) => self.record_hindrance(index, start.elapsed(), &report, hindrance),
                    None => {
                        gate.reset();
                        self.record_success(index, start.elapsed(), report.waiting.as_deref());
                    }
                }
                if report.idle {
                    self.idle_since = Some((completed, Instant::now() + LONGEST_NAP));
                }
            }
            Ok(Outcome::Waiting(reason)) => {
                let now = self.now();
                self.tasks[index].1.look_again(now);
                self.record_success(index, start.elapsed(), Some(&reason));
            }
            Err(failure) => {
                let now = self.now();
                let wait = self.tasks[index]
                    .1
                    .failed(now, every, &failure.sqlstate, jitter());
                self.record_failure(index, start.elapsed(), &failure, wait);
            }
        }
        true
    }

    /// Runs the jobs that wait; false when the extension is gone.
    pub fn do_jobs(&mut self) -> bool {
        while let Some(job) = shmem::change_database(self.database, |known| known.take_job()).flatten() {
            let index = usize::from(job.task);
            let Some(work) = self.tasks.get(index).map(|(task, ..)| &task.work) else {
                continue;
            };
            let start = self.begin(index);
            let (outcome, failed) = match work {
                Work::OnDemand(errand) => (self.do_job(job, *errand), errand.failed),
                Work::InSteps(steps) => (self.do_steps(job, *steps), Some(upkeep::failed as Failed)),
                Work::Periodic { .. } => continue,
            };
            match outcome {
                Ok(Outcome::Gone) => return self.leave_for_good(),
                Ok(Outcome::Waiting(reason)) => self.record_success(index, start.elapsed(), Some(&reason)),
                Ok(Outcome::Done(())) => {
                    self.tasks[index].2.reset();
                    self.record_success(index, start.elapsed(), None);
                }
                Err(failure) => {
                    if let Some(failed) = failed {
                        // What cannot be noted is on the board all the same.
                        let noted = self.in_transaction(guc::task_timeout(), |context| {
                            failed(context, job.relation, &failure)
                        });
                        if let Err(unnoted) = noted {
                            pgrx::log!(
                                "pg_telemetry {}: cannot note a failure: {} ({})",
                                self.role.label(),
                                unnoted.message,
                                unnoted.sqlstate
                            );
                        }
                    }
                    self.record_failure(index, start.elapsed(), &failure, Duration::ZERO);
                }
            }
            activity::idle();
            self.last_job = Instant::now();
        }
        true
    }

    fn do_job(&mut self, job: Job, errand: Errand) -> Result<Outcome<()>, Failure> {
        let prepared = self.in_transaction(guc::task_timeout(), |context| {
            (errand.prepare)(context, job.relation)
        })?;
        Ok(match prepared {
            Outcome::Done(Some(text)) => {
                let (for_locks, in_all) =
                    task::patience(job.task).unwrap_or((self.lock_timeout(), JOB_LIMIT));
                settings::set_lock_timeout(for_locks);
                let outcome = noting_cancels(in_all, || toplevel::run(&text, in_all));
                settings::set_lock_timeout(self.lock_timeout());
                outcome?;
                match errand.finish {
                    Some(finish) => {
                        self.in_transaction(JOB_LIMIT, |context| finish(context, job.relation))?
                    }
                    None => Outcome::Done(()),
                }
            }
            Outcome::Done(None) => Outcome::Done(()),
            Outcome::Waiting(reason) => Outcome::Waiting(reason),
            Outcome::Gone => Outcome::Gone,
        })
    }

    /// A job that is not done in a while goes to the end of the queue, so that others get their turn.
    fn do_steps(&mut self, job: Job, steps: Steps) -> Result<Outcome<()>, Failure> {
        let begun = Instant::now();
        let mut first = true;
        loop {
            let start = Instant::now();
            let step = self.in_transaction(JOB_LIMIT, |context| steps(context, job.relation, first))?;
            first = false;
            match step {
                Outcome::Done(Step::Again) if begun.elapsed() > JOB_TURN || !guc::background_workers() => {
                    shmem::change_database(self.database, |known| known.request(job));
                    return Ok(Outcome::Done(()));
                }
                // Others have the disk for as long as we had it.
                Outcome::Done(Step::Again) => signals::wait(start.elapsed().min(LONGEST_NAP)),
                Outcome::Done(Step::Statement(text)) => {
                    noting_cancels(JOB_LIMIT, || toplevel::run(&text, JOB_LIMIT))?;
                }
                Outcome::Done(Step::Done) => return Ok(Outcome::Done(())),
                Outcome::Done(Step::Waits(reason)) | Outcome::Waiting(reason) => {
                    return Ok(Outcome::Waiting(reason));
                }
                Outcome::Gone => return Ok(Outcome::Gone),
            }
            signals::reload_if_asked();
        }
    }

    /// Runs `body` in its own transaction, with the extension locked against DROP and nobody able to change the role.
    pub fn in_transaction<T>(
        &mut self,
        limit: Duration,
        body: impl FnOnce(&Context) -> Result<T, Error>,
    ) -> Result<Outcome<T>, Failure> {
        let known = self.installed.take();
        let check_restore = self.ready_until.is_none_or(|until| until < Instant::now());
        let database = self.database;
        let in_transaction = || {
            let last = known.as_ref().map(|known| known.extension);
            let Some(extension) = last.or_else(lock::extension_oid) else {
                return Ok((None, Outcome::Gone));
            };
            let altered = || {
                Ok((
                    None,
                    Outcome::Waiting("the extension is being dropped or altered".into()),
                ))
            };
            if !lock::keep_extension(extension) {
                return altered();
            }
            // After the lock it is looked up: it may have been dropped and made anew before.
            let Some(installed) = Installed::find()? else {
                return Ok((None, Outcome::Gone));
            };
            if installed.extension != extension {
                return altered();
            }
            xact::with_snapshot(|| {
                version::check(&installed.version)?;
                if known.as_ref() != Some(&installed) {
                    sql::forget();
                }
                if (check_restore || known.as_ref() != Some(&installed))
                    && let Some(reason) = readiness::waits_for(&installed)?
                {
                    return Ok((None, Outcome::Waiting(format!("waits for {reason}"))));
                }
                let context = Context {
                    installed: &installed,
                    database,
                };
                let value = settings::undone_after(|| identity::restricted(|| body(&context)))?;
                Ok((Some(installed), Outcome::Done(value)))
            })
        };
        let (installed, outcome) = noting_cancels(limit, || xact::attempt(limit, in_transaction))?;
        if check_restore {
            self.ready_until = installed.is_some().then(|| Instant::now() + READY_FOR);
        }
        self.installed = installed;
        Ok(outcome)
    }

    /// The extension is not there any more: say so, unless somebody made it anew meanwhile, and end.
    fn leave_for_good(&self) -> bool {
        let notices = notices(self.database);
        if let Ok(None) = xact::attempt(Duration::from_secs(10), || Ok(lock::extension_oid())) {
            shmem::change(|board| board.saw(self.database, notices, Presence::Absent));
        }
        false
    }
}

/// Runs something that goes on for at most `limit`, and notes if somebody cancelled it before.
fn noting_cancels<T>(limit: Duration, body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let began = Instant::now();
    let outcome = body();
    if outcome.as_ref().is_err_and(|failure| failure.sqlstate == "57014") && began.elapsed() < limit {
        signals::note_cancelled();
    }
    outcome
}

/// Between 0 and 1. Any scatter will do.
fn jitter() -> f64 {
    f64::from(process::now().rem_euclid(997) as i32) / 997.0
}
