//! Why a reading can never be stored: SQLSTATE and reason, as README.md lists them. Pure.

use std::borrow::Cow;

use super::json_text::{JsonFault, MOST_LEVELS};
use super::value_type::ValueType;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Missing(&'static str),
    TenantTooLow,
    IngestedAtOutside,
    ObservedAtInfinite,
    ObservedAtOutside,
    NoValue,
    SeveralValues,
    NotRegistered,
    WrongKind(ValueType),
    NoBoolean,
    TooLong,
    Json(JsonFault),
}

impl Fault {
    pub fn sqlstate(self) -> &'static str {
        match self {
            Fault::Missing(_) => "23502",
            Fault::TenantTooLow | Fault::NoBoolean => "22003",
            Fault::IngestedAtOutside | Fault::ObservedAtInfinite | Fault::ObservedAtOutside => "22008",
            Fault::NoValue | Fault::SeveralValues => "22023",
            Fault::NotRegistered => "42704",
            Fault::WrongKind(_) => "42804",
            Fault::TooLong => "54000",
            Fault::Json(JsonFault::Invalid) => "22P02",
            Fault::Json(JsonFault::Zero) => "22P05",
            Fault::Json(JsonFault::NumberOutOfRange) => "22003",
            Fault::Json(JsonFault::TooDeep) => "54001",
        }
    }

    pub fn reason(self) -> Cow<'static, str> {
        match self {
            Fault::Missing(column) => format!("{column} is missing").into(),
            Fault::TenantTooLow => "tenant_id is below 1".into(),
            Fault::IngestedAtOutside => "ingested_at is outside the accepted window".into(),
            Fault::ObservedAtInfinite => "observed_at is infinite".into(),
            Fault::ObservedAtOutside => "observed_at is too far from ingested_at".into(),
            Fault::NoValue => "no value is set".into(),
            Fault::SeveralValues => "more than one value is set".into(),
            Fault::NotRegistered => "attribute is not registered for the tenant".into(),
            Fault::WrongKind(ValueType::Number) => "attribute is a number, value is not".into(),
            Fault::WrongKind(value_type) => {
                let column = match value_type {
                    ValueType::Text | ValueType::Json => "value_text",
                    _ => "value_int",
                };
                format!("attribute is {}, value is not in {column}", value_type.name()).into()
            }
            Fault::NoBoolean => "boolean is neither 0 nor 1".into(),
            Fault::TooLong => "value is longer than pg_telemetry.max_value_size".into(),
            Fault::Json(JsonFault::Invalid) => "attribute is json, value is not".into(),
            Fault::Json(JsonFault::Zero) => "json has the character \\u0000, which jsonb cannot hold".into(),
            Fault::Json(JsonFault::NumberOutOfRange) => "json has a number out of range of numeric".into(),
            Fault::Json(JsonFault::TooDeep) => {
                format!("json is nested more than {MOST_LEVELS} levels deep").into()
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Every fault there is, in all its forms.
    fn faults() -> Vec<Fault> {
        use Fault::*;
        // A new one does not compile before it is named here and listed below.
        let _named = |fault: Fault| match fault {
            Missing(_)
            | TenantTooLow
            | IngestedAtOutside
            | ObservedAtInfinite
            | ObservedAtOutside
            | NoValue
            | SeveralValues
            | NotRegistered
            | WrongKind(_)
            | NoBoolean
            | TooLong
            | Json(JsonFault::Invalid | JsonFault::Zero | JsonFault::NumberOutOfRange | JsonFault::TooDeep) =>
                {}
        };
        let missing = ["tenant_id", "entity_id", "attribute_id", "ingested_at"].map(Missing);
        let others = [
            TenantTooLow,
            IngestedAtOutside,
            ObservedAtInfinite,
            ObservedAtOutside,
            NoValue,
            SeveralValues,
            NotRegistered,
            NoBoolean,
            TooLong,
            Json(JsonFault::Invalid),
            Json(JsonFault::Zero),
            Json(JsonFault::NumberOutOfRange),
            Json(JsonFault::TooDeep),
        ];
        let wrong_kinds = ValueType::ALL.map(WrongKind);
        [&missing[..], &others, &wrong_kinds].concat()
    }

    #[test]
    fn the_readme_lists_every_reason_and_no_other() {
        let readme = include_str!("../../README.md");
        let (_, table) = readme.split_once("| SQLSTATE | `reason` |").unwrap();
        let mut documented: Vec<(&str, &str)> = Vec::new();
        for line in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let reasons = cells[2].split('`').skip(1).step_by(2);
            documented.extend(reasons.map(|reason| (cells[1], reason)));
        }
        let reasons: Vec<(&str, String)> = faults()
            .into_iter()
            .map(|fault| (fault.sqlstate(), fault.reason().into_owned()))
            .collect();
        for (sqlstate, reason) in &reasons {
            assert!(
                documented.contains(&(*sqlstate, reason)),
                "not in README.md: {sqlstate} {reason}"
            );
        }
        assert_eq!(
            documented.len(),
            reasons.len(),
            "README.md has reasons that do not exist"
        );
    }
}
