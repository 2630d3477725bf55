//! Whether a reading can be stored, and if not, why. Pure, and the only judge there is: however a row was taken out of
//! staging, it comes by here.

use std::borrow::Cow;

use super::json_text::{JsonFault, MOST_LEVELS, json_fault};
use super::reading::Reading;

/// What the dictionary says about values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    Number,
    Integer,
    Boolean,
    Timestamp,
    Text,
    Json,
}

impl ValueType {
    pub const ALL: [ValueType; 6] = [
        ValueType::Number,
        ValueType::Integer,
        ValueType::Boolean,
        ValueType::Timestamp,
        ValueType::Text,
        ValueType::Json,
    ];

    pub fn name(self) -> &'static str {
        match self {
            ValueType::Number => "number",
            ValueType::Integer => "integer",
            ValueType::Boolean => "boolean",
            ValueType::Timestamp => "timestamp",
            ValueType::Text => "text",
            ValueType::Json => "json",
        }
    }

    pub fn named(name: &str) -> Option<ValueType> {
        Self::ALL.into_iter().find(|value_type| value_type.name() == name)
    }
}

/// One attribute, as far as readings depend on it. Neither can ever change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute {
    /// 0: shared by all.
    pub tenant_id: i64,
    pub value_type: ValueType,
}

/// Times that are accepted, in the server's microseconds, `until` not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: i64,
    pub until: i64,
}

impl Window {
    #[inline]
    pub fn accepts(&self, time: i64) -> bool {
        self.from <= time && time < self.until
    }
}

/// How far `observed_at` may be from the reading's own `ingested_at`, in microseconds; i64::MAX: any time will do. From
/// `ingested_at` and not from the clock of the flush, so that a reading that had to wait is judged as it would have been at
/// once, and the same whenever it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Around {
    pub past: i64,
    pub future: i64,
}

impl Around {
    #[inline]
    pub fn accepts(&self, ingested_at: i64, observed_at: i64) -> bool {
        let ahead = observed_at.saturating_sub(ingested_at);
        let behind = ingested_at.saturating_sub(observed_at);
        ahead <= self.future && behind <= self.past
    }
}

/// The times that are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    pub ingested_at: Window,
    pub observed_at: Around,
}

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

const MINUS_INFINITY: i64 = i64::MIN;
const INFINITY: i64 = i64::MAX;

/// The first fault of a reading, None when it can be stored. `attribute` says what the dictionary has under an id.
#[inline]
pub fn fault(
    reading: &Reading,
    accepted: &Accepted,
    attribute: impl FnOnce(i32) -> Option<Attribute>,
) -> Option<Fault> {
    let Some(tenant_id) = reading.tenant_id else {
        return Some(Fault::Missing("tenant_id"));
    };
    if reading.entity_id.is_none() {
        return Some(Fault::Missing("entity_id"));
    }
    let Some(attribute_id) = reading.attribute_id else {
        return Some(Fault::Missing("attribute_id"));
    };
    let Some(ingested_at) = reading.ingested_at else {
        return Some(Fault::Missing("ingested_at"));
    };
    if tenant_id < 1 {
        return Some(Fault::TenantTooLow);
    }
    if !accepted.ingested_at.accepts(ingested_at) {
        return Some(Fault::IngestedAtOutside);
    }
    if matches!(reading.observed_at, Some(MINUS_INFINITY | INFINITY)) {
        return Some(Fault::ObservedAtInfinite);
    }
    if reading
        .observed_at
        .is_some_and(|observed_at| !accepted.observed_at.accepts(ingested_at, observed_at))
    {
        return Some(Fault::ObservedAtOutside);
    }
    match u8::from(reading.has_num) + u8::from(reading.value_int.is_some()) + u8::from(reading.has_text) {
        0 => return Some(Fault::NoValue),
        1 => {}
        _ => return Some(Fault::SeveralValues),
    }
    let Some(attribute) = attribute(attribute_id).filter(|found| [0, tenant_id].contains(&found.tenant_id))
    else {
        return Some(Fault::NotRegistered);
    };
    let fits = match attribute.value_type {
        ValueType::Number => reading.has_num,
        ValueType::Integer | ValueType::Boolean | ValueType::Timestamp => reading.value_int.is_some(),
        ValueType::Text | ValueType::Json => reading.has_text,
    };
    if !fits {
        return Some(Fault::WrongKind(attribute.value_type));
    }
    let is_boolean = attribute.value_type == ValueType::Boolean;
    (is_boolean && !matches!(reading.value_int, Some(0 | 1))).then_some(Fault::NoBoolean)
}

/// What is wrong with the text of a reading that has no other fault. JSON alone is read, and then only when it is not too long.
pub fn text_fault<'a>(
    value_type: ValueType,
    length: usize,
    longest: usize,
    text: impl FnOnce() -> Cow<'a, [u8]>,
) -> Option<Fault> {
    if length > longest {
        return Some(Fault::TooLong);
    }
    match value_type {
        ValueType::Json => json_fault(&text()).map(Fault::Json),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ACCEPTED: Accepted = Accepted {
        ingested_at: Window {
            from: 1000,
            until: 2000,
        },
        observed_at: Around {
            past: i64::MAX,
            future: i64::MAX,
        },
    };

    const GOOD: Reading = Reading {
        tenant_id: Some(7),
        entity_id: Some(1),
        ingested_at: Some(1500),
        observed_at: None,
        has_num: true,
        value_int: None,
        attribute_id: Some(3),
        has_text: false,
    };

    fn judged(reading: Reading, tenant_id: i64, value_type: ValueType) -> Option<Fault> {
        fault(&reading, &ACCEPTED, |id| {
            (id == 3).then_some(Attribute {
                tenant_id,
                value_type,
            })
        })
    }

    fn as_number(reading: Reading) -> Option<Fault> {
        judged(reading, 7, ValueType::Number)
    }

    #[test]
    fn a_good_reading_has_no_fault() {
        assert_eq!(as_number(GOOD), None);
        assert_eq!(judged(GOOD, 0, ValueType::Number), None);
    }

    #[test]
    fn what_is_missing_is_named_in_order() {
        let mut reading = Reading {
            tenant_id: None,
            entity_id: None,
            attribute_id: None,
            ingested_at: None,
            ..GOOD
        };
        assert_eq!(as_number(reading), Some(Fault::Missing("tenant_id")));
        reading.tenant_id = Some(0);
        assert_eq!(as_number(reading), Some(Fault::Missing("entity_id")));
        reading.entity_id = Some(0);
        assert_eq!(as_number(reading), Some(Fault::Missing("attribute_id")));
        reading.attribute_id = Some(3);
        assert_eq!(as_number(reading), Some(Fault::Missing("ingested_at")));
        reading.ingested_at = Some(1000);
        assert_eq!(as_number(reading), Some(Fault::TenantTooLow));
    }

    #[test]
    fn the_window_begins_inside_and_ends_outside() {
        for (time, expected) in [
            (999, Some(Fault::IngestedAtOutside)),
            (1000, None),
            (1999, None),
            (2000, Some(Fault::IngestedAtOutside)),
            (i64::MAX, Some(Fault::IngestedAtOutside)),
            (i64::MIN, Some(Fault::IngestedAtOutside)),
        ] {
            let reading = Reading {
                ingested_at: Some(time),
                ..GOOD
            };
            assert_eq!(as_number(reading), expected, "{time}");
        }
    }

    #[test]
    fn without_bounds_observed_at_may_be_any_time_but_infinity() {
        for (time, expected) in [
            (i64::MIN, Some(Fault::ObservedAtInfinite)),
            (i64::MIN + 1, None),
            (0, None),
            (i64::MAX, Some(Fault::ObservedAtInfinite)),
        ] {
            let reading = Reading {
                observed_at: Some(time),
                ..GOOD
            };
            assert_eq!(as_number(reading), expected, "{time}");
        }
    }

    #[test]
    fn observed_at_is_measured_from_ingested_at() {
        let accepted = Accepted {
            observed_at: Around {
                past: 100,
                future: 10,
            },
            ..ACCEPTED
        };
        for (time, expected) in [
            (None, None),
            (Some(1400), None),
            (Some(1399), Some(Fault::ObservedAtOutside)),
            (Some(1510), None),
            (Some(1511), Some(Fault::ObservedAtOutside)),
            (Some(i64::MIN + 1), Some(Fault::ObservedAtOutside)),
            (Some(i64::MAX - 1), Some(Fault::ObservedAtOutside)),
            (Some(i64::MAX), Some(Fault::ObservedAtInfinite)),
        ] {
            let reading = Reading {
                observed_at: time,
                ..GOOD
            };
            let attribute = Attribute {
                tenant_id: 7,
                value_type: ValueType::Number,
            };
            let found = fault(&reading, &accepted, |_| Some(attribute));
            assert_eq!(found, expected, "{time:?}");
        }
    }

    #[test]
    fn exactly_one_value_is_wanted() {
        for mask in 0..8u32 {
            let reading = Reading {
                has_num: mask & 1 != 0,
                value_int: (mask & 2 != 0).then_some(0),
                has_text: mask & 4 != 0,
                ..GOOD
            };
            let expected = match mask.count_ones() {
                0 => Some(Fault::NoValue),
                1 if mask == 1 => None,
                1 => Some(Fault::WrongKind(ValueType::Number)),
                _ => Some(Fault::SeveralValues),
            };
            assert_eq!(as_number(reading), expected, "{mask}");
        }
    }

    #[test]
    fn each_type_has_its_column() {
        let int = Reading {
            has_num: false,
            value_int: Some(2),
            ..GOOD
        };
        let text = Reading {
            has_num: false,
            has_text: true,
            ..GOOD
        };
        for value_type in ValueType::ALL {
            let wrong = Some(Fault::WrongKind(value_type));
            let expected = match value_type {
                ValueType::Number => [None, wrong, wrong],
                ValueType::Boolean => [wrong, Some(Fault::NoBoolean), wrong],
                ValueType::Integer | ValueType::Timestamp => [wrong, None, wrong],
                ValueType::Text | ValueType::Json => [wrong, wrong, None],
            };
            let found = [GOOD, int, text].map(|reading| judged(reading, 7, value_type));
            assert_eq!(found, expected, "{value_type:?}");
        }
    }

    #[test]
    fn an_attribute_of_another_tenant_is_not_registered() {
        assert_eq!(judged(GOOD, 8, ValueType::Number), Some(Fault::NotRegistered));
        let unknown = Reading {
            attribute_id: Some(4),
            ..GOOD
        };
        assert_eq!(as_number(unknown), Some(Fault::NotRegistered));
    }

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

    #[test]
    fn only_json_is_read_and_only_when_it_is_short_enough() {
        let judged = |value_type, length, text: &'static str| {
            text_fault(value_type, length, 10, || Cow::Borrowed(text.as_bytes()))
        };
        assert_eq!(judged(ValueType::Text, 10, "{"), None);
        assert_eq!(judged(ValueType::Text, 11, "{"), Some(Fault::TooLong));
        assert_eq!(judged(ValueType::Json, 11, "{}"), Some(Fault::TooLong));
        assert_eq!(judged(ValueType::Json, 2, "{}"), None);
        assert_eq!(
            judged(ValueType::Json, 1, "{"),
            Some(Fault::Json(JsonFault::Invalid))
        );
    }

    #[test]
    fn types_are_found_by_their_names() {
        for value_type in ValueType::ALL {
            assert_eq!(ValueType::named(value_type.name()), Some(value_type));
        }
        assert_eq!(ValueType::named("decimal"), None);
    }
}
