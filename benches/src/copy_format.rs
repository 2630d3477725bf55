//! COPY's formats. Payloads are written before the clock starts, so that the client does not slow the server down.

use std::fmt::Write as _;
use std::io::Write as _;

use cluster_tests::Session;
use jiff::Timestamp;

use crate::readings::{Reading, Value};

const COLUMNS: &str = "tenant_id, entity_id, attribute_id, observed_at, value_num, value_int, value_text";
const FIELDS: i16 = 7;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
const NULL: i32 = -1;

/// 1970 to 2000, where PostgreSQL begins to count.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

#[derive(Clone, Copy, Debug)]
pub enum Format {
    Binary,
    Text,
}

/// The data of one COPY.
pub struct Payload {
    format: Format,
    bytes: Vec<u8>,
}

impl Payload {
    pub fn new(format: Format, readings: &[Reading]) -> Payload {
        let bytes = match format {
            Format::Binary => binary(readings),
            Format::Text => text(readings).into_bytes(),
        };
        Payload { format, bytes }
    }

    /// Returns how many rows were taken.
    pub fn copy(&self, session: &mut Session, table: &str) -> u64 {
        let statement = format!("COPY {table} ({COLUMNS}) FROM STDIN (FORMAT {:?})", self.format);
        let copied = session.client().copy_in(&statement).and_then(|mut copy| {
            // Why the server refuses is said by finish().
            let _ = copy.write_all(&self.bytes);
            copy.finish()
        });
        copied.unwrap_or_else(|error| panic!("{statement}: {error:?}"))
    }
}

fn binary(readings: &[Reading]) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    out.extend([0; 8]); // no flags, no header extension
    for reading in readings {
        out.extend(FIELDS.to_be_bytes());
        field(&mut out, &reading.tenant_id.to_be_bytes());
        field(&mut out, &reading.entity_id.to_be_bytes());
        field(&mut out, &reading.attribute_id.to_be_bytes());
        field(&mut out, &(reading.observed_at - EPOCH_MICROS).to_be_bytes());
        let values: [Option<&[u8]>; 3] = match &reading.value {
            Value::Number(number) => [Some(&number.to_be_bytes()), None, None],
            Value::Integer(integer) => [None, Some(&integer.to_be_bytes()), None],
            Value::Text(text) => [None, None, Some(text.as_bytes())],
        };
        for value in values {
            match value {
                Some(bytes) => field(&mut out, bytes),
                None => out.extend(NULL.to_be_bytes()),
            }
        }
    }
    out.extend((-1_i16).to_be_bytes());
    out
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as i32).to_be_bytes());
    out.extend(bytes);
}

fn text(readings: &[Reading]) -> String {
    let mut out = String::new();
    for reading in readings {
        let Reading {
            tenant_id,
            entity_id,
            attribute_id,
            ..
        } = reading;
        let observed_at =
            Timestamp::from_microsecond(reading.observed_at).expect("a clock that is not far off");
        write!(out, "{tenant_id}\t{entity_id}\t{attribute_id}\t{observed_at}\t").expect("memory is there");
        match &reading.value {
            Value::Number(number) => writeln!(out, "{number}\t\\N\t\\N"),
            Value::Integer(integer) => writeln!(out, "\\N\t{integer}\t\\N"),
            Value::Text(text) => writeln!(out, "\\N\t\\N\t{text}"),
        }
        .expect("memory is there");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_text_has_a_time_and_one_value() {
        let reading = Reading {
            tenant_id: 1,
            entity_id: 2,
            attribute_id: 3,
            observed_at: 946_684_800_000_042,
            value: Value::Number(0.5),
        };
        assert_eq!(
            text(&[reading]),
            "1\t2\t3\t2000-01-01T00:00:00.000042Z\t0.5\t\\N\t\\N\n"
        );
    }

    #[test]
    fn a_binary_row_is_its_fields_with_their_lengths() {
        let reading = Reading {
            tenant_id: 1,
            entity_id: 2,
            attribute_id: 3,
            observed_at: 4,
            value: Value::Text("on"),
        };
        let bytes = binary(&[reading]);
        assert_eq!(bytes.len(), 11 + 8 + 2 + (12 + 12 + 8 + 12 + 4 + 4 + 6) + 2);
        assert!(bytes.ends_with(b"\0\0\0\x02on\xff\xff"));
    }
}
