//! What can be wrong with a question about readings: an attribute that is not there, a filter that says nothing, a search that
//! would read too much.

use pgrx::prelude::PgSqlErrorCode;
use thiserror::Error;

use crate::ingest::fault::{mismatch, shown, wanted};
use crate::ingest::value::Mismatch;
use crate::staging::judge::ValueType;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum Fault {
    #[error("attribute {} is not registered for tenant {tenant_id}", shown(.name))]
    Unknown {
        tenant_id: i64,
        name: String,
        /// Registered names that look alike.
        near: Vec<String>,
    },
    #[error("invalid filters: {0}")]
    Shape(String),
    #[error("invalid filters: {}: attribute is {}, {}", shown(.name), .registered.name(), mismatch(*.found, *.registered, .kind))]
    Operand {
        name: String,
        registered: ValueType,
        found: Mismatch,
        kind: &'static str,
    },
    #[error("invalid filters: {}: a {} has no order, so \"{operator}\" says nothing", shown(.name), .registered.name())]
    NoOrder {
        name: String,
        registered: ValueType,
        operator: String,
    },
    #[error("invalid filters: {}: attributes of type json can only be asked whether they exist", shown(.name))]
    OnlyExists { name: String },
    #[error("{what}: {count}, allowed are {most}")]
    TooMany {
        what: &'static str,
        count: usize,
        most: usize,
    },
    #[error("the search would read about {expected} readings of {}, allowed are {most}", shown(.name))]
    TooCostly { name: String, expected: i64, most: i64 },
    #[error("the search has read {most} readings of {}, and there are more", shown(.name))]
    CostsTooMuch { name: String, most: i64 },
    #[error("{argument} must be before {other}")]
    Backwards {
        argument: &'static str,
        other: &'static str,
    },
    #[error("{argument} must be {wanted}")]
    Argument {
        argument: &'static str,
        wanted: &'static str,
    },
    #[error("attribute {} is shared by all tenants", shown(.name))]
    Shared { name: String },
    #[error("attribute {} is json, which cannot be searched by value", shown(.name))]
    NotSearchable { name: String },
}

impl Fault {
    pub fn sqlstate(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Fault::Unknown { .. } => ERRCODE_UNDEFINED_OBJECT,
            Fault::Shape(_)
            | Fault::NoOrder { .. }
            | Fault::OnlyExists { .. }
            | Fault::Backwards { .. }
            | Fault::Argument { .. }
            | Fault::Shared { .. }
            | Fault::NotSearchable { .. } => ERRCODE_INVALID_PARAMETER_VALUE,
            Fault::Operand { found, .. } => match found {
                Mismatch::Kind | Mismatch::Fraction => ERRCODE_DATATYPE_MISMATCH,
                Mismatch::OutOfRange => ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
                Mismatch::NoTime => ERRCODE_INVALID_DATETIME_FORMAT,
                Mismatch::TimeOutOfRange => ERRCODE_DATETIME_FIELD_OVERFLOW,
            },
            Fault::TooMany { .. } => ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Fault::TooCostly { .. } | Fault::CostsTooMuch { .. } => ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
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
            Fault::TooCostly { .. } | Fault::CostsTooMuch { .. } => {
                Some("The attribute is not kept hot, so its readings in the window have to be read.".into())
            }
            _ => None,
        }
    }

    pub fn hint(&self) -> String {
        match self {
            Fault::Unknown { .. } => {
                "A tenant has the attributes that are registered for it and those of tenant 0; names are told apart by capitals."
                    .into()
            }
            Fault::Shape(_) => EXAMPLE.into(),
            Fault::Operand { registered, found, .. } => match found {
                Mismatch::NoTime | Mismatch::TimeOutOfRange => {
                    "Write times as 2026-11-21T10:00:00Z, with Z or an offset.".into()
                }
                _ => format!("Compare it with {}.", wanted(*registered)),
            },
            Fault::NoOrder { .. } => "Use equality, \"in\" or \"exists\".".into(),
            Fault::OnlyExists { name } => format!("{{{}: {{\"exists\": true}}}}", shown(name)),
            Fault::TooMany { .. } => "Ask in several calls.".into(),
            Fault::TooCostly { name, .. } | Fault::CostsTooMuch { name, .. } => format!(
                "Have it kept hot: SELECT promote_attribute(tenant, {}, searchable => true); or ask for a shorter time, or raise \
                 pg_telemetry.find_max_readings. explain_find() shows what a search would read.",
                literal(name)
            ),
            Fault::Backwards { .. } => "The first is when the time asked for begins, the second when it ends.".into(),
            Fault::Argument { .. } => "Leave it out to have the default.".into(),
            Fault::Shared { .. } => "Name tenant 0 to change it for all of them.".into(),
            Fault::NotSearchable { .. } => {
                "Send what is searched for as an attribute of its own; promote this one without searchable.".into()
            }
        }
    }
}

const EXAMPLE: &str = "For example {\"mode\": \"auto\", \"battery\": {\"gte\": 20, \"lt\": 80}, \"zone\": {\"in\": [\"a\", \"b\"]}, \
                       \"error\": {\"exists\": true}}; operators are eq, gt, gte, lt, lte, between, in, exists.";

/// As a string of SQL.
fn literal(name: &str) -> String {
    format!("'{}'", name.replace('\'', "''"))
}
