//! Of many rows, those that may be the latest of their entity and attribute.

use crate::staging::batch::{Batch, Row};
use crate::staging::dictionary::Attributes;
use crate::staging::judge::ValueType;
use crate::staging::reading::Tuple;

use super::merge::{Delta, reduce};
use super::stamp::Stamp;
use super::value::HotValue;
use crate::pg::jsonb::layout_of;
use crate::pg::text_value;

/// A row that may be the latest.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    pub tenant_id: i64,
    pub entity_id: i64,
    attribute_id: i32,
    /// Its place among the rows.
    pub row: u32,
    stamp: Stamp,
}

/// The rows of hot attributes, those of an entity together, in the order of attributes and then the newest first; of an attribute
/// none but the newest. There are several when they came and were observed at the same time.
pub fn candidates(batch: &Batch, rows: &[Row], attributes: &Attributes) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        let Some(tuple) = Tuple::new(batch.tuple(row)) else {
            continue;
        };
        found.extend(candidate(&tuple, place as u32, attributes));
    }
    let order = |left: &Candidate, right: &Candidate| {
        let key = |one: &Candidate| (one.tenant_id, one.entity_id, one.attribute_id);
        (key(left).cmp(&key(right))).then_with(|| right.stamp.cmp(&left.stamp))
    };
    found.sort_unstable_by(order);
    let mut newest: Option<Candidate> = None;
    found.retain(|one| match newest {
        Some(best)
            if (best.tenant_id, best.entity_id, best.attribute_id)
                == (one.tenant_id, one.entity_id, one.attribute_id) =>
        {
            one.stamp == best.stamp
        }
        _ => {
            newest = Some(*one);
            true
        }
    });
    found
}

#[inline]
fn candidate(tuple: &Tuple, row: u32, attributes: &Attributes) -> Option<Candidate> {
    let attribute_id = tuple.attribute_id()?;
    let hot = attributes.hot(attribute_id)?;
    let tenant_id = tuple.wide(0)?;
    hot.is_shown_to(tenant_id).then_some(Candidate {
        tenant_id,
        entity_id: tuple.wide(1)?,
        attribute_id,
        row,
        stamp: Stamp::of(tuple.wide(2)?, tuple.wide(3)),
    })
}

/// The deltas of one entity.
pub fn deltas<'a>(
    batch: &'a Batch,
    rows: &[Row],
    of_entity: &[Candidate],
    attributes: &'a Attributes,
) -> Vec<Delta<'a>> {
    let mut several = false;
    let mut deltas: Vec<Delta> = Vec::with_capacity(of_entity.len());
    for candidate in of_entity {
        let tuple = batch.tuple(&rows[candidate.row as usize]);
        let Some(hot) = attributes.hot(candidate.attribute_id) else {
            continue;
        };
        let Some(value) = value(tuple, hot.value_type) else {
            continue;
        };
        let before = deltas.last().map(|delta| delta.attribute_id);
        several |= before == Some(candidate.attribute_id);
        deltas.push(Delta {
            attribute_id: candidate.attribute_id,
            name: &hot.name,
            shadows: hot.shadows,
            stamp: candidate.stamp,
            value,
        });
    }
    if several {
        reduce(deltas, &layout_of)
    } else {
        deltas
    }
}

/// The value of a tuple that has all its values inside.
pub fn value(tuple: &[u8], value_type: ValueType) -> Option<HotValue<'_>> {
    let reading = Tuple::new(tuple)?;
    let number = reading.wide(4).map(|bits| f64::from_bits(bits as u64));
    let text = || {
        let bytes = text_value::bytes(tuple, reading.text_at()?);
        // The text of a database whose encoding is UTF-8.
        Some(match bytes {
            std::borrow::Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            std::borrow::Cow::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
        })
    };
    HotValue::of_fact(value_type, number, reading.wide(5), text)
}
