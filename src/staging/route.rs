//! Where a row goes by its time. Pure: times are the server's microseconds.

use std::collections::BTreeMap;

use super::judge::Window;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The place of its partition among those of the coverage.
    Leaf(u32),
    /// No partition will ever take it: the judge will say why.
    Refused,
    /// It may be stored, but there is no partition yet, or its partition cannot be written just now.
    Waits,
}

/// The periods of the partitions that are there, in order, and the times that are accepted.
pub struct Router {
    /// From, up to and without.
    periods: Vec<(i64, i64)>,
    /// Places of partitions that are left alone, in order.
    closed: Vec<usize>,
    accepted: Window,
    last: usize,
}

impl Router {
    pub fn new(periods: Vec<(i64, i64)>, closed: Vec<usize>, accepted: Window) -> Router {
        Router {
            periods,
            closed,
            accepted,
            last: 0,
        }
    }

    /// Whether a partition takes rows.
    pub fn is_open(&self, place: usize) -> bool {
        self.closed.is_empty() || self.closed.binary_search(&place).is_err()
    }

    /// Whether a row waits for a partition that is there.
    pub fn is_held_back(&self, time: i64) -> bool {
        let next = self.periods.partition_point(|(from, _)| *from <= time);
        next.checked_sub(1)
            .is_some_and(|place| self.covers(place, time) && !self.is_open(place))
    }

    pub fn accepted(&self) -> Window {
        self.accepted
    }

    /// Readings come in the order of time, more or less, so the partition of the last one is looked at first.
    #[inline]
    pub fn route(&mut self, ingested_at: Option<i64>) -> Route {
        let Some(time) = ingested_at else {
            return Route::Refused;
        };
        if !self.covers(self.last, time) {
            let next = self.periods.partition_point(|(from, _)| *from <= time);
            self.last = next.saturating_sub(1);
            if !self.covers(self.last, time) {
                return if self.accepted.accepts(time) {
                    Route::Waits
                } else {
                    Route::Refused
                };
            }
        }
        if !self.is_open(self.last) {
            return Route::Waits;
        }
        Route::Leaf(self.last as u32)
    }

    #[inline]
    fn covers(&self, index: usize, time: i64) -> bool {
        self.periods
            .get(index)
            .is_some_and(|(from, until)| *from <= time && time < *until)
    }
}

/// Rows that wait for a partition: how many, and one time for each hour that has some. Whatever the step of partitions, those
/// times name every one that is missing.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub rows: i64,
    /// Further ones, whose partition is there, but cannot be written.
    pub held_back: i64,
    /// Further ones, which other transactions have locked.
    pub locked: i64,
    /// By the hour.
    times: BTreeMap<i64, i64>,
    last_hour: Option<i64>,
}

const HOUR: i64 = 3_600_000_000;

impl Waiting {
    /// So many rows of one hour, one of which has this time.
    pub fn add_hour(&mut self, time: i64, rows: i64) {
        self.rows += rows;
        let hour = time.div_euclid(HOUR);
        // Most rows are of the hour of the row before.
        if self.last_hour != Some(hour) {
            self.times.entry(hour).or_insert(time);
            self.last_hour = Some(hour);
        }
    }

    pub fn all(&self) -> i64 {
        self.rows + self.held_back + self.locked
    }

    /// At most so many, the earliest first.
    pub fn times(&self, most: usize) -> Vec<i64> {
        self.times.values().copied().take(most).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(periods: &[(i64, i64)]) -> Router {
        Router::new(
            periods.to_vec(),
            vec![],
            Window {
                from: 100,
                until: 200,
            },
        )
    }

    #[test]
    fn each_time_finds_its_partition() {
        let mut router = router(&[(i64::MIN, 110), (110, 120), (150, 160)]);
        let found: Vec<Route> = [105, 110, 119, 120, 150, 149, 159, 160, 90, 250]
            .into_iter()
            .map(|time| router.route(Some(time)))
            .collect();
        use Route::*;
        assert_eq!(
            found,
            [
                Leaf(0),
                Leaf(1),
                Leaf(1),
                Waits,
                Leaf(2),
                Waits,
                Leaf(2),
                Waits,
                Leaf(0),
                Refused
            ]
        );
    }

    #[test]
    fn rows_of_a_closed_partition_wait_and_no_others() {
        let window = Window {
            from: 100,
            until: 200,
        };
        let mut router = Router::new(vec![(100, 110), (110, 120), (150, 160)], vec![1], window);
        let found: Vec<Route> = [105, 110, 119, 120, 155]
            .into_iter()
            .map(|time| router.route(Some(time)))
            .collect();
        use Route::*;
        assert_eq!(found, [Leaf(0), Waits, Waits, Waits, Leaf(2)]);
        let held_back = [99, 105, 110, 119, 120, 155].map(|time| router.is_held_back(time));
        assert_eq!(held_back, [false, false, true, true, false, false]);
    }

    #[test]
    fn without_partitions_what_is_accepted_waits() {
        let mut router = router(&[]);
        assert_eq!(router.route(Some(150)), Route::Waits);
        assert_eq!(router.route(Some(99)), Route::Refused);
        assert_eq!(router.route(None), Route::Refused);
        assert_eq!(router.route(Some(i64::MAX)), Route::Refused);
        assert_eq!(router.route(Some(i64::MIN)), Route::Refused);
    }

    #[test]
    fn one_time_an_hour_is_kept_of_what_waits() {
        let mut waiting = Waiting::default();
        for time in [2 * HOUR, -1, 0, 2 * HOUR + 5, HOUR - 1, -HOUR] {
            waiting.add_hour(time, 1);
        }
        assert_eq!(waiting.rows, 6);
        assert_eq!(waiting.times(10), [-1, 0, 2 * HOUR]);
        assert_eq!(waiting.times(1), [-1]);
    }
}
