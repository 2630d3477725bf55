//! For how long the oldest snapshot has been held. The server does not say; but which transaction was the next at which time can
//! be remembered, and a horizon that lies before it is older than that. Pure: numbers of transactions have their epoch.

/// Times that are remembered; when they are too many, every other one is forgotten, so that they reach back further and further.
const MOST: usize = 64;

/// Least time between two.
const STEP: i64 = 1_000_000;

#[derive(Debug, Default)]
pub struct HorizonAge {
    /// Time, and which transaction was next then; in order.
    past: Vec<(i64, u64)>,
    step: i64,
}

impl HorizonAge {
    pub fn note(&mut self, now: i64, next: u64) {
        // A clock that was set back.
        self.past.retain(|(time, _)| *time <= now);
        let step = self.step.max(STEP);
        if self.past.last().is_some_and(|(time, _)| now - time < step) {
            return;
        }
        self.past.push((now, next));
        if self.past.len() > MOST {
            let mut kept = false;
            self.past.retain(|_| {
                kept = !kept;
                kept
            });
            self.step = 2 * step;
        }
    }

    /// At least so long ago somebody took a snapshot that he still holds.
    pub fn of(&mut self, now: i64, horizon: u64) -> i64 {
        // Times at which the horizon had not been reached yet are of no use any more.
        let first = self.past.partition_point(|(_, next)| *next <= horizon);
        self.past.drain(..first.saturating_sub(1));
        if self.past.len() <= 1 {
            self.step = STEP;
        }
        let held = self.past.iter().find(|(_, next)| *next > horizon);
        held.map_or(0, |(time, _)| now - time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn a_horizon_that_moves_is_young_and_one_that_stands_gets_old() {
        let mut age = HorizonAge::default();
        for second in 0..100 {
            age.note(second * SECOND, 1000 + second as u64 * 10);
            let found = age.of(second * SECOND, 1000 + second as u64 * 10);
            assert_eq!(found, 0);
        }
        for second in 100..400i64 {
            age.note(second * SECOND, 1000 + second as u64 * 10);
            let found = age.of(second * SECOND, 1995) / SECOND;
            assert!(
                (second - 100 - 8..=second - 99).contains(&found),
                "{second}: {found}"
            );
        }
        assert_eq!(age.of(400 * SECOND, 4990), 0);
        assert!(age.past.len() <= MOST);
    }

    #[test]
    fn while_nothing_is_written_no_horizon_is_old() {
        let mut age = HorizonAge::default();
        for second in 0..100 {
            age.note(second * SECOND, 1000);
            assert_eq!(age.of(second * SECOND, 1000), 0);
        }
    }

    #[test]
    fn a_clock_that_is_set_back_starts_anew() {
        let mut age = HorizonAge::default();
        age.note(100 * SECOND, 10);
        age.note(5 * SECOND, 20);
        assert_eq!(age.of(6 * SECOND, 15), SECOND);
    }
}
