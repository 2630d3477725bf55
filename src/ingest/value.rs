//! From the values of JSON to those of a reading. Pure.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::staging::compose::NewValue;
use crate::staging::judge::ValueType;

/// A value of a document, as far as its type decides.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    Boolean(bool),
    /// All digits.
    Number(String),
    Text(&'a str),
    Object,
    Array,
}

impl Json<'_> {
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Boolean(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::Text(_) => "a string",
            Json::Object => "an object",
            Json::Array => "an array",
        }
    }
}

/// The value of a reading, in the column that its type asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Typed<'a> {
    Number(f64),
    Whole(i64),
    Text(Cow<'a, str>),
    /// The text of the object or array.
    Nested,
}

impl Typed<'_> {
    /// As it goes into a row; the text of what is nested is known by then.
    pub fn column(&self) -> NewValue<'_> {
        match self {
            Typed::Number(value) => NewValue::Number(*value),
            Typed::Whole(value) => NewValue::Whole(*value),
            Typed::Text(text) => NewValue::Text(text),
            Typed::Nested => NewValue::Text(""),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// Another kind of value altogether.
    Kind,
    Fraction,
    OutOfRange,
    /// A string that is no time, or leaves open which one.
    NoTime,
    TimeOutOfRange,
}

pub fn typed<'a>(value_type: ValueType, json: &Json<'a>) -> Result<Typed<'a>, Mismatch> {
    match (value_type, json) {
        (ValueType::Number, Json::Number(digits)) => double(digits).map(Typed::Number),
        // As the server writes them into JSON, which has no numbers for them.
        (ValueType::Number, Json::Text("NaN")) => Ok(Typed::Number(f64::NAN)),
        (ValueType::Number, Json::Text("Infinity")) => Ok(Typed::Number(f64::INFINITY)),
        (ValueType::Number, Json::Text("-Infinity")) => Ok(Typed::Number(f64::NEG_INFINITY)),
        (ValueType::Integer | ValueType::Timestamp, Json::Number(digits)) => whole(digits).map(Typed::Whole),
        (ValueType::Boolean, Json::Boolean(value)) => Ok(Typed::Whole(i64::from(*value))),
        (ValueType::Timestamp, Json::Text(text)) => moment(text).map(Typed::Whole),
        (ValueType::Text, Json::Text(text)) => Ok(Typed::Text(Cow::Borrowed(text))),
        (ValueType::Json, Json::Object | Json::Array) => Ok(Typed::Nested),
        (ValueType::Json, Json::Boolean(value)) => Ok(Typed::Text(value.to_string().into())),
        (ValueType::Json, Json::Number(digits)) => Ok(Typed::Text(digits.clone().into())),
        (ValueType::Json, Json::Text(text)) => {
            Ok(Typed::Text(serde_json::Value::from(*text).to_string().into()))
        }
        _ => Err(Mismatch::Kind),
    }
}

/// The nearest double precision, unless that is infinity, or zero for what is not.
fn double(digits: &str) -> Result<f64, Mismatch> {
    let value: f64 = digits.parse().map_err(|_| Mismatch::Kind)?;
    let vanished = value == 0.0 && digits.bytes().any(|digit| matches!(digit, b'1'..=b'9'));
    if value.is_infinite() || vanished {
        return Err(Mismatch::OutOfRange);
    }
    Ok(value)
}

/// 21 and 21.0, not 21.5.
pub fn whole(digits: &str) -> Result<i64, Mismatch> {
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.bytes().any(|digit| digit != b'0') {
        return Err(Mismatch::Fraction);
    }
    integer.parse().map_err(|_| Mismatch::OutOfRange)
}

/// Microseconds since 1970 of a time in RFC 3339, offset included: without one, what it means would depend on who reads it.
pub fn moment(text: &str) -> Result<i64, Mismatch> {
    if matches!(text, "infinity" | "-infinity") {
        return Err(Mismatch::TimeOutOfRange);
    }
    // Years of four digits, as the standard has them; jiff knows others.
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(Mismatch::NoTime);
    }
    let time: Timestamp = text.parse().map_err(|_| Mismatch::NoTime)?;
    Ok(time.as_microsecond())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn number(digits: &str) -> Json<'static> {
        Json::Number(digits.to_owned())
    }

    #[test]
    fn each_type_takes_its_own_kinds() {
        let values = [
            number("21"),
            Json::Boolean(true),
            Json::Text("x"),
            Json::Object,
            Json::Array,
        ];
        for value_type in ValueType::ALL {
            let taken = values.clone().map(|value| typed(value_type, &value).is_ok());
            let expected = match value_type {
                ValueType::Number | ValueType::Integer | ValueType::Timestamp => {
                    [true, false, false, false, false]
                }
                ValueType::Boolean => [false, true, false, false, false],
                ValueType::Text => [false, false, true, false, false],
                ValueType::Json => [true; 5],
            };
            assert_eq!(taken, expected, "{value_type:?}");
        }
    }

    #[test]
    fn numbers_become_the_nearest_double_or_are_out_of_range() {
        for (digits, expected) in [
            ("21.5", Ok(21.5)),
            ("-0.1", Ok(-0.1)),
            ("0", Ok(0.0)),
            ("0.000", Ok(0.0)),
            ("9007199254740993", Ok(9007199254740992.0)),
        ] {
            assert_eq!(double(digits), expected, "{digits}");
        }
        let huge = format!("1{}", "0".repeat(400));
        let tiny = format!("0.{}1", "0".repeat(400));
        let subnormal = format!("0.{}1", "0".repeat(319));
        assert_eq!(double(&huge), Err(Mismatch::OutOfRange));
        assert_eq!(double(&format!("-{huge}")), Err(Mismatch::OutOfRange));
        assert_eq!(double(&tiny), Err(Mismatch::OutOfRange));
        assert_eq!(double(&subnormal), Ok(1e-320));
    }

    #[test]
    fn whole_numbers_have_no_fraction_and_fit() {
        for (digits, expected) in [
            ("21", Ok(21)),
            ("21.000", Ok(21)),
            ("21.5", Err(Mismatch::Fraction)),
            ("9223372036854775807", Ok(i64::MAX)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("9223372036854775808", Err(Mismatch::OutOfRange)),
        ] {
            assert_eq!(whole(digits), expected, "{digits}");
        }
    }

    #[test]
    fn a_time_says_which_one_it_is() {
        for (text, expected) in [
            ("1970-01-01T00:00:01Z", Ok(1_000_000)),
            ("1970-01-01T01:00:00.000001+01:00", Ok(1)),
            ("1969-12-31 23:59:59Z", Ok(-1_000_000)),
            ("2026-11-21T10:00:00", Err(Mismatch::NoTime)),
            ("2026-11-21", Err(Mismatch::NoTime)),
            ("2026-13-01T00:00:00Z", Err(Mismatch::NoTime)),
            ("294276-12-31T00:00:00Z", Err(Mismatch::NoTime)),
            ("-000044-03-15T00:00:00Z", Err(Mismatch::NoTime)),
            ("yesterday", Err(Mismatch::NoTime)),
            ("", Err(Mismatch::NoTime)),
            ("infinity", Err(Mismatch::TimeOutOfRange)),
        ] {
            assert_eq!(moment(text), expected, "{text}");
        }
    }

    #[test]
    fn json_that_is_no_object_keeps_its_text() {
        assert_eq!(
            typed(ValueType::Json, &Json::Text("a\"b")),
            Ok(Typed::Text("\"a\\\"b\"".into()))
        );
        assert_eq!(
            typed(ValueType::Json, &number("21.50")),
            Ok(Typed::Text("21.50".into()))
        );
        assert_eq!(
            typed(ValueType::Json, &Json::Boolean(false)),
            Ok(Typed::Text("false".into()))
        );
    }

    #[test]
    fn what_is_no_number_has_three_names() {
        let nan = typed(ValueType::Number, &Json::Text("NaN")).unwrap();
        assert!(matches!(nan, Typed::Number(value) if value.is_nan()));
        assert_eq!(
            typed(ValueType::Number, &Json::Text("-Infinity")),
            Ok(Typed::Number(f64::NEG_INFINITY))
        );
        assert_eq!(typed(ValueType::Number, &Json::Text("nan")), Err(Mismatch::Kind));
        assert_eq!(typed(ValueType::Integer, &Json::Text("NaN")), Err(Mismatch::Kind));
    }
}
