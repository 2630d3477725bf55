//! What became of the tasks that `run_worker()` ran: written into `worker_runs`, and read from there by `worker_status` where there is
//! no shared memory.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

use super::board::{Role, TaskState};
use super::service::Service;
use super::task::tasks_of;
use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Readable, Table};
use crate::pg::{identity, process};
use crate::shmem;
use crate::sql::{argument, read, value, write};

/// How often it is written while nothing goes wrong.
const EVERY: Duration = Duration::from_secs(10);

/// A minute between two calls of a scheduler, and one that is late.
const RECENT: i64 = 180 * 1_000_000;

/// What one call of `run_worker()` has written so far.
pub struct Keeping {
    role: Role,
    began: i64,
    written: Vec<TaskState>,
    last: Option<Instant>,
}

impl Keeping {
    pub fn of(role: Role) -> Keeping {
        Keeping {
            role,
            began: process::now(),
            written: vec![TaskState::NONE; tasks_of(role).len()],
            last: None,
        }
    }

    /// Writes what is new, if it is time to, or something began to fail or ceased to. What cannot be written now is written later.
    pub fn write(&mut self, service: &mut Service, at_once: bool) {
        let states = self.states(service.database);
        let turned = states
            .iter()
            .zip(&self.written)
            .any(|(now, before)| (now.consecutive_errors > 0) != (before.consecutive_errors > 0));
        let due = self.last.is_none_or(|last| last.elapsed() >= EVERY);
        if !(at_once || turned || due) {
            return;
        }
        self.last = Some(Instant::now());
        let written = service.in_transaction(guc::task_timeout(), |context| {
            self.write_into(context.installed, &states)
        });
        if written.is_ok() {
            self.written = states;
        }
    }

    fn states(&self, database: u32) -> Vec<TaskState> {
        let state = |index| {
            shmem::look(|board| board.database(database)?.task(self.role, index).copied())
                .flatten()
                .unwrap_or(TaskState::NONE)
        };
        (0..self.written.len()).map(state).collect()
    }

    fn write_into(&self, installed: &Installed, states: &[TaskState]) -> Result<(), Error> {
        if installed.table_oid(Table::WorkerRuns)?.is_none() {
            return Ok(());
        }
        let worker = self.role.label();
        let itself = TaskState {
            last_start: self.began,
            ..TaskState::NONE
        };
        upsert(installed, &worker, "", &itself, &TaskState::NONE)?;
        for (index, task) in tasks_of(self.role).iter().enumerate() {
            let (Some(now), Some(before)) = (states.get(index), self.written.get(index)) else {
                continue;
            };
            if now.last_start != 0 {
                upsert(installed, &worker, task.name, now, before)?;
            }
        }
        Ok(())
    }
}

/// Adds what has happened since `before`.
fn upsert(
    installed: &Installed,
    worker: &str,
    task: &str,
    now: &TaskState,
    before: &TaskState,
) -> Result<(), Error> {
    let text = format!(
        "INSERT INTO {} AS r (worker, task, last_start_at, last_success_at, last_duration_ms, runs, errors, consecutive_errors,
                              last_sqlstate, last_error, last_error_at, backoff_until, detail)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         ON CONFLICT (worker, task) DO UPDATE
         SET last_start_at = excluded.last_start_at, last_success_at = coalesce(excluded.last_success_at, r.last_success_at),
             last_duration_ms = excluded.last_duration_ms, runs = r.runs + excluded.runs, errors = r.errors + excluded.errors,
             consecutive_errors = CASE WHEN $4 IS NULL THEN r.consecutive_errors + excluded.errors ELSE excluded.consecutive_errors END,
             last_sqlstate = coalesce(excluded.last_sqlstate, r.last_sqlstate),
             last_error = coalesce(excluded.last_error, r.last_error),
             last_error_at = coalesce(excluded.last_error_at, r.last_error_at),
             backoff_until = excluded.backoff_until, detail = excluded.detail, seen_at = clock_timestamp()",
        installed.qualified(Table::WorkerRuns)
    );
    let count = |now: u64, before: u64| i64::try_from(now.saturating_sub(before)).unwrap_or(i64::MAX);
    let arguments = vec![
        argument(worker.to_owned()),
        argument(task.to_owned()),
        argument(time(now.last_start)),
        argument(time(now.last_success)),
        argument((now.last_duration_us != 0).then_some(now.last_duration_us as f64 / 1000.0)),
        argument(count(now.runs, before.runs)),
        argument(count(now.errors, before.errors)),
        argument(i32::try_from(now.consecutive_errors).unwrap_or(i32::MAX)),
        argument(now.sqlstate.get()),
        argument(now.message.get()),
        argument(time(now.last_error_at)),
        argument(time(now.backoff_until)),
        argument(now.waiting.get()),
    ];
    write(&text, arguments, |_| Ok(()))
}

fn time(at: i64) -> Option<TimestampWithTimeZone> {
    (at != 0)
        .then(|| TimestampWithTimeZone::try_from(at).ok())
        .flatten()
}

/// What is written about a task, or, by the name "", about the worker itself.
pub struct Written {
    pub state: TaskState,
    seen_at: i64,
}

impl Written {
    /// Whether a scheduler still calls it.
    pub fn is_recent(&self) -> bool {
        (process::now() - self.seen_at).abs() < RECENT
    }

    pub fn seen_at(&self) -> Option<TimestampWithTimeZone> {
        time(self.seen_at)
    }
}

/// Whether run_worker() is called in this database. Waits for nobody.
pub fn are_kept() -> bool {
    let any = || {
        let Some(installed) = Installed::find()? else {
            return Ok(None);
        };
        match installed.readable(Table::WorkerRuns)? {
            Readable::Yes => read(
                &format!(
                    "SELECT EXISTS (SELECT FROM {})",
                    installed.qualified(Table::WorkerRuns)
                ),
                vec![],
                value::<bool>,
            ),
            Readable::Missing | Readable::Locked => Ok(None),
        }
    };
    matches!(identity::as_owner(any), Ok(Some(true)))
}

pub type Runs = HashMap<(String, String), Written>;

/// All that is written; nothing with the tables of an older version, or while somebody keeps it locked.
pub fn written(installed: &Installed) -> Result<Runs, Error> {
    let mut found = Runs::new();
    if installed.readable(Table::WorkerRuns)? != Readable::Yes {
        return Ok(found);
    }
    let text = format!(
        "SELECT worker, task, last_start_at, last_success_at, last_duration_ms, runs, errors, consecutive_errors,
                last_sqlstate, last_error, last_error_at, backoff_until, detail, seen_at FROM {}",
        installed.qualified(Table::WorkerRuns)
    );
    read(&text, vec![], |rows| {
        for row in rows {
            let moment = |column: usize| -> Result<i64, Error> {
                Ok(row
                    .get::<TimestampWithTimeZone>(column)?
                    .map_or(0, pg_sys::TimestampTz::from))
            };
            let text = |column: usize| -> Result<String, Error> { Ok(row.get(column)?.unwrap_or_default()) };
            let count = |column: usize| -> Result<u64, Error> {
                Ok(u64::try_from(row.get::<i64>(column)?.unwrap_or(0)).unwrap_or(0))
            };
            let state = TaskState {
                running: false,
                last_start: moment(3)?,
                last_success: moment(4)?,
                last_duration_us: (row.get::<f64>(5)?.unwrap_or(0.0) * 1000.0) as i64,
                runs: count(6)?,
                errors: count(7)?,
                consecutive_errors: u32::try_from(row.get::<i32>(8)?.unwrap_or(0)).unwrap_or(0),
                last_error_at: moment(11)?,
                backoff_until: moment(12)?,
                sqlstate: super::board::Text::new(&text(9)?),
                message: super::board::Text::new(&text(10)?),
                waiting: super::board::Text::new(&text(13)?),
            };
            let written = Written {
                state,
                seen_at: moment(14)?,
            };
            found.insert((text(1)?, text(2)?), written);
        }
        Ok(())
    })?;
    Ok(found)
}
