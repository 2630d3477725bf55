//! The rows of `worker_status`: every worker and task that should be there, with what the board says about it.

use std::time::Duration;

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::accounting::pause;
use crate::error::Error;
use crate::guc;
use crate::installed::Installed;
use crate::pg::{identity, process, xact};
use crate::shmem;
use crate::version::{self, Match};
use crate::worker::board::{Board, Database, Presence, Process, Role, TaskState};
use crate::worker::runs::{self, Runs};
use crate::worker::task::{Task, Work, tasks_of};

type Time = Option<TimestampWithTimeZone>;

#[derive(Default)]
struct Row {
    worker: String,
    task: Option<String>,
    state: &'static str,
    pid: Option<i32>,
    started_at: Time,
    last_start_at: Time,
    last_success_at: Time,
    expected_every: Option<Interval>,
    last_duration_ms: Option<f64>,
    runs_total: Option<i64>,
    errors_total: Option<i64>,
    consecutive_errors: Option<i32>,
    last_sqlstate: Option<String>,
    last_error: Option<String>,
    last_error_at: Time,
    backoff_until: Time,
    restarts_total: Option<i64>,
    detail: Option<String>,
    hint: Option<String>,
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn worker_status_rows() -> Result<
    TableIterator<
        'static,
        (
            name!(worker, String),
            name!(task, Option<String>),
            name!(state, String),
            name!(pid, Option<i32>),
            name!(started_at, Time),
            name!(last_start_at, Time),
            name!(last_success_at, Time),
            name!(expected_every, Option<Interval>),
            name!(last_duration_ms, Option<f64>),
            name!(runs_total, Option<i64>),
            name!(errors_total, Option<i64>),
            name!(consecutive_errors, Option<i32>),
            name!(last_sqlstate, Option<String>),
            name!(last_error, Option<String>),
            name!(last_error_at, Time),
            name!(backoff_until, Time),
            name!(restarts_total, Option<i64>),
            name!(library_version, String),
            name!(sql_version, String),
            name!(detail, Option<String>),
            name!(hint, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let installed = Installed::find()?.ok_or(Error::NotInstalled)?;
    if !xact::in_recovery() {
        shmem::notice_if_unseen(process::my_database());
    }
    let sql_version = installed.version.clone();
    let rows = rows(&installed)?.into_iter().map(move |row| {
        (
            row.worker,
            row.task,
            row.state.to_owned(),
            row.pid,
            row.started_at,
            row.last_start_at,
            row.last_success_at,
            row.expected_every,
            row.last_duration_ms,
            row.runs_total,
            row.errors_total,
            row.consecutive_errors,
            row.last_sqlstate,
            row.last_error,
            row.last_error_at,
            row.backoff_until,
            row.restarts_total,
            version::LIBRARY.to_owned(),
            sql_version.clone(),
            row.detail,
            row.hint,
        )
    });
    Ok(TableIterator::new(rows.collect::<Vec<_>>()))
}

/// Why no worker can be expected to run.
struct Absence {
    state: &'static str,
    detail: &'static str,
    hint: Option<&'static str>,
}

const NOT_PRELOADED: &str = "not preloaded";
const SCHEDULED: &str = "scheduled";

fn absence() -> Option<Absence> {
    if xact::in_recovery() {
        return Some(Absence {
            state: "standby",
            detail: "workers run on the primary; they start here after a promotion",
            hint: None,
        });
    }
    if !shmem::is_available() {
        return Some(Absence {
            state: NOT_PRELOADED,
            detail: "the library is not in shared_preload_libraries, so there are no workers",
            hint: Some(
                "Add pg_telemetry to shared_preload_libraries and restart, or have pg_cron call run_worker().",
            ),
        });
    }
    if !guc::background_workers() {
        return Some(Absence {
            state: "stopped",
            detail: "pg_telemetry.background_workers is off",
            hint: Some("ALTER SYSTEM SET pg_telemetry.background_workers = on; SELECT pg_reload_conf();"),
        });
    }
    None
}

fn rows(installed: &Installed) -> Result<Vec<Row>, Error> {
    let absence = absence();
    if absence
        .as_ref()
        .is_some_and(|absence| absence.state == NOT_PRELOADED)
    {
        let runs = identity::as_owner(|| runs::written(installed))?;
        if !runs.is_empty() {
            return Ok(scheduled_rows(&runs));
        }
    }
    let oid = process::my_database();
    // Only copies are taken under the lock; rows, which allocate, are made after it.
    let (launcher, overflow, database) =
        shmem::look(|board: &Board| (Some(board.launcher), board.overflow, board.database(oid).copied()))
            .unwrap_or((None, 0, None));

    let mut rows = vec![launcher_row(launcher, overflow, absence.as_ref())];
    for role in roles() {
        let worker = worker_row(role, database.as_ref(), absence.as_ref(), installed);
        let alive = worker.pid.is_some();
        rows.push(worker);
        for (index, task) in tasks_of(role).iter().enumerate() {
            let state = database.as_ref().and_then(|database| database.task(role, index));
            rows.push(task_row(role, task, state, alive, absence.as_ref()));
        }
    }
    Ok(rows)
}

/// Where a scheduler calls run_worker() in the place of workers.
fn scheduled_rows(runs: &Runs) -> Vec<Row> {
    let mut rows = vec![Row {
        worker: "launcher".into(),
        state: SCHEDULED,
        detail: Some("the library is not preloaded; a scheduler calls run_worker()".into()),
        ..Row::default()
    }];
    for role in roles() {
        let label = role.label();
        let known = runs.get(&(label.clone(), String::new()));
        let recent = known.is_some_and(|known| known.is_recent());
        let mut row = Row {
            worker: label.clone(),
            state: SCHEDULED,
            last_start_at: known.and_then(|known| time(known.state.last_start)),
            last_success_at: known.and_then(|known| known.seen_at()),
            ..Row::default()
        };
        if !recent {
            let when = match known {
                Some(_) => "nobody has called run_worker() for it for minutes",
                None => "nobody has called run_worker() for it yet",
            };
            row.miss(
                when,
                "Look into cron.job and cron.job_run_details, or whatever else should call it.",
            );
        }
        rows.push(row);
        for task in tasks_of(role) {
            let state = runs
                .get(&(label.clone(), task.name.into()))
                .map(|known| &known.state);
            let mut row = task_row(role, task, state, true, None);
            if !recent {
                row.state = "missing";
            } else if row.state == "sleeping" {
                row.state = SCHEDULED;
            }
            rows.push(row);
        }
    }
    rows
}

fn roles() -> impl Iterator<Item = Role> {
    let flushers = (0..guc::flush_workers())
        .filter_map(|number| u8::try_from(number).ok())
        .map(Role::Flusher);
    flushers.chain([Role::Keeper, Role::Janitor])
}

fn launcher_row(process: Option<Process>, overflow: u32, absence: Option<&Absence>) -> Row {
    let mut row = Row {
        worker: "launcher".into(),
        ..process_columns(process)
    };
    // It runs also where the workers of databases are turned off.
    let absence = absence.filter(|absence| absence.state != "stopped");
    match (row.pid, absence) {
        (Some(_), _) => row.state = "sleeping",
        (None, Some(absence)) => row.blame(absence),
        (None, None) => row.miss(
            "the launcher is not running",
            "It is started again within a second; see the server log.",
        ),
    }
    if overflow > 0 {
        row.detail = Some(format!(
            "{overflow} databases have no place on the board and get no workers"
        ));
        row.hint = Some(
            "Databases without the extension make room by themselves. Until then call stage_flush() and rotate_partitions() there."
                .into(),
        );
    }
    row
}

fn worker_row(
    role: Role,
    database: Option<&Database>,
    absence: Option<&Absence>,
    installed: &Installed,
) -> Row {
    let process = database.map(|database| database.workers[role.index()]);
    let mut row = Row {
        worker: role.label(),
        ..process_columns(process)
    };
    match (row.pid, absence) {
        (Some(_), _) => {
            let running = (0..tasks_of(role).len())
                .any(|task| database.and_then(|d| d.task(role, task)).is_some_and(|task| task.running));
            row.state = if running { "running" } else { "sleeping" };
        }
        (None, Some(absence)) => row.blame(absence),
        (None, None) if role == Role::Janitor => {
            row.state = "on demand";
            row.detail = Some("runs when there is a job for it".into());
        }
        (None, None) => match database {
            Some(known) if known.short_of_workers => {
                row.miss("the server had no background worker slot for it", "Raise max_worker_processes and restart.")
            }
            Some(known) if known.presence == Presence::Installed => row.miss(
                "it is not running",
                "The launcher starts it again, ever later if it keeps failing; see its tasks and the server log.",
            ),
            _ => row.miss("the launcher has not looked at this database yet", "It looks within a second."),
        },
    }
    match version::compare(&installed.version) {
        Match::Same => {}
        Match::SqlOlder => {
            row.detail = row.detail.or(Some(
                "the SQL objects are older than the library; all works".into(),
            ));
            row.hint = row.hint.or(Some("ALTER EXTENSION pg_telemetry UPDATE;".into()));
        }
        Match::SqlNewer => {
            row.detail = Some("the library is older than the SQL objects, so no task runs".into());
            row.hint = Some("Install the newer library and restart the server.".into());
        }
    }
    row
}

fn task_row(
    role: Role,
    task: &Task,
    state: Option<&TaskState>,
    alive: bool,
    absence: Option<&Absence>,
) -> Row {
    let mut row = Row {
        worker: role.label(),
        task: Some(task.name.into()),
        ..Row::default()
    };
    if let Work::Periodic { every, .. } = task.work {
        row.expected_every = interval(every());
    }
    if let Some(state) = state {
        row.last_start_at = time(state.last_start);
        row.last_success_at = time(state.last_success);
        row.last_duration_ms = (state.last_start != 0).then_some(state.last_duration_us as f64 / 1000.0);
        row.runs_total = i64::try_from(state.runs).ok();
        row.errors_total = i64::try_from(state.errors).ok();
        row.consecutive_errors = i32::try_from(state.consecutive_errors).ok();
        row.last_sqlstate = state.sqlstate.get();
        row.last_error = state.message.get();
        row.last_error_at = time(state.last_error_at);
        row.backoff_until = time(state.backoff_until);
        row.detail = state.waiting.get();
    }
    row.state = match (state, absence) {
        (Some(state), None) if alive && state.running => "running",
        (Some(state), None) if state.consecutive_errors > 0 && matches!(task.work, Work::Periodic { .. }) => {
            row.hint = Some("See last_error; it is tried again at backoff_until.".into());
            "backoff"
        }
        (_, Some(absence)) => absence.state,
        (_, None) if !matches!(task.work, Work::Periodic { .. }) => "on demand",
        (_, None) if !alive => "missing",
        (_, None) if row.detail.as_deref().is_some_and(pause::is_meant) => {
            row.hint = Some("SELECT resume();".into());
            "paused"
        }
        (_, None) if row.detail.is_some() => "waiting",
        (_, None) => "sleeping",
    };
    row
}

impl Row {
    fn blame(&mut self, absence: &Absence) {
        self.state = absence.state;
        self.detail = Some(absence.detail.into());
        self.hint = absence.hint.map(Into::into);
    }

    fn miss(&mut self, detail: &str, hint: &str) {
        self.state = "missing";
        self.detail = Some(detail.into());
        self.hint = Some(hint.into());
    }
}

fn process_columns(process: Option<Process>) -> Row {
    let Some(process) = process else {
        return Row::default();
    };
    let alive = process::is_alive(process.pid);
    Row {
        pid: alive.then_some(process.pid),
        started_at: time(process.started_at).filter(|_| alive),
        restarts_total: Some(i64::from(process.starts.saturating_sub(1))),
        ..Row::default()
    }
}

fn time(at: i64) -> Time {
    (at != 0)
        .then(|| TimestampWithTimeZone::try_from(at).ok())
        .flatten()
}

fn interval(duration: Duration) -> Option<Interval> {
    Interval::from_micros(i64::try_from(duration.as_micros()).ok()?).into()
}
