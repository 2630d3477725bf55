//! When a task is due and how long it backs off. Pure: the clock is an argument, counted from the start of the worker and
//! never going back, so that neither a test nor a wall clock that jumps makes a worker sleep for hours.

use std::time::Duration;

/// Time since the worker started.
pub type Now = Duration;

/// No process waits longer than this before it is started again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// Shortest wait after a failure, so that a task with a short interval does not spin on its error.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// How soon a task looks again whether it may run now.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// One task: its next run and its failures in a row.
#[derive(Debug, Clone)]
pub struct Entry {
    next: Now,
    failures: u32,
}

impl Default for Entry {
    /// Due at once.
    fn default() -> Self {
        Entry {
            next: Now::ZERO,
            failures: 0,
        }
    }
}

impl Entry {
    pub fn is_due(&self, now: Now) -> bool {
        self.next <= now
    }

    pub fn wait(&self, now: Now) -> Duration {
        self.next.saturating_sub(now)
    }

    /// Stamped before the run, so that a slow run cannot be followed by all those that it delayed.
    pub fn begin(&mut self, now: Now, every: Duration) {
        self.next = now + every;
    }

    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// More is waiting: run again at once.
    pub fn again(&mut self, now: Now) {
        self.next = now;
    }

    /// A run that began `took` ago made something visible: what came in just after its start shall be visible one interval later,
    /// so the next one begins earlier by the time that it is likely to take; by half an interval at most.
    pub fn hurry(&mut self, now: Now, every: Duration, took: Duration) {
        self.next = self.next.saturating_sub(took.min(every / 2)).max(now);
    }

    /// Something was in the way that is no fault: look again soon, however long the interval is.
    pub fn look_again(&mut self, now: Now) {
        self.next = self.next.min(now + LOOK_AGAIN);
    }

    /// Rows stay behind, and each run looks at them anew: it shall not take more than a tenth of the time.
    pub fn rest(&mut self, now: Now, took: Duration) {
        self.next = self.next.max(now + took.saturating_mul(9).min(LOOK_AGAIN));
    }

    /// A setting changed: what depends on it is done at once, unless it is failing.
    pub fn reload(&mut self, now: Now) {
        if self.failures == 0 {
            self.next = now;
        }
    }

    /// Puts the next run off and returns for how long. `jitter` is between 0 and 1.
    pub fn failed(&mut self, now: Now, every: Duration, sqlstate: &str, jitter: f64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let wait = backoff(self.failures, every.max(FIRST_BACKOFF), longest(sqlstate), jitter);
        self.next = now + wait;
        wait
    }
}

/// How long something that fails again and again is left alone.
pub fn wait_after(failures: u32, sqlstate: &str, jitter: f64) -> Duration {
    backoff(failures, FIRST_BACKOFF, longest(sqlstate), jitter)
}

/// How long a task backs off at most, by what failed: a lock is soon released, and rows wait meanwhile; for a full disk or
/// a missing right somebody has to do something.
fn longest(sqlstate: &str) -> Duration {
    match sqlstate {
        // lock_not_available, deadlock_detected, serialization_failure, query_canceled
        "55P03" | "40P01" | "40001" | "57014" => Duration::from_secs(5),
        _ => Duration::from_secs(60),
    }
}

/// Doubles with every failure up to the longest; the jitter takes up to a quarter off, so that workers that failed together
/// do not come back together.
fn backoff(failures: u32, first: Duration, longest: Duration, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let full = first.saturating_mul(1 << doublings).min(longest.max(first));
    full.mul_f64(1.0 - 0.25 * jitter.clamp(0.0, 1.0))
}

/// When a process that ended may be started again.
#[derive(Debug, Default)]
pub struct Restart {
    started: Option<Now>,
    short_lives: u32,
    not_before: Now,
    refused: bool,
}

impl Restart {
    /// A process that lived this long did not end by a fault of its start.
    const HEALTHY: Duration = Duration::from_secs(10);
    const FIRST: Duration = Duration::from_millis(250);

    pub fn may_start(&self, now: Now) -> bool {
        self.not_before <= now
    }

    pub fn started(&mut self, now: Now) {
        self.started = Some(now);
        self.refused = false;
    }

    /// One that lived is started again at once, one that keeps ending at its start ever later.
    pub fn ended(&mut self, now: Now) {
        let lived = self
            .started
            .take()
            .map_or(Duration::ZERO, |started| now.saturating_sub(started));
        self.short_lives = if lived >= Self::HEALTHY {
            0
        } else {
            self.short_lives.saturating_add(1)
        };
        self.not_before = match self.short_lives {
            0 => now,
            short_lives => now + backoff(short_lives, Self::FIRST, LONGEST_BACKOFF, 0.0),
        };
    }

    /// The server had no place for it.
    pub fn refused(&mut self, now: Now) {
        self.refused = true;
        self.not_before = now + Duration::from_secs(5);
    }

    pub fn was_refused(&self) -> bool {
        self.refused
    }
}

/// Says which failures are worth a line in the server log: the first, each with another SQLSTATE, and one in five minutes.
#[derive(Debug, Default)]
pub struct LogGate {
    last: Option<(Now, String)>,
}

impl LogGate {
    const QUIET: Duration = Duration::from_secs(300);

    pub fn admits(&mut self, now: Now, sqlstate: &str) -> bool {
        let repeated = self
            .last
            .as_ref()
            .is_some_and(|(at, state)| state == sqlstate && now.saturating_sub(*at) < Self::QUIET);
        if !repeated {
            self.last = Some((now, sqlstate.to_owned()));
        }
        !repeated
    }

    pub fn reset(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_task_is_due_at_once_and_then_after_its_interval() {
        let mut task = Entry::default();
        assert!(task.is_due(Now::ZERO));
        task.begin(5 * SECOND, 2 * SECOND);
        assert!(!task.is_due(6 * SECOND));
        assert_eq!(task.wait(6 * SECOND), SECOND);
        assert!(task.is_due(7 * SECOND));
    }

    #[test]
    fn a_slow_run_is_not_followed_by_the_runs_it_delayed() {
        let mut task = Entry::default();
        task.begin(Now::ZERO, SECOND);
        // The run took ten seconds; at its end the task is due once.
        assert!(task.is_due(10 * SECOND));
        task.begin(10 * SECOND, SECOND);
        assert!(!task.is_due(10 * SECOND));
    }

    #[test]
    fn failures_back_off_longer_and_longer_up_to_the_longest_and_a_success_ends_it() {
        for (sqlstate, longest) in [("53100", 60), ("55P03", 5)] {
            let mut task = Entry::default();
            let waits: Vec<u64> = (0..12)
                .map(|_| task.failed(Now::ZERO, SECOND, sqlstate, 0.0).as_secs())
                .collect();
            assert_eq!(waits[..3], [1, 2, 4]);
            assert_eq!(waits[11], longest);
            assert_eq!(task.failures, 12);
            task.succeeded();
            assert_eq!(task.failed(Now::ZERO, SECOND, sqlstate, 0.0), SECOND);
        }
    }

    #[test]
    fn a_short_interval_does_not_spin_on_an_error_and_a_long_one_is_not_shortened() {
        let mut task = Entry::default();
        assert_eq!(
            task.failed(Now::ZERO, Duration::from_millis(100), "53100", 0.0),
            SECOND
        );
        let mut daily = Entry::default();
        assert_eq!(
            daily.failed(Now::ZERO, 86_400 * SECOND, "55P03", 0.0),
            86_400 * SECOND
        );
    }

    #[test]
    fn jitter_takes_at_most_a_quarter() {
        assert_eq!(backoff(3, SECOND, LONGEST_BACKOFF, 1.0), 3 * SECOND);
        assert_eq!(backoff(3, SECOND, LONGEST_BACKOFF, 7.0), 3 * SECOND);
        assert_eq!(backoff(u32::MAX, SECOND, LONGEST_BACKOFF, 0.0), LONGEST_BACKOFF);
    }

    #[test]
    fn a_reload_ends_a_wait_but_not_a_backoff() {
        let mut task = Entry::default();
        task.begin(Now::ZERO, 60 * SECOND);
        task.reload(SECOND);
        assert!(task.is_due(SECOND));
        task.failed(3 * SECOND, 60 * SECOND, "53100", 0.0);
        task.reload(3 * SECOND);
        assert!(!task.is_due(10 * SECOND));
    }

    #[test]
    fn a_run_that_took_long_is_followed_earlier_but_never_later() {
        let (interval, milli) = (SECOND / 10, SECOND / 1000);
        for (took, next) in [(0, 100), (1, 99), (30, 70), (50, 50), (70, 70), (200, 200)] {
            let mut task = Entry::default();
            task.begin(Now::ZERO, interval);
            task.hurry(took * milli, interval, took * milli);
            assert_eq!(task.wait(took * milli), (next.max(took) - took) * milli, "{took}");
        }
    }

    #[test]
    fn a_run_that_leaves_rows_behind_is_followed_by_a_rest_in_proportion() {
        let mut task = Entry::default();
        task.begin(Now::ZERO, SECOND / 10);
        task.rest(SECOND / 1000, SECOND / 1000);
        assert_eq!(task.wait(Now::ZERO), SECOND / 10);
        task.rest(SECOND / 10, SECOND / 10);
        assert_eq!(task.wait(Now::ZERO), SECOND);
        task.rest(SECOND, 10 * SECOND);
        assert_eq!(task.wait(SECOND), LOOK_AGAIN);
    }

    #[test]
    fn a_task_that_may_not_run_yet_looks_again_soon_but_never_later_than_planned() {
        let mut slow = Entry::default();
        slow.begin(Now::ZERO, 60 * SECOND);
        slow.look_again(Now::ZERO);
        assert_eq!(slow.wait(Now::ZERO), LOOK_AGAIN);
        let mut fast = Entry::default();
        fast.begin(Now::ZERO, SECOND);
        fast.look_again(Now::ZERO);
        assert_eq!(fast.wait(Now::ZERO), SECOND);
    }

    #[test]
    fn a_process_that_lived_comes_back_at_once_and_one_that_did_not_ever_later() {
        let mut restart = Restart::default();
        assert!(restart.may_start(Now::ZERO));
        restart.started(Now::ZERO);
        restart.ended(20 * SECOND);
        assert!(restart.may_start(20 * SECOND));
        let mut now = 20 * SECOND;
        for expected in [250, 500, 1000, 2000] {
            restart.started(now);
            restart.ended(now);
            assert!(!restart.may_start(now + Duration::from_millis(expected - 1)));
            assert!(restart.may_start(now + Duration::from_millis(expected)));
            now += Duration::from_millis(expected);
        }
    }

    #[test]
    fn the_log_gets_the_first_of_a_kind_and_then_one_in_five_minutes() {
        let mut gate = LogGate::default();
        assert!(gate.admits(Now::ZERO, "55P03"));
        assert!(!gate.admits(SECOND, "55P03"));
        assert!(gate.admits(2 * SECOND, "53100"));
        assert!(!gate.admits(3 * SECOND, "53100"));
        assert!(gate.admits(400 * SECOND, "53100"));
        gate.reset();
        assert!(gate.admits(401 * SECOND, "53100"));
    }
}
