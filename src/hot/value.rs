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

    /// The other way round, for values that the extension wrote; None for what cannot be one of that type, and for JSON.
    pub fn decode(value_type: ValueType, item: Item<'a>) -> Option<HotValue<'a>> {
        let text = || std::str::from_utf8(item.bytes).ok();
        Some(match (value_type, item.kind) {
            (ValueType::Number, Kind::Numeric) => HotValue::Number(numeric::text(item.bytes)?.parse().ok()?),
            (ValueType::Number, Kind::String) => HotValue::Number(match text()? {
                "NaN" => f64::NAN,
                "Infinity" => f64::INFINITY,
                "-Infinity" => f64::NEG_INFINITY,
                _ => return None,
            }),
            (ValueType::Integer, Kind::Numeric) => {
                HotValue::Integer(numeric::text(item.bytes)?.parse().ok()?)
            }
            (ValueType::Boolean, Kind::False) => HotValue::Boolean(false),
            (ValueType::Boolean, Kind::True) => HotValue::Boolean(true),
            (ValueType::Timestamp, Kind::String) => HotValue::Timestamp(moment::parse(text()?)?),
            (ValueType::Text, Kind::String) => HotValue::Text(Cow::Borrowed(text()?)),
            _ => return None,
        })
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn no_json(_: &str, _: &mut Vec<u8>) -> Kind {
        Kind::Null
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        for (value_type, value) in [
            (ValueType::Number, HotValue::Number(0.1 + 0.2)),
            (ValueType::Number, HotValue::Number(f64::MAX)),
            (ValueType::Number, HotValue::Number(f64::NEG_INFINITY)),
            (ValueType::Integer, HotValue::Integer(i64::MIN)),
            (ValueType::Boolean, HotValue::Boolean(true)),
            (ValueType::Boolean, HotValue::Boolean(false)),
            (ValueType::Timestamp, HotValue::Timestamp(i64::MAX)),
            (ValueType::Text, HotValue::Text("größe".into())),
        ] {
            let mut bytes = Vec::new();
            let kind = value.encode(&no_json, &mut bytes);
            let item = Item { kind, bytes: &bytes };
            assert_eq!(HotValue::decode(value_type, item), Some(value));
            assert_eq!(HotValue::decode(ValueType::Json, item), None);
        }
        let mut bytes = Vec::new();
        let kind = HotValue::Number(f64::NAN).encode(&no_json, &mut bytes);
        let item = Item { kind, bytes: &bytes };
        let found = HotValue::decode(ValueType::Number, item).unwrap();
        assert!(matches!(found, HotValue::Number(value) if value.is_nan()));
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
