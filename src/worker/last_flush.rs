//! The last flush of a server that is stopped: what is staged reaches facts, so that a planned stop or switchover loses
//! nothing. It goes in steps that commit: when the time is over, what runs is undone, and no more than that.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::hold;
use super::service::{Outcome, Service};
use super::task::{Report, flush_rows, insist, try_with_care};
use crate::accounting::keeper::close_accounts;
use crate::guc;
use crate::pg::{process, signals};
use crate::shmem;

/// How long the last flush waits for the sessions of clients to end. They end at once when the server stops; when they
/// stay, it was only this worker that was told to go.
const SESSIONS_LEAVE: Duration = Duration::from_millis(250);

/// Between two tries of the last flush.
const LAST_TRIES: Duration = Duration::from_millis(10);

/// Longest time for what is written down at the end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How many rows the next try takes.
struct Step {
    rows: i64,
}

impl Step {
    /// Few, for how fast it goes today is not known yet: the machine may be busy, or a trigger slow.
    const FIRST: Step = Step { rows: 2_000 };
    const LEAST: i64 = 100;
    const GROWTH: u32 = 4;

    /// After a try that took so long, with so much time left: the next one is to take a quarter of that, at most.
    fn adapt(&mut self, took: Duration, left: Duration) {
        let factor = i64::from(Self::GROWTH);
        if took * Self::GROWTH * Self::GROWTH <= left {
            self.rows = self.rows.saturating_mul(factor);
        } else if took * Self::GROWTH > left {
            self.rows = (self.rows / factor).max(Self::LEAST);
        }
    }
}

impl Service {
    /// New rows may come as long as there are sessions.
    pub fn last_flush(&mut self) {
        // The cancel that came with the signal was for what ran before.
        signals::absorb_interrupts();
        let limit = guc::shutdown_flush();
        if limit.is_zero() || self.is_held() {
            return;
        }
        insist();
        let start = Instant::now();
        let mut step = Step::FIRST;
        let mut failed = None;
        let mut complete = false;
        while start.elapsed() < limit {
            let begun = self.begin(0);
            let left = limit.saturating_sub(start.elapsed());
            let rows = step.rows.min(guc::flush_batch_rows());
            match self.in_transaction(left, |context| flush_rows(context, rows)) {
                Ok(Outcome::Done(Report { again, .. })) => {
                    failed = None;
                    self.record_success(0, begun.elapsed(), None);
                    let alone = process::client_sessions() == 0;
                    if !again && (alone || start.elapsed() >= SESSIONS_LEAVE) {
                        complete = true;
                        break;
                    }
                    if again {
                        step.adapt(begun.elapsed(), limit.saturating_sub(start.elapsed()));
                        continue;
                    }
                }
                Ok(Outcome::Gone) => return,
                // Whoever is in the way is on the way down as well.
                Ok(Outcome::Waiting(_)) => {}
                Err(failure) if try_with_care(self.role, &failure) => continue,
                Err(failure) => failed = Some((begun.elapsed(), failure)),
            }
            signals::wait(LAST_TRIES);
            signals::absorb_interrupts();
        }
        if let Some((duration, failure)) = failed {
            self.record_failure(0, duration, &failure, Duration::ZERO);
        }
        if !complete {
            log!(
                "pg_telemetry {}: the last flush did not get to the end of staging within pg_telemetry.shutdown_flush ({} ms); \
                 what is left of the fast door survives a clean restart, but no switchover",
                self.role.label(),
                limit.as_millis()
            );
        }
    }

    /// What is counted in shared memory is written down: the restart empties it.
    pub fn last_words(&mut self) {
        if !self.is_held()
            && let Err(failure) = self.in_transaction(LAST_WORDS, close_accounts)
        {
            log!(
                "pg_telemetry {}: {} ({})",
                self.role.label(),
                failure.message,
                failure.sqlstate
            );
        }
    }

    /// Somebody is about to drop or move the database.
    fn is_held(&self) -> bool {
        shmem::look(|board| board.database(self.database).is_some_and(hold::is_held)) == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_while_they_are_quick_and_shrink_towards_the_end() {
        let millis = Duration::from_millis;
        let mut step = Step::FIRST;
        step.adapt(millis(10), millis(990));
        assert_eq!(step.rows, 8_000);
        step.adapt(millis(60), millis(930));
        assert_eq!(step.rows, 8_000);
        step.adapt(millis(300), millis(600));
        assert_eq!(step.rows, 2_000);
        for _ in 0..10 {
            step.adapt(millis(100), millis(1));
        }
        assert_eq!(step.rows, Step::LEAST);
    }
}
