//! Bounds and names of partitions, in UTC and nothing else: neither the session's TimeZone nor daylight saving can move
//! them. Pure: times are microseconds since 1970.

use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan};

pub type Micros = i64;

/// The time that one new partition covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Hour,
    Day,
    /// From Monday on.
    Week,
    Month,
}

/// From start up to, and without, end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period {
    pub start: Micros,
    pub end: Micros,
}

impl Period {
    pub fn contains(&self, time: Micros) -> bool {
        self.start <= time && time < self.end
    }

    /// What follows the parent's name: the start, to the minute only where that says more than the day.
    pub fn suffix(&self) -> Option<String> {
        const DAY: Micros = 24 * 3600 * 1_000_000;
        let start = civil(self.start)?;
        let whole_days = self.start.rem_euclid(DAY) == 0 && self.end.rem_euclid(DAY) == 0;
        let format = if whole_days { "p%Y%m%d" } else { "p%Y%m%dt%H%M" };
        Some(start.strftime(format).to_string())
    }

    /// The bounds as literals that mean the same under every setting of a session.
    pub fn literals(&self) -> Option<(String, String)> {
        let literal = |time| Some(civil(time)?.strftime("%Y-%m-%d %H:%M:%S%.f+00").to_string());
        Some((literal(self.start)?, literal(self.end)?))
    }
}

/// The period of this step that contains the time; None outside the years that a bound can be written for.
fn period_at(step: Step, time: Micros) -> Option<Period> {
    let date_time = civil(time)?;
    let day = date_time.date();
    let midnight = |date: Date| date.to_datetime(jiff::civil::Time::midnight());
    let (start, end): (DateTime, DateTime) = match step {
        Step::Hour => {
            let start = midnight(day)
                .checked_add(i64::from(date_time.hour()).hours())
                .ok()?;
            (start, start.checked_add(1.hour()).ok()?)
        }
        Step::Day => (midnight(day), midnight(day.checked_add(1.day()).ok()?)),
        Step::Week => {
            let monday = day
                .checked_sub(i64::from(day.weekday().to_monday_zero_offset()).days())
                .ok()?;
            (midnight(monday), midnight(monday.checked_add(7.days()).ok()?))
        }
        Step::Month => {
            let first = day.first_of_month();
            (midnight(first), midnight(first.checked_add(1.month()).ok()?))
        }
    };
    Some(Period {
        start: micros(start)?,
        end: micros(end)?,
    })
}

/// The partition to make for a time that none of the existing ones covers: the period of the step, cut to the gap
/// between its neighbours, so that a change of step never overlaps. None when the time is covered already.
/// `existing` must be in order of start.
pub fn missing_at(existing: &[Period], step: Step, time: Micros) -> Option<Period> {
    if existing.iter().any(|period| period.contains(time)) {
        return None;
    }
    let wanted = period_at(step, time)?;
    let before = existing
        .iter()
        .map(|period| period.end)
        .filter(|end| *end <= time)
        .max();
    let after = existing
        .iter()
        .map(|period| period.start)
        .filter(|start| *start > time)
        .min();
    Some(Period {
        start: before.map_or(wanted.start, |end| end.max(wanted.start)),
        end: after.map_or(wanted.end, |start| start.min(wanted.end)),
    })
}

/// What is missing from the period that contains `now` to the end of the `ahead`-th period after it, gaps included.
pub fn missing_ahead(existing: &[Period], step: Step, now: Micros, ahead: usize) -> Vec<Period> {
    let mut known = existing.to_vec();
    let mut made = Vec::new();
    let Some(mut current) = period_at(step, now) else {
        return made;
    };
    for _ in 0..=ahead {
        let mut time = current.start;
        while time < current.end {
            let covering = known.iter().find(|period| period.contains(time)).copied();
            let Some(next) = covering.or_else(|| missing_at(&known, step, time)) else {
                return made;
            };
            if covering.is_none() {
                made.push(next);
                known.push(next);
                known.sort();
            }
            time = next.end;
        }
        let Some(following) = period_at(step, current.end) else {
            break;
        };
        current = following;
    }
    made
}

fn civil(time: Micros) -> Option<DateTime> {
    Timestamp::from_microsecond(time)
        .ok()
        .map(|timestamp| Offset::UTC.to_datetime(timestamp))
}

fn micros(date_time: DateTime) -> Option<Micros> {
    Offset::UTC
        .to_timestamp(date_time)
        .ok()
        .map(|timestamp| timestamp.as_microsecond())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(text: &str) -> Micros {
        micros(text.parse().unwrap()).unwrap()
    }

    fn period(start: &str, end: &str) -> Period {
        Period {
            start: at(start),
            end: at(end),
        }
    }

    #[test]
    fn each_step_has_the_bounds_of_the_utc_calendar() {
        let time = at("2024-02-29T13:45:10");
        let expected = [
            (Step::Hour, period("2024-02-29T13:00", "2024-02-29T14:00")),
            (Step::Day, period("2024-02-29T00:00", "2024-03-01T00:00")),
            (Step::Week, period("2024-02-26T00:00", "2024-03-04T00:00")),
            (Step::Month, period("2024-02-01T00:00", "2024-03-01T00:00")),
        ];
        for (step, bounds) in expected {
            assert_eq!(period_at(step, time), Some(bounds), "{step:?}");
        }
    }

    #[test]
    fn a_bound_belongs_to_the_period_it_begins() {
        let bounds = period("2026-11-21T00:00", "2026-11-22T00:00");
        assert!(bounds.contains(bounds.start));
        assert!(!bounds.contains(bounds.end));
        assert_eq!(period_at(Step::Day, bounds.end).unwrap().start, bounds.end);
    }

    #[test]
    fn times_before_1970_and_at_the_end_of_the_calendar_do_not_overflow() {
        assert_eq!(
            period_at(Step::Month, at("1969-12-31T23:59:59")),
            Some(period("1969-12-01T00:00", "1970-01-01T00:00"))
        );
        assert_eq!(period_at(Step::Month, at("9999-12-15T00:00")), None);
        assert_eq!(period_at(Step::Day, i64::MAX), None);
        assert_eq!(period_at(Step::Day, i64::MIN), None);
    }

    #[test]
    fn names_say_the_start_and_no_more_than_needed() {
        assert_eq!(
            period("2026-11-21T00:00", "2026-11-22T00:00").suffix().unwrap(),
            "p20261121"
        );
        assert_eq!(
            period("2026-11-21T00:00", "2026-11-21T01:00").suffix().unwrap(),
            "p20261121t0000"
        );
        assert_eq!(
            period("2026-11-21T13:00", "2026-11-22T00:00").suffix().unwrap(),
            "p20261121t1300"
        );
    }

    #[test]
    fn literals_carry_their_offset() {
        let (start, end) = period("2026-03-08T02:00", "2026-03-08T03:00").literals().unwrap();
        assert_eq!(
            (start.as_str(), end.as_str()),
            ("2026-03-08 02:00:00+00", "2026-03-08 03:00:00+00")
        );
    }

    #[test]
    fn nothing_is_missing_where_a_partition_covers_the_time() {
        let existing = [period("2026-11-21T00:00", "2026-11-22T00:00")];
        assert_eq!(missing_at(&existing, Step::Hour, at("2026-11-21T23:59:59")), None);
    }

    #[test]
    fn a_new_partition_is_cut_to_the_gap_between_its_neighbours() {
        let existing = [
            period("2026-11-01T00:00", "2026-11-10T00:00"),
            period("2026-11-20T12:00", "2026-11-21T00:00"),
        ];
        assert_eq!(
            missing_at(&existing, Step::Month, at("2026-11-15T00:00")),
            Some(period("2026-11-10T00:00", "2026-11-20T12:00"))
        );
    }

    #[test]
    fn ahead_covers_the_current_period_and_that_many_more() {
        let made = missing_ahead(&[], Step::Day, at("2026-12-30T10:00"), 2);
        assert_eq!(
            made,
            [
                period("2026-12-30T00:00", "2026-12-31T00:00"),
                period("2026-12-31T00:00", "2027-01-01T00:00"),
                period("2027-01-01T00:00", "2027-01-02T00:00"),
            ]
        );
        assert!(missing_ahead(&made, Step::Day, at("2026-12-30T10:00"), 2).is_empty());
    }

    #[test]
    fn a_change_of_step_leaves_neither_gap_nor_overlap() {
        let days = missing_ahead(&[], Step::Day, at("2026-11-20T10:00"), 3);
        let mut all = days.clone();
        for step in [Step::Hour, Step::Month, Step::Week, Step::Hour] {
            let now = at("2026-11-21T05:30");
            all.extend(missing_ahead(&all, step, now, 5));
            all.sort();
        }
        assert!(
            days.iter().all(|day| all.contains(day)),
            "what exists stays as it is"
        );
        for pair in all.windows(2) {
            assert_eq!(pair[0].end, pair[1].start, "{pair:?}");
        }
    }
}
