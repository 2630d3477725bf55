//! Times as text: ISO 8601 in UTC. Pure, and good for every number of microseconds, which no calendar library is.

const MICROS: i64 = 1_000_000;
const DAY: i64 = 86_400 * MICROS;

/// Days of 400 years, in which the calendar repeats itself.
const DAYS_OF_CYCLE: i64 = 146_097;

/// `2026-11-21T10:00:00Z`, with a fraction where there is one; a year outside 0 to 9999 has a sign and six digits, as the standard
/// has it, so that nothing is lost. `micros`: since 1970.
pub fn text(micros: i64) -> String {
    let (year, month, day) = civil(micros.div_euclid(DAY));
    let of_day = micros.rem_euclid(DAY);
    let (seconds, fraction) = (of_day / MICROS, of_day % MICROS);
    let year = if (0..=9999).contains(&year) {
        format!("{year:04}")
    } else {
        format!("{year:+07}")
    };
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if fraction > 0 {
        let digits = format!(".{fraction:06}");
        text.push_str(digits.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// What `text` wrote.
pub fn parse(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut from_right = date.rsplitn(3, '-');
    let day: i64 = from_right.next()?.parse().ok()?;
    let month: i64 = from_right.next()?.parse().ok()?;
    let year: i64 = from_right.next()?.parse().ok()?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = time.split(':');
    let mut part = || parts.next()?.parse::<i64>().ok();
    let seconds = part()? * 3600 + part()? * 60 + part()?;
    let micros: i64 = if fraction.is_empty() {
        0
    } else {
        format!("{fraction:0<6}").parse().ok()?
    };
    let days = i128::from(days(year, month, day));
    let total = days * i128::from(DAY) + i128::from(seconds * MICROS + micros);
    i64::try_from(total).ok()
}

/// Year, month and day of a day since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years that begin in March: the leap day is the last.
    let shifted = days + 719_468;
    let cycle = shifted.div_euclid(DAYS_OF_CYCLE);
    let of_cycle = shifted.rem_euclid(DAYS_OF_CYCLE);
    let year = (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + cycle * 400 + i64::from(month <= 2), month, day)
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let cycle = year.div_euclid(400);
    let of_cycle = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    cycle * DAYS_OF_CYCLE + of_cycle * 365 + of_cycle / 4 - of_cycle / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (1, "1970-01-01T00:00:00.000001Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00Z"),
            (1_795_255_200_500_000, "2026-11-21T10:00:00.5Z"),
            (-62_167_219_200_000_000, "0000-01-01T00:00:00Z"),
            (-62_167_219_200_000_001, "-000001-12-31T23:59:59.999999Z"),
            (253_402_300_800_000_000, "+010000-01-01T00:00:00Z"),
        ] {
            assert_eq!(text(micros), expected);
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let mut micros = 1;
        for step in 0..4000i64 {
            micros = i64::wrapping_mul(micros, 6_364_136_223_846_793_005).wrapping_add(step);
            for value in [micros, micros % (4000 * 365 * DAY), step * DAY, -step * DAY - 1] {
                assert_eq!(parse(&text(value)), Some(value), "{}", text(value));
            }
        }
        for value in [i64::MIN, i64::MAX] {
            assert_eq!(parse(&text(value)), Some(value), "{}", text(value));
        }
        for wrong in ["", "Z", "2026-11-21", "2026-11-21T10:00Z", "x-y-zTa:b:cZ"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
