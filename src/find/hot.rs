//! Entities and their latest values from the projection, with the rights of the caller.

use super::candidate::Candidate;
use super::filter::Value;
use super::question::{Condition, Question};
use crate::error::Error;
use crate::hot::leaves::Leaves;
use crate::hot::moment;
use crate::hot::stamp::Stamp;
use crate::hot::times::{self, Times};
use crate::hot::value::HotValue;
use crate::installed::{Installed, Table};
use crate::pg::jsonb::{Container, Jsonb, Value as Stored};
use crate::pg::memory::Scratch;
use crate::pg::projection;
use crate::pg::settings;
use crate::sql::{self, argument};
use crate::staging::judge::ValueType;

/// When the newest of the values that were asked for was observed, if all of them satisfy the conditions.
fn satisfied<'a>(
    conditions: impl Iterator<Item = &'a Condition>,
    since: i64,
    attrs: Container,
    times: &Times,
) -> Option<i64> {
    let mut newest = i64::MIN;
    for condition in conditions {
        let attribute = &condition.attribute;
        let place = times.binary_search_by_key(&attribute.id, |(id, _)| *id).ok()?;
        let Stamp { event, .. } = times[place].1;
        if event < since {
            return None;
        }
        let stored = attrs.get(&attribute.name)?;
        let accepted = condition.test.asks_for_existence_alone()
            || stored_value(attribute.value_type, stored)
                .and_then(comparable)
                .is_some_and(|value| condition.test.accepts(&value));
        if !accepted {
            return None;
        }
        newest = newest.max(event);
    }
    Some(newest)
}

/// A value of a document; None for JSON, and for what is none of its type.
pub fn stored_value(value_type: ValueType, stored: Stored) -> Option<HotValue<'static>> {
    match (value_type, stored) {
        (ValueType::Number, Stored::Number(number)) => number.double().map(HotValue::Number),
        (ValueType::Number, Stored::Text("NaN")) => Some(HotValue::Number(f64::NAN)),
        (ValueType::Number, Stored::Text("Infinity")) => Some(HotValue::Number(f64::INFINITY)),
        (ValueType::Number, Stored::Text("-Infinity")) => Some(HotValue::Number(f64::NEG_INFINITY)),
        (ValueType::Integer, Stored::Number(number)) => number.whole().map(HotValue::Integer),
        (ValueType::Boolean, Stored::Boolean(value)) => Some(HotValue::Boolean(value)),
        (ValueType::Timestamp, Stored::Text(text)) => moment::parse(text).map(HotValue::Timestamp),
        (ValueType::Text, Stored::Text(text)) => Some(HotValue::Text(text.to_owned().into())),
        _ => None,
    }
}

fn comparable(value: HotValue) -> Option<Value> {
    match value {
        HotValue::Number(value) => Some(Value::Number(value)),
        HotValue::Integer(value) | HotValue::Timestamp(value) => Some(Value::Whole(value)),
        HotValue::Boolean(value) => Some(Value::Whole(i64::from(value))),
        HotValue::Text(text) => Some(Value::Text(text.into_owned())),
        HotValue::Json(_) => None,
    }
}

/// An entity of the projection that satisfies what the projection can tell.
pub struct Found<'a> {
    pub entity_id: i64,
    pub attrs: Jsonb<'a>,
    /// When the newest of its values that were asked for was observed; the least time if the projection was asked for none.
    pub newest: i64,
}

/// Goes through the entities of a tenant behind `after`, in order, until `each` has enough, or `most` were looked at. Returns the last
/// one that was looked at, None when there are no more.
pub fn walk(
    installed: &Installed,
    question: &Question,
    after: Option<i64>,
    most: i64,
    mut each: impl FnMut(Found) -> Result<bool, Error>,
) -> Result<Option<i64>, Error> {
    let behind = after.map_or("", |_| "AND entity_id > $3");
    let text = format!(
        "SELECT entity_id, hot_attrs, hot_times FROM {}
         WHERE tenant_id = $1 AND deleted_at IS NULL {behind} ORDER BY entity_id LIMIT $2",
        installed.qualified(Table::Projection)
    );
    let (mut last, mut seen) = (None, 0);
    let mut enough = false;
    let arguments = vec![argument(question.tenant_id), argument(most), argument(after)];
    // In order, so that it can stop in the middle.
    settings::with_index_scans(|| {
        sql::each_kept(&text, arguments, |row| {
            seen += 1;
            last = row.long(0);
            if let (Some(entity), Some(attrs)) = (last, row.document(1))
                && let Some(found) = check(question, entity, attrs, row.bytes(2))?
            {
                enough = !each(found)?;
            }
            Ok(!enough)
        })
    })?;
    Ok(last.filter(|_| enough || seen >= most))
}

/// Looks at these entities, in their order. Those that have no row here have no hot value, which matters only if one is asked for.
pub fn look_up(
    installed: &Installed,
    question: &Question,
    candidates: &[Candidate],
    mut each: impl FnMut(&Candidate, Option<Found>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let takes_missing = question.hot().next().is_none();
    let mut look = |candidate: &Candidate, found: Option<Row>| match found {
        Some(row) if row.is_deleted => Ok(true),
        Some(row) => match check(question, candidate.entity, row.attrs, row.times)? {
            Some(found) => each(candidate, Some(found)),
            None => Ok(true),
        },
        None if takes_missing => each(candidate, None),
        None => Ok(true),
    };
    let mut left = candidates;
    if let Some(mut leaves) = Leaves::open(installed)? {
        let scratch = Scratch::new();
        while let Some((candidate, others)) = left.split_first() {
            pgrx::check_for_interrupts!();
            let Some(leaf) = leaves.of(question.tenant_id, candidate.entity) else {
                break;
            };
            // Outside: what a scan of an index allocates may have to last as long as the scan.
            let found = leaf.find(question.tenant_id, candidate.entity, candidate.document);
            let more = scratch.within(|| look(candidate, found.as_ref().map(Row::of)))?;
            scratch.reset();
            if !more {
                return Ok(());
            }
            left = others;
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    let text = format!(
        "SELECT i.place, p.hot_attrs, p.hot_times, p.deleted_at IS NOT NULL
         FROM unnest($2::bigint[]) WITH ORDINALITY i (id, place)
         LEFT JOIN {} p ON p.tenant_id = $1 AND p.entity_id = i.id
         ORDER BY i.place",
        installed.qualified(Table::Projection)
    );
    let entities: Vec<i64> = left.iter().map(|candidate| candidate.entity).collect();
    let arguments = vec![argument(question.tenant_id), argument(entities)];
    sql::each_kept(&text, arguments, |row| {
        let place = row.long(0).and_then(|place| usize::try_from(place - 1).ok());
        let Some(candidate) = place.and_then(|place| left.get(place)) else {
            return Ok(true);
        };
        let found = row.document(1).map(|attrs| Row {
            attrs,
            times: row.bytes(2),
            is_deleted: row.boolean(3),
        });
        look(candidate, found)
    })
}

/// What is stored of an entity.
struct Row<'a> {
    attrs: Jsonb<'a>,
    times: Option<&'a [u8]>,
    is_deleted: bool,
}

impl<'a> Row<'a> {
    fn of(row: &'a projection::Row) -> Row<'a> {
        Row {
            attrs: row.document(),
            times: row.times(),
            is_deleted: row.is_deleted(),
        }
    }
}

fn check<'a>(
    question: &Question,
    entity_id: i64,
    attrs: Jsonb<'a>,
    times: Option<&[u8]>,
) -> Result<Option<Found<'a>>, Error> {
    let times = match times {
        Some(packed) if question.hot().next().is_some() => times::unpack(packed)
            .map_err(|fault| Error::UnreadableRow(format!("entity_jsonb ({})", fault.0)))?,
        _ => Times::new(),
    };
    let newest = satisfied(question.hot(), question.since, attrs.root(), &times);
    Ok(newest.map(|newest| Found {
        entity_id,
        attrs,
        newest,
    }))
}
