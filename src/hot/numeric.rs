//! Numbers as the server stores them inside jsonb: its type numeric, four decimal digits in two bytes. Pure.

use std::cmp::Ordering;
use std::fmt::Write;

/// Powers of this are the places of a numeric.
const BASE_DIGITS: i32 = 4;

const SIGN_MASK: u16 = 0xc000;
const NEGATIVE: u16 = 0x4000;
const SHORT: u16 = 0x8000;
const SPECIAL: u16 = 0xc000;
const SHORT_NEGATIVE: u16 = 0x2000;
const SHORT_SCALE_SHIFT: u16 = 7;
const SHORT_WEIGHT_NEGATIVE: u16 = 0x0040;
const SHORT_WEIGHT_MASK: u16 = 0x003f;
const SHORT_SCALES: i32 = 63;
const SHORT_WEIGHTS: std::ops::RangeInclusive<i32> = -64..=63;
const SCALE_MASK: u16 = 0x3fff;

/// The length that the server keeps in front.
const LENGTH: usize = 4;

/// The shortest decimal number from which the same double comes back. Finite ones only.
pub fn push_double(value: f64, bytes: &mut Vec<u8>) {
    // Like 1.234e-5 or 7e0.
    let mut text = Digits::default();
    let _ = write!(text, "{value:e}");
    let written = text.written();
    let end = written
        .iter()
        .position(|byte| *byte == b'e')
        .unwrap_or(written.len());
    let exponent = std::str::from_utf8(written.get(end + 1..).unwrap_or_default());
    let exponent: i32 = exponent.ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let digits = Digits::of(&written[..end]);
    push(value < 0.0, digits.written(), exponent, bytes);
}

pub fn push_whole(value: i64, bytes: &mut Vec<u8>) {
    let mut text = Digits::default();
    let _ = write!(text, "{}", value.unsigned_abs());
    let digits = Digits::of(text.written());
    let exponent = digits.written().len() as i32 - 1;
    push(value < 0, digits.written(), exponent, bytes);
}

/// Room for every number of ours, so that none needs memory of its own.
#[derive(Default)]
struct Digits {
    bytes: [u8; 32],
    length: usize,
}

impl Digits {
    /// The digits of a text, as numbers.
    fn of(text: &[u8]) -> Digits {
        let mut digits = Digits::default();
        for digit in text.iter().filter(|byte| byte.is_ascii_digit()) {
            digits.add(digit - b'0');
        }
        digits
    }

    fn add(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn written(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Write for Digits {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        text.bytes().for_each(|byte| self.add(byte));
        Ok(())
    }
}

/// Digits, each 0 to 9, and the power of ten of the first.
fn push(negative: bool, digits: &[u8], exponent: i32, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    // How many are shown behind the point.
    let scale = (digits.len() as i32 - 1 - exponent).max(0);
    let zero = digits.iter().all(|digit| *digit == 0);
    let negative = negative && !zero;
    let weight = if zero { 0 } else { exponent.div_euclid(BASE_DIGITS) };
    bytes.extend_from_slice(&[0; LENGTH]);
    if scale <= SHORT_SCALES && SHORT_WEIGHTS.contains(&weight) {
        let mut header = SHORT | (scale as u16) << SHORT_SCALE_SHIFT;
        if negative {
            header |= SHORT_NEGATIVE;
        }
        if weight < 0 {
            header |= SHORT_WEIGHT_NEGATIVE;
        }
        header |= weight as u16 & SHORT_WEIGHT_MASK;
        bytes.extend_from_slice(&header.to_ne_bytes());
    } else {
        let sign = if negative { NEGATIVE } else { 0 };
        let header = sign | scale as u16 & SCALE_MASK;
        bytes.extend_from_slice(&header.to_ne_bytes());
        bytes.extend_from_slice(&(weight as i16).to_ne_bytes());
    }
    push_places(digits, exponent, bytes);
    let length = (bytes.len() - start) as u32;
    let length = if cfg!(target_endian = "little") {
        length << 2
    } else {
        length
    };
    bytes[start..start + LENGTH].copy_from_slice(&length.to_ne_bytes());
}

/// Four digits each, zeros at the end left out.
fn push_places(digits: &[u8], exponent: i32, bytes: &mut Vec<u8>) {
    let mut end = bytes.len();
    // Digits of the first place that the number does not have.
    let mut filled = BASE_DIGITS - 1 - exponent.rem_euclid(BASE_DIGITS);
    let mut place = 0u16;
    let mut add = |place: u16| {
        bytes.extend_from_slice(&place.to_ne_bytes());
        if place != 0 {
            end = bytes.len();
        }
    };
    for digit in digits {
        place = place * 10 + u16::from(*digit);
        filled += 1;
        if filled == BASE_DIGITS {
            add(place);
            (place, filled) = (0, 0);
        }
    }
    if filled > 0 {
        add(place * 10u16.pow((BASE_DIGITS - filled) as u32));
    }
    bytes.truncate(end);
}

/// A stored number taken apart.
struct Parts<'a> {
    negative: bool,
    weight: i32,
    places: &'a [u8],
}

fn parts(stored: &[u8]) -> Option<Parts<'_>> {
    let half = |at: usize| Some(u16::from_ne_bytes(stored.get(at..at + 2)?.try_into().ok()?));
    let header = half(LENGTH)?;
    match header & SIGN_MASK {
        // NaN and infinity, which jsonb has not.
        SPECIAL => None,
        SHORT => {
            let low = header & SHORT_WEIGHT_MASK;
            let weight = if header & SHORT_WEIGHT_NEGATIVE != 0 {
                (low | !SHORT_WEIGHT_MASK) as i16
            } else {
                low as i16
            };
            Some(Parts {
                negative: header & SHORT_NEGATIVE != 0,
                weight: i32::from(weight),
                places: stored.get(LENGTH + 2..)?,
            })
        }
        sign => Some(Parts {
            negative: sign == NEGATIVE,
            weight: i32::from(half(LENGTH + 2)? as i16),
            places: stored.get(LENGTH + 4..)?,
        }),
    }
}

impl Parts<'_> {
    /// The first so many places as one number, if it is not too large.
    fn digits(&self, count: usize) -> Option<i64> {
        let places = (0..i32::try_from(count).ok()?).map(|place| self.place(self.weight - place));
        (count <= MOST_PLACES).then(|| places.fold(0, |digits, place| digits * 10_000 + i64::from(place)))
    }

    fn place(&self, weight: i32) -> u16 {
        let index = usize::try_from(self.weight - weight).unwrap_or(usize::MAX / 4);
        let bytes = self.places.get(index * 2..index * 2 + 2);
        bytes.map_or(0, |bytes| u16::from_ne_bytes([bytes[0], bytes[1]]))
    }
}

/// Places that fit into a bigint, whatever they are.
const MOST_PLACES: usize = 4;

/// Powers of the base that a double holds without loss.
const EXACT_POWERS: [f64; 6] = [1.0, 1e4, 1e8, 1e12, 1e16, 1e20];

/// The double that is nearest to a number. None for what takes more than one step to convert.
pub fn double(stored: &[u8]) -> Option<f64> {
    let parts = parts(stored)?;
    let count = parts.places.len() / 2;
    let digits = parts
        .digits(count)
        .filter(|digits| *digits <= 1 << f64::MANTISSA_DIGITS)?;
    // Of two numbers without a loss: what comes of them is rounded once.
    let power = parts.weight - (count as i32 - 1);
    let scale = EXACT_POWERS.get(power.unsigned_abs() as usize)?;
    let size = match power {
        0.. => digits as f64 * scale,
        _ => digits as f64 / scale,
    };
    Some(if parts.negative { -size } else { size })
}

/// The whole number that it is. None for what is none, or is not said in one step.
pub fn whole(stored: &[u8]) -> Option<i64> {
    let parts = parts(stored)?;
    let count = usize::try_from(parts.weight + 1).ok()?;
    if parts.places.len() / 2 > count {
        return None;
    }
    let size = parts.digits(count)?;
    Some(if parts.negative { -size } else { size })
}

/// Which of two is greater, whatever the digits that are shown.
pub fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let (Some(left), Some(right)) = (parts(left), parts(right)) else {
        return left.cmp(right);
    };
    let sign = |parts: &Parts| match (parts.places.is_empty(), parts.negative) {
        (true, _) => 0,
        (false, true) => -1,
        (false, false) => 1,
    };
    let by_sign = sign(&left).cmp(&sign(&right));
    if by_sign != Ordering::Equal || sign(&left) == 0 {
        return by_sign;
    }
    let highest = left.weight.max(right.weight);
    let end = |parts: &Parts| parts.weight - (parts.places.len() / 2) as i32;
    let lowest = end(&left).min(end(&right));
    let by_size = left.weight.cmp(&right.weight).then_with(|| {
        (lowest..=highest)
            .rev()
            .map(|weight| left.place(weight).cmp(&right.place(weight)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    });
    if left.negative { by_size.reverse() } else { by_size }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn double(value: f64) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_double(value, &mut bytes);
        bytes
    }

    fn whole(value: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_whole(value, &mut bytes);
        bytes
    }

    /// All digits, without an exponent, as the server writes it; None for what is no number.
    fn text(stored: &[u8]) -> Option<String> {
        let parts = parts(stored)?;
        let header = u16::from_ne_bytes([stored[LENGTH], stored[LENGTH + 1]]);
        let scale = i32::from(match header & SIGN_MASK {
            SHORT => (header & 0x1f80) >> SHORT_SCALE_SHIFT,
            _ => header & SCALE_MASK,
        });
        let mut text = String::new();
        if parts.negative {
            text.push('-');
        }
        let mut whole = String::new();
        for weight in (0..=parts.weight.max(0)).rev() {
            whole.push_str(&format!("{:04}", parts.place(weight)));
        }
        let trimmed = whole.trim_start_matches('0');
        text.push_str(if trimmed.is_empty() { "0" } else { trimmed });
        if scale > 0 {
            let mut fraction = String::new();
            let mut weight = -1;
            while (fraction.len() as i32) < scale {
                fraction.push_str(&format!("{:04}", parts.place(weight)));
                weight -= 1;
            }
            fraction.truncate(scale as usize);
            text.push('.');
            text.push_str(&fraction);
        }
        Some(text)
    }

    const DOUBLES: [f64; 22] = [
        0.0,
        1.0,
        -1.0,
        0.1,
        0.1 + 0.2,
        21.5,
        9999.0,
        10000.0,
        10001.0,
        99990000.0,
        0.0001,
        0.00012345,
        -0.00001,
        123456789.125,
        1e15,
        1e22,
        1e300,
        1e-300,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
    ];

    #[test]
    fn every_double_comes_back_as_it_went_in() {
        for value in DOUBLES {
            let text = text(&double(value)).unwrap();
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
        }
        assert_eq!(text(&double(-0.0)).unwrap(), "0");
        assert_eq!(text(&double(0.1 + 0.2)).unwrap(), "0.30000000000000004");
        assert_eq!(text(&double(1e22)).unwrap(), "10000000000000000000000");
    }

    #[test]
    fn numbers_are_read_as_their_text_says_or_not_at_all() {
        let mut read = 0;
        let of_text = (0..200_000).map(|n| f64::from(n * 7919 % 100_003 - 20_000) / 1000.0);
        for value in DOUBLES.into_iter().chain(of_text) {
            if let Some(found) = super::double(&double(value)) {
                assert_eq!(found, value);
                read += 1;
            }
        }
        assert!(read > 200_000, "{read}");
        for value in [
            0,
            1,
            -1,
            9999,
            10_000,
            -10_001,
            99_990_000,
            1 << 53,
            9_999_999_999_999_999,
        ] {
            assert_eq!(super::whole(&whole(value)), Some(value));
        }
        for value in [i64::MAX, i64::MIN, 10_000_000_000_000_000] {
            assert!(super::whole(&whole(value)).is_none_or(|found| found == value));
        }
        assert_eq!(super::whole(&double(0.5)), None);
        assert_eq!(super::whole(&double(1.5)), None);
        assert_eq!(super::whole(&double(1e300)), None);
    }

    #[test]
    fn every_bigint_comes_back_as_it_went_in() {
        for value in [
            0,
            1,
            -1,
            9,
            10,
            9999,
            10_000,
            10_000_000,
            i64::MAX,
            i64::MIN,
            1 << 53,
        ] {
            assert_eq!(text(&whole(value)).unwrap(), value.to_string());
        }
    }

    #[test]
    fn bytes_are_those_of_the_server() {
        // As PostgreSQL 15 stores 21.5, 0 and 1e300 on a little-endian machine.
        if cfg!(target_endian = "little") {
            assert_eq!(double(21.5), [40, 0, 0, 0, 0x80, 0x80, 21, 0, 0x88, 0x13]);
            assert_eq!(double(0.0), [24, 0, 0, 0, 0, 0x80]);
            assert_eq!(double(1e300), [40, 0, 0, 0, 0, 0, 75, 0, 1, 0]);
        }
    }

    #[test]
    fn numbers_are_ordered_by_their_size() {
        let mut sorted = DOUBLES;
        sorted.sort_by(f64::total_cmp);
        for (left, right) in sorted.iter().zip(&sorted[1..]) {
            assert_eq!(
                compare(&double(*left), &double(*right)),
                Ordering::Less,
                "{left} {right}"
            );
            assert_eq!(compare(&double(*right), &double(*left)), Ordering::Greater);
        }
        assert_eq!(compare(&double(7.0), &whole(7)), Ordering::Equal);
        assert_eq!(compare(&whole(i64::MIN), &whole(i64::MAX)), Ordering::Less);
        assert_eq!(compare(&whole(i64::MAX - 1), &whole(i64::MAX)), Ordering::Less);
    }
}
