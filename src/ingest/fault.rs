//! What can be wrong with a document that an application hands to `ingest()` and its sisters: for each fault the place, the
//! SQLSTATE and what to do.

use pgrx::prelude::PgSqlErrorCode;
use thiserror::Error;

use super::value::Mismatch;
use crate::staging::judge::ValueType;

/// Longest piece of the caller's text that a message repeats, in characters.
const SHOWN: usize = 80;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum Fault {
    #[error("{at}: {fault}")]
    Shape { at: String, fault: String },
    #[error("attrs {fault}")]
    Attrs { fault: String },
    #[error("attrs: the value of attribute {} is null", shown(.name))]
    Null { name: String },
    #[error("attrs: attribute {} is not hot", shown(.name))]
    NotHot { name: String, tenant_id: i64 },
    #[error("{at}: invalid attribute name {}: {fault}", shown(.name))]
    Name { at: String, name: String, fault: String },
    #[error("{at}: invalid external_id {}: {fault}", shown(.external_id))]
    ExternalId {
        at: String,
        external_id: String,
        fault: String,
    },
    #[error("{at}: attribute {} is not registered for tenant {tenant_id}{}", shown(.name), and_others(*.others))]
    Unknown {
        at: String,
        tenant_id: i64,
        name: String,
        /// Further ones in the same call.
        others: usize,
        /// Registered names that look alike.
        near: Vec<String>,
    },
    #[error("{at}: attribute {} is {}, {}", shown(.name), .registered.name(), mismatch(*.found, *.registered, .kind))]
    Value {
        at: String,
        name: String,
        registered: ValueType,
        found: Mismatch,
        kind: &'static str,
    },
    #[error("{at}: {fault}")]
    Time {
        at: String,
        fault: String,
        infinite: bool,
    },
    #[error("{at}: the value of attribute {} has {bytes} bytes, allowed are {most}", shown(.name))]
    TooLong {
        at: String,
        name: String,
        bytes: usize,
        most: usize,
    },
    #[error("{at}: the value of attribute {} is nested more than {most} levels deep", shown(.name))]
    TooDeep { at: String, name: String, most: usize },
    #[error("{what}: {count}, allowed are {most}")]
    TooMuch {
        what: &'static str,
        count: usize,
        most: usize,
    },
    #[error("{at}: request {id} was made before, with other contents")]
    OtherContents { at: String, id: String },
    #[error("{at}: request {id} is there twice")]
    SameRequestTwice { at: String, id: String },
}

impl Fault {
    pub fn sqlstate(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Fault::Shape { .. }
            | Fault::Name { .. }
            | Fault::ExternalId { .. }
            | Fault::Attrs { .. }
            | Fault::OtherContents { .. }
            | Fault::SameRequestTwice { .. } => ERRCODE_INVALID_PARAMETER_VALUE,
            Fault::Unknown { .. } => ERRCODE_UNDEFINED_OBJECT,
            Fault::Null { .. } => ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Fault::NotHot { .. } => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Fault::Value { found, .. } => match found {
                Mismatch::Kind | Mismatch::Fraction => ERRCODE_DATATYPE_MISMATCH,
                Mismatch::OutOfRange => ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
                Mismatch::NoTime => ERRCODE_INVALID_DATETIME_FORMAT,
                Mismatch::TimeOutOfRange => ERRCODE_DATETIME_FIELD_OVERFLOW,
            },
            Fault::Time { infinite: false, .. } => ERRCODE_INVALID_DATETIME_FORMAT,
            Fault::Time { infinite: true, .. } => ERRCODE_DATETIME_FIELD_OVERFLOW,
            Fault::TooLong { .. } | Fault::TooMuch { .. } => ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Fault::TooDeep { .. } => ERRCODE_STATEMENT_TOO_COMPLEX,
        }
    }

    pub fn detail(&self) -> Option<String> {
        match self {
            Fault::Unknown { near, .. } if !near.is_empty() => {
                let near: Vec<String> = near.iter().map(|name| shown(name)).collect();
                Some(format!(
                    "Names that are registered and look alike: {}.",
                    near.join(", ")
                ))
            }
            Fault::Value {
                found: Mismatch::Kind | Mismatch::Fraction,
                ..
            } => Some("The type of an attribute cannot change.".into()),
            _ => None,
        }
    }

    pub fn hint(&self) -> String {
        match self {
            Fault::Shape { .. } => {
                "An element of a batch is {\"entity_id\": 1, \"readings\": {\"name\": value, …}}, or with \"external_id\" \
                 instead; \"observed_at\" and \"request_id\" may be added."
                    .into()
            }
            Fault::Attrs { .. } => "Pass {\"name\": value, …}.".into(),
            Fault::Null { .. } => "Leave it out: a value that was observed stays until another is.".into(),
            Fault::NotHot { tenant_id, .. } => format!(
                "Promote it with promote_attribute({tenant_id}, …), or send it by ingest(): it is kept in entity_values_ts only."
            ),
            Fault::Name { .. } => "Names have 1 to 63 bytes and no control characters.".into(),
            Fault::ExternalId { .. } => "External ids have 1 to 255 bytes and no control characters.".into(),
            Fault::Unknown { .. } => {
                "Register it with register_attribute(), or turn pg_telemetry.auto_register on.".into()
            }
            Fault::Value { registered, found, .. } => match found {
                Mismatch::NoTime | Mismatch::TimeOutOfRange => WRITE_A_TIME.into(),
                Mismatch::OutOfRange => "Send a number that fits, or leave the reading out.".into(),
                Mismatch::Kind | Mismatch::Fraction => format!(
                    "Send {}, or register the attribute under another name for the new type.",
                    wanted(*registered)
                ),
            },
            Fault::Time { .. } => WRITE_A_TIME.into(),
            Fault::TooLong { .. } => "Keep such values elsewhere, or raise pg_telemetry.max_value_size.".into(),
            Fault::TooDeep { .. } => "Flatten the value, or store it as text.".into(),
            Fault::TooMuch { .. } => "Send it in several calls.".into(),
            Fault::OtherContents { .. } | Fault::SameRequestTwice { .. } => {
                "A request_id stands for one call and its repeats; take a new one for other readings.".into()
            }
        }
    }
}

const WRITE_A_TIME: &str = "Write times as 2026-11-21T10:00:00Z, with Z or an offset.";

pub fn wanted(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Number => "a number",
        ValueType::Integer => "a number without a fraction",
        ValueType::Boolean => "true or false",
        ValueType::Timestamp => "a time such as \"2026-11-21T10:00:00Z\"",
        ValueType::Text => "a string",
        ValueType::Json => "JSON",
    }
}

pub fn mismatch(found: Mismatch, registered: ValueType, kind: &str) -> String {
    match found {
        Mismatch::Kind => format!("the value is {kind}"),
        Mismatch::Fraction => "the value has a fraction".into(),
        Mismatch::OutOfRange if registered == ValueType::Number => {
            "the value is out of range of double precision".into()
        }
        Mismatch::OutOfRange => "the value is out of range of bigint".into(),
        Mismatch::NoTime => "the value is no time with an offset".into(),
        Mismatch::TimeOutOfRange => "the value is infinite".into(),
    }
}

/// The caller's text in a message: quoted, on one line, and not as long as he likes.
pub fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(SHOWN).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    let escaped: String = cut
        .chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect();
    format!("\"{escaped}\"")
}

fn and_others(count: usize) -> String {
    match count {
        0 => String::new(),
        count => format!(", nor are {count} others of this call"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_place_the_attribute_and_both_types() {
        let fault = Fault::Value {
            at: "batch[3].readings".into(),
            name: "speed".into(),
            registered: ValueType::Integer,
            found: Mismatch::Kind,
            kind: "a string",
        };
        assert_eq!(
            fault.to_string(),
            "batch[3].readings: attribute \"speed\" is integer, the value is a string"
        );
        assert!(fault.hint().starts_with("Send a number without a fraction"));
    }

    #[test]
    fn what_the_caller_wrote_is_shown_on_one_line_and_cut() {
        assert_eq!(shown("a\nb\u{7}"), "\"a\\nb\\u{7}\"");
        assert_eq!(shown("größe"), "\"größe\"");
        let long = shown(&"ä".repeat(1_000_000));
        assert_eq!(long.chars().count(), SHOWN + 3);
    }
}
