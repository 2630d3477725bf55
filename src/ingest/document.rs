//! The documents that come in, taken apart: which entity, when, which readings.

use super::fault::{Fault, shown};
use super::request::Request;
use super::value::{Json, Mismatch, moment, whole};
use crate::pg::jsonb::{Container, Jsonb, Shape, Value};
use crate::pg::partitions::EPOCH_2000;
use crate::staging::judge::ValueType;

/// Largest document. It lies in memory, and beside it what is made of it.
pub const MOST_BYTES: usize = 64 << 20;

/// Most readings of one call, for the same reason.
pub const MOST_READINGS: usize = 1_000_000;

/// Readings of one entity at one time.
pub struct Item<'a> {
    pub place: Place,
    pub entity: Entity<'a>,
    /// In the server's microseconds.
    pub observed_at: Option<i64>,
    pub request: Option<Request>,
    /// Those that have a value.
    pub readings: Vec<(&'a str, Value<'a>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entity<'a> {
    Id(i64),
    External(&'a str),
}

/// Where in a call something is, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The arguments of `ingest()`.
    Single,
    /// An element of the batch of `ingest_many()`.
    Element(usize),
    /// The arguments of `upsert_hot_attrs()`.
    Attrs,
}

impl Place {
    /// The name of a part, for messages.
    pub fn of(self, part: &str) -> String {
        match self {
            Place::Element(index) => format!("batch[{index}].{part}"),
            Place::Single | Place::Attrs => part.to_owned(),
        }
    }

    /// The name of the document in which the readings are.
    pub fn readings(self) -> String {
        match self {
            Place::Attrs => "attrs".to_owned(),
            place => place.of("readings"),
        }
    }
}

/// What a document is about, before its readings are looked at.
pub struct Head<'a> {
    pub entity: Entity<'a>,
    pub observed_at: Option<i64>,
    pub request_id: Option<[u8; 16]>,
}

/// The root of an argument that is not too large.
pub fn open<'a>(document: &Jsonb<'a>, what: &'static str) -> Result<Container<'a>, Fault> {
    let count = document.size();
    if count > MOST_BYTES {
        let most = MOST_BYTES;
        return Err(Fault::TooMuch { what, count, most });
    }
    Ok(document.root())
}

pub fn single<'a>(head: Head<'a>, readings: Container<'a>) -> Result<Item<'a>, Fault> {
    item(Place::Single, head, readings, &mut 0)
}

pub fn items<'a>(root: Container<'a>) -> Result<Vec<Item<'a>>, Fault> {
    if root.shape() != Shape::Array {
        return Err(shape(
            "batch".into(),
            format!("must be a JSON array, not {}", kind(root)),
        ));
    }
    let mut total = 0;
    root.elements()
        .into_iter()
        .enumerate()
        .map(|(index, element)| batch_item(index, element, &mut total))
        .collect()
}

fn batch_item<'a>(index: usize, element: Value<'a>, total: &mut usize) -> Result<Item<'a>, Fault> {
    let place = Place::Element(index);
    pgrx::check_for_interrupts!();
    let whole_element = || format!("batch[{index}]");
    let object = match element {
        Value::Nested(object) if object.shape() == Shape::Object => object,
        other => {
            let fault = format!("must be a JSON object, not {}", kind_of(&other));
            return Err(shape(whole_element(), fault));
        }
    };
    let mut entity = None;
    let mut twice = false;
    let mut observed_at = None;
    let mut request_id = None;
    let mut readings = None;
    for (key, value) in object.pairs() {
        let wrong = |wanted: &str| {
            shape(
                place.of(key),
                format!("must be {wanted}, not {}", kind_of(&value)),
            )
        };
        match (key, value) {
            ("entity_id", Value::Number(number)) => {
                let id = whole(&number.text()).map_err(|found| match found {
                    Mismatch::OutOfRange => shape(place.of(key), "is out of range of bigint".into()),
                    _ => shape(place.of(key), "must be a number without a fraction".into()),
                })?;
                twice |= entity.replace(Entity::Id(id)).is_some();
            }
            ("external_id", Value::Text(text)) => twice |= entity.replace(Entity::External(text)).is_some(),
            ("observed_at", Value::Text(text)) => observed_at = Some(time(place, key, text)?),
            ("request_id", Value::Text(text)) => {
                let id =
                    uuid(text).ok_or_else(|| shape(place.of(key), format!("{} is no uuid", shown(text))))?;
                request_id = Some(id);
            }
            ("readings", Value::Nested(object)) => readings = Some(object),
            ("observed_at" | "request_id", Value::Null) => {}
            ("entity_id", _) => return Err(wrong("a number")),
            ("external_id" | "observed_at" | "request_id", _) => return Err(wrong("a string")),
            ("readings", _) => return Err(wrong("a JSON object")),
            _ => return Err(shape(whole_element(), format!("unknown key {}", shown(key)))),
        }
    }
    let missing = |what: &str| shape(whole_element(), format!("{what} is missing"));
    if twice {
        return Err(shape(
            whole_element(),
            "has both entity_id and external_id".into(),
        ));
    }
    let head = Head {
        entity: entity.ok_or_else(|| missing("entity_id or external_id"))?,
        observed_at,
        request_id,
    };
    item(place, head, readings.ok_or_else(|| missing("readings"))?, total)
}

/// `total`: readings of the call so far.
fn item<'a>(
    place: Place,
    head: Head<'a>,
    readings: Container<'a>,
    total: &mut usize,
) -> Result<Item<'a>, Fault> {
    if readings.shape() != Shape::Object {
        let fault = format!("must be a JSON object, not {}", kind(readings));
        return Err(shape(place.readings(), fault));
    }
    *total += readings.count();
    if *total > MOST_READINGS {
        return Err(Fault::TooMuch {
            what: "readings of one call",
            count: *total,
            most: MOST_READINGS,
        });
    }
    let request = head
        .request_id
        .map(|id| Request::new(id, head.entity, head.observed_at, readings.bytes()));
    let mut pairs = readings.pairs();
    pairs.retain(|(_, value)| !matches!(value, Value::Null));
    Ok(Item {
        place,
        entity: head.entity,
        observed_at: head.observed_at,
        request,
        readings: pairs,
    })
}

/// The value as its type decides; None for null.
pub fn json<'a>(value: &Value<'a>) -> Option<Json<'a>> {
    Some(match value {
        Value::Null => return None,
        Value::Boolean(value) => Json::Boolean(*value),
        Value::Number(number) => Json::Number(number.text()),
        Value::Text(text) => Json::Text(text),
        Value::Nested(nested) if nested.shape() == Shape::Object => Json::Object,
        Value::Nested(_) => Json::Array,
    })
}

/// What a name that is new becomes by its first value. A number is never an integer: after 21 comes 21.5.
pub fn type_when_new(value: &Value) -> ValueType {
    match value {
        Value::Boolean(_) => ValueType::Boolean,
        Value::Number(_) => ValueType::Number,
        Value::Text(_) => ValueType::Text,
        Value::Nested(_) | Value::Null => ValueType::Json,
    }
}

fn kind_of(value: &Value) -> &'static str {
    json(value).map_or("null", |json| json.kind())
}

pub fn kind(container: Container) -> &'static str {
    match container.shape() {
        Shape::Object => Json::Object.kind(),
        Shape::Array => Json::Array.kind(),
        Shape::Scalar => container.elements().first().map_or("null", kind_of),
    }
}

fn shape(at: String, fault: String) -> Fault {
    Fault::Shape { at, fault }
}

fn time(place: Place, key: &str, text: &str) -> Result<i64, Fault> {
    moment(text)
        .map(|micros| micros - EPOCH_2000)
        .map_err(|found| Fault::Time {
            at: place.of(key),
            fault: match found {
                Mismatch::TimeOutOfRange => "is infinite".into(),
                _ => format!("{} is no time with an offset", shown(text)),
            },
            infinite: found == Mismatch::TimeOutOfRange,
        })
}

/// As the server reads one: 32 hexadecimal digits, hyphens between groups of four or none, braces or none.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    let mut id = [0; 16];
    let mut digits = 0;
    for character in inner.bytes() {
        if character == b'-' && digits % 4 == 0 && digits > 0 {
            continue;
        }
        let digit = char::from(character).to_digit(16)? as u8;
        let byte = id.get_mut(digits / 2)?;
        *byte = *byte << 4 | digit;
        digits += 1;
    }
    (digits == 32).then_some(id)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_read_as_the_server_does() {
        let id = uuid("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11").unwrap();
        assert_eq!((id[0], id[15]), (0xa0, 0x11));
        for same in [
            "A0EEBC999C0B4EF8BB6D6BB9BD380A11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
        ] {
            assert_eq!(uuid(same), Some(id), "{same}");
        }
        for wrong in [
            "",
            "a0ee",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1111",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "g0eebc999c0b4ef8bb6d6bb9bd380a11",
        ] {
            assert_eq!(uuid(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn places_are_named_as_in_the_document() {
        assert_eq!(Place::Single.readings(), "readings");
        assert_eq!(Place::Element(3).readings(), "batch[3].readings");
        assert_eq!(Place::Attrs.readings(), "attrs");
    }
}
