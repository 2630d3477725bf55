//! Bounds and names of partitions, in UTC and nothing else: neither the session's TimeZone nor daylight saving can move
//! them. Pure: times are microseconds since 1970.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::step::Step;

pub type Micros = i64;

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

/// The partition to make for a time that none of the existing ones covers: the period of the step, cut to the gap
/// between its neighbours, so that a change of step never overlaps. None when the time is covered already.
/// `existing` must be in order of start.
pub fn missing_at(existing: &[Period], step: Step, time: Micros) -> Option<Period> {
    if existing.iter().any(|period| period.contains(time)) {
        return None;
    }
    let wanted = step.period_at(time)?;
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

/// What is missing from one time up to another, in pieces of the step.
fn missing_between(existing: &[Period], step: Step, from: Micros, until: Micros) -> Vec<Period> {
    let mut made = Vec::new();
    let mut time = from;
    while time < until {
        // What is made here ends where the next piece begins, so only what was there before can cover it.
        let covering = existing.iter().find(|period| period.contains(time)).copied();
        let Some(next) = covering.or_else(|| missing_at(existing, step, time)) else {
            break;
        };
        // The first piece must not reach back before what was asked for.
        let next = match (covering, made.is_empty()) {
            (None, true) => Period {
                start: next.start.max(from),
                ..next
            },
            _ => next,
        };
        if covering.is_none() {
            made.push(next);
        }
        time = next.end;
    }
    made
}

/// What should be there and is not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Behind the current period, between partitions that are there.
    pub gaps: Vec<Period>,
    /// The current period and those ahead of it.
    pub ahead: Vec<Period>,
}

/// What is missing from the period that contains `now` to the end of the `ahead`-th period after it, and the gaps behind it:
/// as far back as readings are accepted, and no further than it goes ahead. Older gaps, and what lies before the first
/// partition, get a partition when a reading comes for them: else one late reading would call for hundreds.
pub fn missing(
    existing: &[Period],
    step: Step,
    now: Micros,
    ahead: usize,
    accepted_since: Micros,
) -> Missing {
    let Some(current) = step.period_at(now) else {
        return Missing::default();
    };
    let (mut from, mut until) = (current.start, current.end);
    for _ in 0..ahead {
        until = step.period_at(until).map_or(until, |next| next.end);
        from = step.period_at(from - 1).map_or(from, |before| before.start);
    }
    let first = existing.first().map_or(current.start, |first| first.start);
    let since = step
        .period_at(accepted_since)
        .map_or(accepted_since, |oldest| oldest.start);
    let gaps_from = from.max(first).max(since).min(current.start);
    Missing {
        gaps: missing_between(existing, step, gaps_from, current.start),
        ahead: missing_between(existing, step, current.start, until),
    }
}

/// Until when there is a partition for every time from `now` on, by periods in order of start; None: not even for now.
pub fn covered_until(existing: &[Period], now: Micros) -> Option<Micros> {
    existing.iter().fold(None, |covered, period| match covered {
        None if period.contains(now) => Some(period.end),
        Some(end) if period.start == end => Some(period.end),
        known => known,
    })
}

pub(super) fn civil(time: Micros) -> Option<DateTime> {
    Timestamp::from_microsecond(time)
        .ok()
        .map(|timestamp| Offset::UTC.to_datetime(timestamp))
}

pub(super) fn micros(date_time: DateTime) -> Option<Micros> {
    Offset::UTC
        .to_timestamp(date_time)
        .ok()
        .map(|timestamp| timestamp.as_microsecond())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    const HOUR: Step = Step::Part(3600 * 1_000_000);
    const MONTH: Step = Step::Months(1);

    pub fn at(text: &str) -> Micros {
        micros(text.parse().unwrap()).unwrap()
    }

    pub fn period(start: &str, end: &str) -> Period {
        Period {
            start: at(start),
            end: at(end),
        }
    }

    #[test]
    fn a_bound_belongs_to_the_period_it_begins() {
        let bounds = period("2026-11-21T00:00", "2026-11-22T00:00");
        assert!(bounds.contains(bounds.start));
        assert!(!bounds.contains(bounds.end));
        assert_eq!(Step::DAY.period_at(bounds.end).unwrap().start, bounds.end);
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
        assert_eq!(missing_at(&existing, HOUR, at("2026-11-21T23:59:59")), None);
    }

    #[test]
    fn a_new_partition_is_cut_to_the_gap_between_its_neighbours() {
        let existing = [
            period("2026-11-01T00:00", "2026-11-10T00:00"),
            period("2026-11-20T12:00", "2026-11-21T00:00"),
        ];
        assert_eq!(
            missing_at(&existing, MONTH, at("2026-11-15T00:00")),
            Some(period("2026-11-10T00:00", "2026-11-20T12:00"))
        );
    }

    const NEVER: Micros = i64::MIN;

    #[test]
    fn ahead_covers_the_current_period_and_that_many_more() {
        let now = at("2026-12-30T10:00");
        let made = missing(&[], Step::DAY, now, 2, NEVER);
        assert_eq!(
            made.ahead,
            [
                period("2026-12-30T00:00", "2026-12-31T00:00"),
                period("2026-12-31T00:00", "2027-01-01T00:00"),
                period("2027-01-01T00:00", "2027-01-02T00:00"),
            ]
        );
        assert!(made.gaps.is_empty(), "nothing is made before the first: {made:?}");
        assert_eq!(missing(&made.ahead, Step::DAY, now, 2, NEVER), Missing::default());
    }

    #[test]
    fn gaps_are_filled_as_far_back_as_it_goes_ahead_and_no_further_than_is_accepted() {
        let existing = [
            period("2026-11-01T00:00", "2026-11-02T00:00"),
            period("2026-11-19T12:00", "2026-11-20T00:00"),
        ];
        let now = at("2026-11-21T10:00");
        let gaps = |ahead, since| missing(&existing, Step::DAY, now, ahead, since).gaps;
        assert_eq!(
            gaps(4, NEVER),
            [
                period("2026-11-17T00:00", "2026-11-18T00:00"),
                period("2026-11-18T00:00", "2026-11-19T00:00"),
                period("2026-11-19T00:00", "2026-11-19T12:00"),
                period("2026-11-20T00:00", "2026-11-21T00:00"),
            ]
        );
        assert_eq!(
            gaps(4, at("2026-11-20T01:00")),
            [period("2026-11-20T00:00", "2026-11-21T00:00")]
        );
        assert_eq!(gaps(4, now), []);
        assert_eq!(
            missing(&existing[1..], Step::DAY, now, 4, NEVER).gaps,
            [period("2026-11-20T00:00", "2026-11-21T00:00")],
            "nothing before the first"
        );
    }

    #[test]
    fn a_gap_ends_and_begins_where_its_neighbours_say() {
        let existing = [
            period("2026-11-01T00:00", "2026-11-10T00:00"),
            period("2026-11-20T12:00", "2026-11-21T00:00"),
        ];
        let all = missing(&existing, MONTH, at("2026-11-21T10:00"), 1, NEVER);
        assert_eq!(all.gaps, [], "the month is the current one");
        assert_eq!(
            all.ahead,
            [
                period("2026-11-10T00:00", "2026-11-20T12:00"),
                period("2026-11-21T00:00", "2026-12-01T00:00"),
                period("2026-12-01T00:00", "2027-01-01T00:00"),
            ]
        );
    }

    #[test]
    fn a_change_of_step_leaves_neither_gap_nor_overlap() {
        let now = at("2026-11-21T05:30");
        let days = missing(&[], Step::DAY, at("2026-11-20T10:00"), 3, NEVER).ahead;
        let mut all = days.clone();
        for step in ["hour", "month", "week", "15 minutes", "3 months", "6 hours"] {
            let more = missing(&all, Step::parse(step).unwrap(), now, 5, NEVER);
            all.extend(more.gaps);
            all.extend(more.ahead);
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

    #[test]
    fn coverage_reaches_to_the_first_gap_after_now() {
        let periods = [(0, 10), (10, 20), (20, 30), (40, 50)].map(|(start, end)| Period { start, end });
        let until = |now| covered_until(&periods, now);
        assert_eq!(
            [5, 10, 29, 30, 45, 50].map(until),
            [Some(30), Some(30), Some(30), None, Some(50), None]
        );
        assert_eq!(covered_until(&[], 0), None);
    }

    #[test]
    fn a_hole_of_a_hundred_years_is_planned_at_once_and_stays_small() {
        let existing = [period("1926-01-01T00:00", "1926-01-02T00:00")];
        let all = missing(&existing, HOUR, at("2026-11-21T05:30"), 100, NEVER);
        assert_eq!((all.gaps.len(), all.ahead.len()), (100, 101));
    }
}
