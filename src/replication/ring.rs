//! The heartbeat's rows: which of them a beat writes, and how a position in the WAL becomes a time. Pure.
//!
//! Row 0 is the newest beat. The others are a ring in four steps, so that few rows reach back for a month: the last minute by the
//! second, the last hour by the minute, two days by the hour, a month by the day.

use crate::pg::replication::Position;

/// Microseconds since 2000, as PostgreSQL counts.
pub type Time = i64;

const SECOND: Time = 1_000_000;

/// Over less than this no rate is told.
const LEAST_RATE_OVER: Time = 60 * SECOND;

struct Tier {
    step: Time,
    places: i64,
}

const TIERS: [Tier; 4] = [
    Tier {
        step: SECOND,
        places: 60,
    },
    Tier {
        step: 60 * SECOND,
        places: 60,
    },
    Tier {
        step: 3600 * SECOND,
        places: 48,
    },
    Tier {
        step: 24 * 3600 * SECOND,
        places: 31,
    },
];

/// The row of the newest beat.
pub const NEWEST: i16 = 0;

/// Which rows a beat at `now` writes, after the one at `before`: the newest, and those whose step has begun since.
pub fn rows_of_beat(now: Time, before: Option<Time>) -> Vec<i16> {
    let mut rows = vec![NEWEST];
    let mut first = 1;
    for tier in TIERS {
        let step = now.div_euclid(tier.step);
        if before.is_none_or(|before| before.div_euclid(tier.step) != step) {
            rows.extend(i16::try_from(first + step.rem_euclid(tier.places)));
        }
        first += tier.places;
    }
    rows
}

/// When everything committed before `at` was behind `position`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    pub position: Position,
    pub at: Time,
}

/// All beats that are known, to look up positions.
#[derive(Debug, Default)]
pub struct Ring {
    /// By position, ascending; times never fall.
    beats: Vec<Beat>,
}

impl Ring {
    pub fn new(mut beats: Vec<Beat>) -> Ring {
        beats.sort_by_key(|beat| (beat.position, beat.at));
        // Where a beat bears a later time than the one after it, the clock was set back in between: all before it are moved back
        // by as much, so that nothing looks younger than it is.
        let (mut back, mut next): (Time, Time) = (0, Time::MAX);
        for beat in beats.iter_mut().rev() {
            back = back.saturating_add(beat.at.saturating_sub(next).max(0));
            next = beat.at;
            beat.at = beat.at.saturating_sub(back);
        }
        Ring { beats }
    }

    /// Seconds of work that whoever is at `position` may lack, while the WAL ends at `head`: the upper bound. None when the
    /// ring does not reach back that far.
    pub fn seconds_behind(&self, position: Position, head: Position, now: Time) -> Option<f64> {
        if position >= head {
            return Some(0.0);
        }
        let known = self.beats.partition_point(|beat| beat.position <= position);
        let beat = self.beats.get(known.checked_sub(1)?)?;
        Some(seconds(now.saturating_sub(beat.at).max(0)))
    }

    /// As `seconds_behind`; beyond the reach of the ring, how long it is at least.
    pub fn seconds_behind_or_more(&self, position: Position, head: Position, now: Time) -> Option<f64> {
        let oldest = self
            .beats
            .first()
            .map(|beat| seconds(now.saturating_sub(beat.at).max(0)));
        self.seconds_behind(position, head, now).or(oldest)
    }

    /// When the WAL went past `position`, at the latest. None when it has not yet, or nobody knows.
    pub fn passed_at(&self, position: Position) -> Option<Time> {
        let known = self.beats.partition_point(|beat| beat.position < position);
        self.beats.get(known).map(|beat| beat.at)
    }

    /// Bytes of WAL in a second, over the time since the newest beat that is at least `over` old, or as far back as is known.
    /// None as long as that is less than a minute: a burst of a few seconds is no rate.
    pub fn bytes_per_second(&self, head: Position, now: Time, over: Time) -> Option<f64> {
        let age = |beat: &Beat| now.saturating_sub(beat.at);
        let old = self.beats.iter().rfind(|beat| age(beat) >= over);
        let from = old.or_else(|| self.beats.first())?;
        (age(from) >= LEAST_RATE_OVER).then(|| head.saturating_sub(from.position) as f64 / seconds(age(from)))
    }
}

pub fn seconds(time: Time) -> f64 {
    time as f64 / SECOND as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_rows_is_fixed_and_every_step_has_its_own() {
        let mut rows = std::collections::BTreeSet::new();
        let mut before = None;
        for hour in 0..24 * 40 {
            for second in [0, 1, 30, 61, 1800] {
                let now = (hour * 3600 + second) * SECOND;
                rows.extend(rows_of_beat(now, before));
                before = Some(now);
            }
        }
        for second in 0..7200 {
            rows.extend(rows_of_beat(second * SECOND, None));
        }
        assert_eq!(rows.len(), 200);
        assert_eq!((rows.first(), rows.last()), (Some(&0), Some(&199)));
    }

    #[test]
    fn a_beat_writes_the_longer_steps_only_when_they_begin() {
        assert_eq!(rows_of_beat(0, None), [0, 1, 61, 121, 169]);
        assert_eq!(rows_of_beat(SECOND, Some(0)), [0, 2]);
        assert_eq!(rows_of_beat(SECOND + 1, Some(SECOND)), [0]);
        assert_eq!(rows_of_beat(60 * SECOND, Some(59 * SECOND)), [0, 1, 62]);
        // A clock before 2000, and one that was set back.
        assert_eq!(rows_of_beat(-SECOND, Some(0)), [0, 60, 120, 168, 199]);
    }

    fn ring(beats: &[(Position, i64)]) -> Ring {
        Ring::new(
            beats
                .iter()
                .map(|(position, at)| Beat {
                    position: *position,
                    at: at * SECOND,
                })
                .collect(),
        )
    }

    #[test]
    fn a_position_becomes_the_time_since_which_work_is_lacking() {
        let ring = ring(&[(300, 30), (100, 10), (200, 20)]);
        let behind = |position| ring.seconds_behind(position, 350, 31 * SECOND);
        assert_eq!(behind(350), Some(0.0));
        assert_eq!(behind(300), Some(1.0));
        assert_eq!(behind(299), Some(11.0));
        assert_eq!(behind(100), Some(21.0));
        assert_eq!(behind(99), None);
        assert_eq!(ring.seconds_behind_or_more(99, 350, 31 * SECOND), Some(21.0));
        assert_eq!(ring.seconds_behind_or_more(299, 350, 31 * SECOND), Some(11.0));
        assert_eq!(Ring::default().seconds_behind_or_more(1, 2, 0), None);
        assert_eq!(Ring::default().seconds_behind(1, 2, 0), None);
        assert_eq!(ring.passed_at(150), Some(20 * SECOND));
        assert_eq!(ring.passed_at(301), None);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_look_younger() {
        // At position 200 the clock went back by an hour.
        let ring = ring(&[(50, 3400), (100, 3700), (200, 101), (300, 110)]);
        let behind = |position, now| ring.seconds_behind(position, 400, now * SECOND);
        assert_eq!(behind(200, 111), Some(10.0));
        // From 3700 to 101 no time is known to have passed.
        assert_eq!(behind(100, 111), Some(10.0));
        assert_eq!(behind(50, 111), Some(310.0));
        // Even now the clock is before the beat: nothing negative.
        assert_eq!(behind(100, 50), Some(0.0));
    }

    #[test]
    fn no_beat_is_too_far_off() {
        let ring = Ring::new(
            [Time::MAX, 0, Time::MIN, Time::MAX, Time::MIN]
                .into_iter()
                .zip([0, 1, 2, 3, Position::MAX])
                .map(|(at, position)| Beat { position, at })
                .collect(),
        );
        for position in [0, 1, 2, 3, Position::MAX] {
            for now in [Time::MIN, 0, Time::MAX] {
                ring.seconds_behind_or_more(position, Position::MAX, now);
                ring.bytes_per_second(position, now, 300 * SECOND);
            }
        }
    }

    #[test]
    fn the_rate_is_taken_over_the_time_that_was_asked_for() {
        let ring = ring(&[(0, 0), (10_000, 100), (11_000, 200)]);
        let rate = |now, over| ring.bytes_per_second(12_000, now * SECOND, over * SECOND);
        assert_eq!(rate(300, 100), Some(10.0));
        assert_eq!(rate(300, 150), Some(10.0));
        assert_eq!(rate(300, 6000), Some(40.0));
        assert_eq!(Ring::default().bytes_per_second(1, 1, 1), None);
    }

    #[test]
    fn a_burst_of_a_few_seconds_is_no_rate() {
        let ring = ring(&[(0, 0), (1_000_000, 1)]);
        assert_eq!(ring.bytes_per_second(2_000_000, 59 * SECOND, 300 * SECOND), None);
        assert_eq!(
            ring.bytes_per_second(6_000_000, 60 * SECOND, 300 * SECOND),
            Some(100_000.0)
        );
    }
}
