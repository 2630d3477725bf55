//! What flushes learn from one another: which tables could not be written a moment ago, and until when they are left alone.
//! A worker keeps it from run to run; a call of stage_flush() has one of its own. Pure: the clock is an argument.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use super::blame::{Blame, blame};
use super::kept::Kept;
use crate::pg::xact::Failure;
use crate::worker::schedule;

/// Why a table could not be written.
#[derive(Debug, Clone)]
pub struct Obstacle {
    pub table: String,
    pub failure: Failure,
    failures: u32,
    until: i64,
}

impl Obstacle {
    pub fn reason(&self) -> String {
        format!(
            "{}: {} ({})",
            self.table, self.failure.message, self.failure.sqlstate
        )
    }

    /// As an error for whoever asked for the flush.
    pub fn as_error(&self) -> Failure {
        let mut failure = self.failure.clone();
        let what = format!("{} cannot be written; its rows wait in staging.", self.table);
        failure.detail = Some(match failure.detail {
            Some(detail) => format!("{detail}\n{what}"),
            None => what,
        });
        failure
    }

    /// How long the table is left alone from `now` on.
    pub fn wait(&self, now: i64) -> Duration {
        Duration::from_micros(u64::try_from(self.until.saturating_sub(now)).unwrap_or(0))
    }
}

/// Tables are known by their oids.
#[derive(Debug, Default)]
pub struct Course {
    obstacles: BTreeMap<u32, Obstacle>,
    /// The flush shall go in small steps, each of which can be undone.
    careful: bool,
    /// This flush met a fault that the next one is likely to meet as well.
    met: Option<u32>,
    refused: bool,
    /// The partition that is being written. After an error it says which one it was.
    writing: Cell<Option<u32>>,
    /// A table beside staging and facts that this flush could not write; the rest of the flush went on.
    beside: RefCell<Option<(u32, Failure)>>,
    /// What is wrong with the projection, and was left as it is.
    complaint: RefCell<Option<String>>,
    /// Whether this flush writes documents, once it has been asked.
    projects: Cell<Option<bool>>,
    /// Bad rows that wait for the table of the rejected ones.
    pub kept: Kept,
    now: i64,
}

impl Course {
    /// To be called at the start of each flush. A table whose time has come is tried again, with care.
    pub fn begin(&mut self, now: i64) {
        self.now = now;
        self.met = None;
        self.refused = false;
        self.writing.set(None);
        self.beside.take();
        self.complaint.take();
        self.projects.set(None);
        self.careful |= self.obstacles.values().any(|obstacle| obstacle.until <= now);
    }

    /// There may be no later flush: nothing is left alone any more.
    pub fn insist(&mut self) {
        for obstacle in self.obstacles.values_mut() {
            obstacle.until = i64::MIN;
        }
    }

    /// To be called at the end of a flush that did what it could: what was tried and did not fail again is well.
    pub fn end(&mut self) {
        let now = self.now;
        self.obstacles.retain(|_, obstacle| obstacle.until > now);
        self.careful = self.met.is_some() || self.refused;
    }

    pub fn is_careful(&self) -> bool {
        self.careful
    }

    pub fn is_left_alone(&self, table: u32) -> bool {
        let stumbled_over = self
            .beside
            .borrow()
            .as_ref()
            .is_some_and(|(met, _)| *met == table);
        stumbled_over
            || self
                .obstacles
                .get(&table)
                .is_some_and(|obstacle| obstacle.until > self.now)
    }

    /// A table beside staging and facts could not be written, and what was to go there waits elsewhere.
    pub fn passes_by(&self, table: u32, failure: Failure) {
        self.beside.replace(Some((table, failure)));
    }

    /// The table that was passed by, once; `meet` is to be told.
    pub fn passed_by(&self) -> Option<(u32, Failure)> {
        self.beside.take()
    }

    /// Decided once, so that all batches of a flush go the same way.
    pub fn projects(&self, decide: impl FnOnce() -> bool) -> bool {
        let decided = self.projects.get().unwrap_or_else(decide);
        self.projects.set(Some(decided));
        decided
    }

    /// Something is wrong that no waiting will mend. The first counts.
    pub fn complain(&self, what: impl FnOnce() -> String) {
        self.complaint.borrow_mut().get_or_insert_with(what);
    }

    pub fn complaint(&self) -> Option<String> {
        self.complaint.borrow().clone()
    }

    /// A flush that was not careful failed, and was undone; whether it is worth trying again with care, at once.
    pub fn stumbled(&mut self, sqlstate: &str) -> bool {
        !std::mem::replace(&mut self.careful, true) && blame(sqlstate) != Blame::Caller
    }

    /// A table could not be written. `jitter` is between 0 and 1.
    pub fn meet(&mut self, table: u32, name: String, failure: &Failure, jitter: f64) {
        let failures = self.obstacles.get(&table).map_or(0, |known| known.failures) + 1;
        let wait = schedule::wait_after(failures, &failure.sqlstate, jitter);
        let obstacle = Obstacle {
            table: name,
            failure: failure.clone(),
            failures,
            until: self
                .now
                .saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)),
        };
        self.obstacles.insert(table, obstacle);
        self.met = Some(table);
    }

    /// Rows were refused by facts: more are likely to come.
    pub fn refused(&mut self) {
        self.refused = true;
    }

    /// What stands in the way: the last that this flush met, or one that was met before and is left alone.
    pub fn obstacle(&self) -> Option<&Obstacle> {
        match self.met {
            Some(table) => self.obstacles.get(&table),
            None => self.obstacles.values().next(),
        }
    }

    /// This flush itself met something, and did not only leave it alone.
    pub fn met_something(&self) -> bool {
        self.met.is_some()
    }

    pub fn writes(&self, partition: Option<u32>) {
        self.writing.set(partition);
    }

    pub fn was_writing(&self) -> Option<u32> {
        self.writing.get()
    }
}

#[cfg(test)]
mod tests {
    use pgrx::prelude::PgSqlErrorCode;

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn meet(course: &mut Course, table: u32, sqlstate: &str) {
        let failure = Failure {
            code: PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            sqlstate: sqlstate.to_owned(),
            message: "in the way".to_owned(),
            detail: None,
            hint: None,
        };
        course.meet(table, format!("t{table}"), &failure, 0.0);
    }

    #[test]
    fn a_table_that_failed_is_left_alone_ever_longer_and_then_tried_with_care() {
        let mut course = Course::default();
        let mut now = 0;
        for seconds in [1, 2, 4, 5, 5] {
            course.begin(now);
            meet(&mut course, 1, "55P03");
            course.end();
            course.begin(now + seconds * SECOND - 1);
            assert!(course.is_left_alone(1) && !course.is_left_alone(2));
            course.end();
            assert!(!course.is_careful());
            now += seconds * SECOND;
            course.begin(now);
            assert!(!course.is_left_alone(1) && course.is_careful());
        }
    }

    #[test]
    fn what_is_tried_and_does_not_fail_again_is_forgotten() {
        let mut course = Course::default();
        course.begin(0);
        meet(&mut course, 1, "53100");
        meet(&mut course, 2, "53100");
        course.end();
        assert!(course.is_careful() && course.met_something());
        course.begin(1);
        course.end();
        assert!(!course.met_something());
        assert_eq!(
            course.obstacle().map(Obstacle::reason).as_deref(),
            Some("t1: in the way (53100)")
        );
        course.begin(SECOND);
        meet(&mut course, 2, "53100");
        course.end();
        assert_eq!(course.obstacles.len(), 1);
        assert_eq!(course.obstacle().map(|met| met.wait(SECOND).as_secs()), Some(2));
        course.begin(3 * SECOND);
        course.end();
        assert_eq!((course.obstacles.len(), course.is_careful()), (0, false));
    }

    #[test]
    fn the_last_flush_tries_what_is_left_alone() {
        let mut course = Course::default();
        course.begin(0);
        meet(&mut course, 1, "53100");
        course.end();
        course.insist();
        course.begin(1);
        assert!(!course.is_left_alone(1) && course.is_careful());
    }

    #[test]
    fn only_a_hasty_flush_that_may_go_on_is_tried_again() {
        let mut course = Course::default();
        assert!(course.stumbled("23514"));
        assert!(!course.stumbled("23514"));
        let mut course = Course::default();
        assert!(!course.stumbled("57014"));
        assert!(course.is_careful());
    }

    #[test]
    fn refused_rows_make_the_next_flush_careful_and_a_good_one_ends_that() {
        let mut course = Course::default();
        course.begin(0);
        course.refused();
        course.end();
        assert!(course.is_careful());
        course.begin(1);
        course.end();
        assert!(!course.is_careful());
    }
}
