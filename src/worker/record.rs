//! What a worker says on the board and in the server log about its runs.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::board::TaskState;
use super::service::Service;
use super::task::{Hindrance, Report};
use crate::pg::xact::Failure;
use crate::pg::{activity, process};
use crate::shmem;

impl Service {
    pub fn begin(&self, index: usize) -> Instant {
        activity::running(self.tasks[index].0.name);
        self.on_board(index, |task| task.begin(process::now()));
        Instant::now()
    }

    pub fn record_success(&self, index: usize, duration: Duration, waiting: Option<&str>) {
        self.on_board(index, |task| {
            task.succeed(process::now(), micros(duration), waiting)
        });
    }

    /// Part of the work could not be done: that is an error when it is met, and lasts as long as it is left alone.
    pub fn record_hindrance(
        &mut self,
        index: usize,
        duration: Duration,
        report: &Report,
        hindrance: &Hindrance,
    ) {
        let Hindrance {
            sqlstate, message, ..
        } = hindrance;
        if hindrance.met {
            self.record_error(index, duration, (sqlstate, message), hindrance.wait);
        }
        let waiting = report.waiting.as_deref().unwrap_or_default();
        self.on_board(index, |task| {
            task.hinder(process::now(), micros(duration), micros(hindrance.wait), waiting);
        });
    }

    pub fn record_failure(&mut self, index: usize, duration: Duration, failure: &Failure, wait: Duration) {
        self.record_error(index, duration, (&failure.sqlstate, &failure.message), wait);
    }

    fn record_error(&mut self, index: usize, duration: Duration, error: (&str, &str), wait: Duration) {
        let (sqlstate, message) = error;
        self.on_board(index, |task| {
            task.fail(process::now(), micros(duration), micros(wait), sqlstate, message);
        });
        let now = self.now();
        let (task, _, gate) = &mut self.tasks[index];
        if gate.admits(now, sqlstate) {
            log!(
                "pg_telemetry {}, task {}: {message} ({sqlstate})",
                self.role.label(),
                task.name
            );
        }
    }

    fn on_board(&self, index: usize, change: impl FnOnce(&mut TaskState)) {
        shmem::change_database(self.database, |known| {
            known.task_mut(self.role, index).map(change)
        });
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
