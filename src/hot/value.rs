//! The values of hot attributes, as they are in a fact and as they are in a document. Pure: what JSON is in the server's own
//! layout, only the server says, so that comes as a function.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::document::{Item, Kind};
use super::{moment, numeric};
use crate::staging::judge::ValueType;

#[derive(Debug, Clone, PartialEq)]
pub enum HotValue<'a> {
    Number(f64),
    Integer(i64),
    Boolean(bool),
    /// Microseconds since 1970.
    Timestamp(i64),
    Text(Cow<'a, str>),
    /// The text of it.
    Json(Cow<'a, str>),
}

/// Adds a JSON text in the server's layout to the bytes, and says what it is.
pub type JsonReader<'r> = &'r dyn Fn(&str, &mut Vec<u8>) -> Kind;

impl<'a> HotValue<'a> {
    /// From the columns of a fact; None when the column of that type is empty.
    pub fn of_fact(
        value_type: ValueType,
        number: Option<f64>,
        whole: Option<i64>,
        text: impl FnOnce() -> Option<Cow<'a, str>>,
    ) -> Option<HotValue<'a>> {
        Some(match value_type {
            ValueType::Number => HotValue::Number(number?),
            ValueType::Integer => HotValue::Integer(whole?),
            ValueType::Boolean => HotValue::Boolean(whole? != 0),
            ValueType::Timestamp => HotValue::Timestamp(whole?),
            ValueType::Text => HotValue::Text(text()?),
            ValueType::Json => HotValue::Json(text()?),
        })
    }

    pub fn into_owned(self) -> HotValue<'static> {
        match self {
            HotValue::Number(value) => HotValue::Number(value),
            HotValue::Integer(value) => HotValue::Integer(value),
            HotValue::Boolean(value) => HotValue::Boolean(value),
            HotValue::Timestamp(value) => HotValue::Timestamp(value),
            HotValue::Text(text) => HotValue::Text(text.into_owned().into()),
            HotValue::Json(text) => HotValue::Json(text.into_owned().into()),
        }
    }

    /// Adds the value as it is kept in a document. Doubles become the shortest number from which the same double comes back;
    /// those that are no numbers become strings, as the server writes them into JSON.
    pub fn encode(&self, json: JsonReader, bytes: &mut Vec<u8>) -> Kind {
        match self {
            HotValue::Number(value) if value.is_finite() => {
                numeric::push_double(*value, bytes);
                Kind::Numeric
            }
            HotValue::Number(value) => {
                let name = match value {
                    value if value.is_nan() => "NaN",
                    value if *value > 0.0 => "Infinity",
                    _ => "-Infinity",
                };
                bytes.extend_from_slice(name.as_bytes());
                Kind::String
            }
            HotValue::Integer(value) => {
                numeric::push_whole(*value, bytes);
                Kind::Numeric
            }
            HotValue::Boolean(false) => Kind::False,
            HotValue::Boolean(true) => Kind::True,
            HotValue::Timestamp(micros) => {
                bytes.extend_from_slice(moment::text(*micros).as_bytes());
                Kind::String
            }
            HotValue::Text(text) => {
                bytes.extend_from_slice(text.as_bytes());
                Kind::String
            }
            HotValue::Json(text) => json(text, bytes),
        }
    }

    /// Which of two values of one attribute wins when they were observed and came in at the same time.
    pub fn compare(&self, other: &HotValue, json: JsonReader) -> Ordering {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        let (left_kind, right_kind) = (self.encode(json, &mut left), other.encode(json, &mut right));
        Item {
            kind: left_kind,
            bytes: &left,
        }
        .compare(&Item {
            kind: right_kind,
            bytes: &right,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_json(_: &str, _: &mut Vec<u8>) -> Kind {
        Kind::Null
    }

    #[test]
    fn each_type_has_its_kind_of_value() {
        for (value, kind, bytes) in [
            (
                HotValue::Number(f64::NEG_INFINITY),
                Kind::String,
                &b"-Infinity"[..],
            ),
            (HotValue::Number(f64::NAN), Kind::String, b"NaN"),
            (HotValue::Boolean(true), Kind::True, b""),
            (HotValue::Boolean(false), Kind::False, b""),
            (
                HotValue::Timestamp(1),
                Kind::String,
                b"1970-01-01T00:00:00.000001Z",
            ),
            (HotValue::Text("x".into()), Kind::String, b"x"),
        ] {
            let mut found = Vec::new();
            assert_eq!(value.encode(&no_json, &mut found), kind);
            assert_eq!(found, bytes);
        }
    }

    #[test]
    fn between_values_of_one_moment_the_greater_wins() {
        let number = HotValue::Number;
        assert_eq!(number(2.0).compare(&number(10.0), &no_json), Ordering::Less);
        assert_eq!(number(-0.0).compare(&number(0.0), &no_json), Ordering::Equal);
        assert_eq!(number(1e300).compare(&number(f64::NAN), &no_json), Ordering::Less);
        let text = |text: &'static str| HotValue::Text(text.into());
        assert_eq!(text("ab").compare(&text("b"), &no_json), Ordering::Less);
    }
}
