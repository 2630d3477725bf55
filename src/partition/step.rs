//! The time that one new partition covers: calendar units and even parts of them, in UTC. Pure.

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, ToSpan};

use super::bounds::{Micros, Period, civil, micros};

const MINUTE: Micros = 60 * 1_000_000;
const DAY: Micros = 24 * 60 * MINUTE;

/// The shortest that may be asked for: beyond some hundred partitions a day, planning takes longer than reading.
const SHORTEST: Micros = 10 * MINUTE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Microseconds that divide a day.
    Part(Micros),
    /// From Monday on.
    Week,
    /// A number of months that divides a year.
    Months(i64),
}

impl Step {
    pub const DAY: Step = Step::Part(DAY);

    /// `hour`, `day`, `week`, `month`, or a number and a unit, as far as it divides evenly: a day, or a year.
    pub fn parse(text: &str) -> Option<Step> {
        let mut words = text.split_whitespace();
        let first = words.next()?;
        let (count, unit) = match first.parse::<i64>() {
            Ok(count) => (count, words.next()?),
            Err(_) => (1, first),
        };
        if words.next().is_some() || count < 1 {
            return None;
        }
        let unit = unit.to_ascii_lowercase();
        let part = |length: Micros| {
            let step = count.checked_mul(length)?;
            let even = (SHORTEST..=DAY).contains(&step) && DAY % step == 0;
            even.then_some(Step::Part(step))
        };
        let months = |length: i64| {
            let step = count.checked_mul(length)?;
            (step <= 12 && 12 % step == 0).then_some(Step::Months(step))
        };
        match unit.strip_suffix('s').unwrap_or(&unit) {
            "minute" => part(MINUTE),
            "hour" => part(60 * MINUTE),
            "day" if count == 7 => Some(Step::Week),
            "day" => part(DAY),
            "week" if count == 1 => Some(Step::Week),
            "month" => months(1),
            "year" => months(12),
            _ => None,
        }
    }

    /// The period of this step that contains the time; None outside the years that a bound can be written for.
    pub fn period_at(self, time: Micros) -> Option<Period> {
        let date_time = civil(time)?;
        let day = date_time.date();
        let midnight = |date: Date| date.to_datetime(jiff::civil::Time::midnight());
        let (start, end): (DateTime, DateTime) = match self {
            Step::Part(length) => {
                let start = time - time.rem_euclid(DAY).rem_euclid(length);
                let start = civil(start)?;
                (
                    start,
                    start.checked_add(SignedDuration::from_micros(length)).ok()?,
                )
            }
            Step::Week => {
                let monday = day
                    .checked_sub(i64::from(day.weekday().to_monday_zero_offset()).days())
                    .ok()?;
                (midnight(monday), midnight(monday.checked_add(7.days()).ok()?))
            }
            Step::Months(length) => {
                let before = (i64::from(day.month()) - 1) % length;
                let first = day.first_of_month().checked_sub(before.months()).ok()?;
                (
                    midnight(first),
                    midnight(first.checked_add(length.months()).ok()?),
                )
            }
        };
        Some(Period {
            start: micros(start)?,
            end: micros(end)?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::partition::bounds::tests::{at, period};

    #[test]
    fn steps_are_units_and_what_divides_them_evenly() {
        for (text, step) in [
            ("hour", Step::Part(60 * MINUTE)),
            ("day", Step::DAY),
            ("week", Step::Week),
            ("7 days", Step::Week),
            ("month", Step::Months(1)),
            ("1 Month", Step::Months(1)),
            ("3 months", Step::Months(3)),
            ("1 year", Step::Months(12)),
            ("6 hours", Step::Part(6 * 60 * MINUTE)),
            ("  15   minutes ", Step::Part(15 * MINUTE)),
            ("24 hours", Step::DAY),
        ] {
            assert_eq!(Step::parse(text), Some(step), "{text}");
        }
        for text in [
            "",
            "2",
            "5 hours",
            "7 hours",
            "5 minutes",
            "2 days",
            "2 weeks",
            "5 months",
            "0 hours",
            "-1 day",
            "1 day 2 hours",
            "25 hours",
            "fortnight",
            "9223372036854775807 hours",
            "2 years",
            "1.5 hours",
        ] {
            assert_eq!(Step::parse(text), None, "{text}");
        }
    }

    #[test]
    fn each_step_has_the_bounds_of_the_utc_calendar() {
        let time = at("2024-02-29T13:45:10");
        let expected = [
            ("15 minutes", period("2024-02-29T13:45", "2024-02-29T14:00")),
            ("hour", period("2024-02-29T13:00", "2024-02-29T14:00")),
            ("8 hours", period("2024-02-29T08:00", "2024-02-29T16:00")),
            ("day", period("2024-02-29T00:00", "2024-03-01T00:00")),
            ("week", period("2024-02-26T00:00", "2024-03-04T00:00")),
            ("month", period("2024-02-01T00:00", "2024-03-01T00:00")),
            ("3 months", period("2024-01-01T00:00", "2024-04-01T00:00")),
            ("year", period("2024-01-01T00:00", "2025-01-01T00:00")),
        ];
        for (step, bounds) in expected {
            assert_eq!(Step::parse(step).unwrap().period_at(time), Some(bounds), "{step}");
        }
    }

    #[test]
    fn a_week_goes_across_the_end_of_a_year() {
        assert_eq!(
            Step::Week.period_at(at("2027-01-01T10:00")),
            Some(period("2026-12-28T00:00", "2027-01-04T00:00"))
        );
    }

    #[test]
    fn every_time_of_a_leap_year_is_in_exactly_one_period() {
        for text in ["6 hours", "day", "week", "month", "4 months"] {
            let step = Step::parse(text).unwrap();
            let mut current = step.period_at(at("2024-01-01T00:00")).unwrap();
            while current.end < at("2025-01-08T00:00") {
                assert_eq!(step.period_at(current.end - 1), Some(current), "{text}");
                let next = step.period_at(current.end).unwrap();
                assert_eq!(next.start, current.end, "{text}");
                current = next;
            }
        }
    }

    #[test]
    fn times_before_1970_and_at_the_end_of_the_calendar_do_not_overflow() {
        assert_eq!(
            Step::Months(1).period_at(at("1969-12-31T23:59:59")),
            Some(period("1969-12-01T00:00", "1970-01-01T00:00"))
        );
        assert_eq!(
            Step::Part(60 * MINUTE).period_at(at("1969-12-31T23:59:59")),
            Some(period("1969-12-31T23:00", "1970-01-01T00:00"))
        );
        assert_eq!(Step::Months(1).period_at(at("9999-12-15T00:00")), None);
        assert_eq!(Step::DAY.period_at(i64::MAX), None);
        assert_eq!(Step::DAY.period_at(i64::MIN), None);
    }
}
