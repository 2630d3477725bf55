//! How fast rows come and go: counters of the server, looked at every few seconds. Pure.

const SECOND: i64 = 1_000_000;

/// Time between two samples, and how many are kept: a good minute.
pub const EVERY: i64 = 5 * SECOND;
const KEPT: usize = 14;

/// A newest sample older than this was taken by a keeper that is gone.
const STALE: i64 = 4 * EVERY;

/// Less time than this says nothing about a rate.
const SHORTEST: i64 = 3 * SECOND;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// 0: none.
    pub at: i64,
    pub inserted: i64,
    pub deleted: i64,
}

impl Sample {
    const NONE: Self = Sample {
        at: 0,
        inserted: 0,
        deleted: 0,
    };
}

/// Rows per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    pub incoming: f64,
    pub outgoing: f64,
}

#[derive(Debug, Clone, Copy)]
pub struct Samples {
    kept: [Sample; KEPT],
}

impl Samples {
    pub const NONE: Self = Samples {
        kept: [Sample::NONE; KEPT],
    };

    pub fn is_due(&self, now: i64) -> bool {
        let newest = self.newest();
        newest == 0 || !(0..EVERY).contains(&(now - newest))
    }

    pub fn add(&mut self, sample: Sample) {
        if let Some(oldest) = self.kept.iter_mut().min_by_key(|kept| kept.at) {
            *oldest = sample;
        }
    }

    fn newest(&self) -> i64 {
        self.kept.iter().map(|kept| kept.at).max().unwrap_or(0)
    }

    /// None where it cannot be told: no samples, or counters that were reset.
    pub fn rates(&self, now: Sample) -> Option<Rates> {
        let age = |sample: &Sample| now.at - sample.at;
        if !(0..=STALE).contains(&(now.at - self.newest())) {
            return None;
        }
        let since = self
            .kept
            .iter()
            .filter(|kept| kept.at != 0 && (SHORTEST..=KEPT as i64 * EVERY + STALE).contains(&age(kept)))
            .min_by_key(|kept| kept.at)?;
        let seconds = age(since) as f64 / SECOND as f64;
        let rate = |before: i64, after: i64| (after >= before).then(|| (after - before) as f64 / seconds);
        Some(Rates {
            incoming: rate(since.inserted, now.inserted)?,
            outgoing: rate(since.deleted, now.deleted)?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sample(second: i64, inserted: i64, deleted: i64) -> Sample {
        Sample {
            at: second * SECOND,
            inserted,
            deleted,
        }
    }

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let mut samples = Samples::NONE;
        assert!(samples.is_due(SECOND));
        for second in (100..400).step_by(5) {
            samples.add(sample(second, second * 10, second * 7));
        }
        assert!(!samples.is_due(397 * SECOND) && samples.is_due(400 * SECOND));
        let rates = samples.rates(sample(400, 4000, 2800)).unwrap();
        assert!((rates.incoming - 10.0).abs() < 0.01 && (rates.outgoing - 7.0).abs() < 0.01);
    }

    #[test]
    fn what_is_not_known_is_not_zero() {
        let mut samples = Samples::NONE;
        assert_eq!(samples.rates(sample(100, 1, 1)), None);
        samples.add(sample(100, 1000, 1000));
        assert_eq!(samples.rates(sample(101, 2000, 1000)), None, "too soon");
        assert!(samples.rates(sample(105, 2000, 1000)).is_some());
        assert_eq!(samples.rates(sample(105, 5, 5)), None, "counters were reset");
        assert_eq!(samples.rates(sample(200, 2000, 1000)), None, "no keeper any more");
    }
}
