//! Whether a reading can be stored, and if not, why. Pure, and the only judge there is: however a row was taken out of
//! staging, it comes by here.

use std::borrow::Cow;

use super::json_text::json_fault;
use super::reading::Reading;

pub use super::fault::Fault;
pub use super::value_type::ValueType;
pub use super::window::{Accepted, Around, Window};

/// One attribute, as far as readings depend on it. Neither can ever change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute {
    /// 0: shared by all.
    pub tenant_id: i64,
    pub value_type: ValueType,
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
    use crate::staging::json_text::JsonFault;

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
}
