//! The other way round: a row of staging as the server would store it, from its values. Pure.

use super::reading::{COLUMNS, FIXED_HEADER, HAS_NULL, HEADER_LENGTH, INFOMASK, INFOMASK2};

const HEADER: usize = FIXED_HEADER + 1;
pub const HAS_VARIABLE_WIDTH: u16 = 0x0002;

/// Longest text, its own length byte included, that needs no longer header.
const LONGEST_SHORT: usize = 127;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NewReading<'a> {
    pub tenant_id: i64,
    pub entity_id: i64,
    pub ingested_at: i64,
    pub observed_at: Option<i64>,
    pub attribute_id: i32,
    pub value: NewValue<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NewValue<'a> {
    Number(f64),
    Whole(i64),
    Text(&'a str),
}

/// Writes the tuple, header included, over what is there. What the header says of transactions is left to the server.
pub fn compose(reading: &NewReading, tuple: &mut Vec<u8>) {
    let (number, whole, text) = match reading.value {
        NewValue::Number(value) => (Some(i64::from_ne_bytes(value.to_ne_bytes())), None, None),
        NewValue::Whole(value) => (None, Some(value), None),
        NewValue::Text(value) => (None, None, Some(value)),
    };
    let wide = [
        Some(reading.tenant_id),
        Some(reading.entity_id),
        Some(reading.ingested_at),
        reading.observed_at,
        number,
        whole,
    ];
    let mut present = 1 << 6 | u8::from(text.is_some()) << 7;
    for (column, value) in wide.iter().enumerate() {
        present |= u8::from(value.is_some()) << column;
    }
    let infomask = HAS_NULL | if text.is_some() { HAS_VARIABLE_WIDTH } else { 0 };

    tuple.clear();
    tuple.resize(HEADER, 0);
    tuple[INFOMASK2..INFOMASK2 + 2].copy_from_slice(&(COLUMNS as u16).to_ne_bytes());
    tuple[INFOMASK..INFOMASK + 2].copy_from_slice(&infomask.to_ne_bytes());
    tuple[HEADER_LENGTH] = HEADER as u8;
    tuple[FIXED_HEADER] = present;
    for value in wide.into_iter().flatten() {
        tuple.extend_from_slice(&value.to_ne_bytes());
    }
    tuple.extend_from_slice(&reading.attribute_id.to_ne_bytes());
    if let Some(text) = text {
        push_text(text, tuple);
    }
}

/// Adds a text with its length in front, aligned as the server wants it.
pub fn push_text(text: &str, tuple: &mut Vec<u8>) {
    let little = cfg!(target_endian = "little");
    let short = text.len() + 1;
    if short <= LONGEST_SHORT {
        tuple.push(if little {
            (short as u8) << 1 | 1
        } else {
            short as u8 | 0x80
        });
    } else {
        tuple.resize(tuple.len().next_multiple_of(4), 0);
        let long = text.len() as u32 + 4;
        tuple.extend_from_slice(&(if little { long << 2 } else { long }).to_ne_bytes());
    }
    tuple.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::reading::{Reading, Tuple};
    use super::*;

    #[test]
    fn what_was_composed_is_read_again() {
        let mut bytes = vec![7; 500];
        for observed_at in [None, Some(-4)] {
            for value in [
                NewValue::Number(1.5),
                NewValue::Whole(i64::MIN),
                NewValue::Text("abc"),
            ] {
                let reading = NewReading {
                    tenant_id: 1,
                    entity_id: -2,
                    ingested_at: 3,
                    observed_at,
                    attribute_id: 5,
                    value,
                };
                compose(&reading, &mut bytes);
                let tuple = Tuple::new(&bytes).unwrap();
                assert_eq!(
                    tuple.reading(),
                    Reading {
                        tenant_id: Some(1),
                        entity_id: Some(-2),
                        ingested_at: Some(3),
                        observed_at,
                        has_num: matches!(value, NewValue::Number(_)),
                        value_int: matches!(value, NewValue::Whole(_)).then_some(i64::MIN),
                        attribute_id: Some(5),
                        has_text: matches!(value, NewValue::Text(_)),
                    }
                );
            }
        }
    }

    #[test]
    fn a_text_has_the_header_that_its_length_asks_for() {
        for (length, header) in [(0, 1), (126, 1), (127, 4), (100_000, 4)] {
            let text = "x".repeat(length);
            let mut bytes = Vec::new();
            push_text(&text, &mut bytes);
            assert_eq!(bytes.len(), length + header, "{length}");
            assert_eq!(&bytes[header..], text.as_bytes());
        }
    }

    #[test]
    fn a_long_text_has_a_long_length_at_its_place() {
        let mut into = vec![0; 5];
        push_text(&"x".repeat(LONGEST_SHORT), &mut into);
        assert_eq!(into.len(), 8 + 4 + LONGEST_SHORT);
        let mut into = Vec::new();
        push_text(&"x".repeat(LONGEST_SHORT - 1), &mut into);
        assert_eq!(into.len(), LONGEST_SHORT);
    }
}
