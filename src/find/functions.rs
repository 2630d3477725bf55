//! `find_entities_by_attributes()` and `explain_find()`.

use pgrx::datum::Interval;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::explain;
use super::question::Question;
use super::steps;
use crate::error::Error;
use crate::heat::{self, Use};
use crate::installed::Installed;
use crate::pg::answer::Answer;
use crate::pg::jsonb::{self, Jsonb};
use crate::registry::{required, tenant_at_least};

#[pg_extern]
fn find_entities_by_attributes<'a>(
    tenant_id: Option<i64>,
    filters: Option<Jsonb<'a>>,
    within: Option<Interval>,
    max_results: Option<i32>,
    after_entity: Option<i64>,
    mut answer: Answer,
) -> Result<(), ErrorReport> {
    let tenant_id = tenant_at_least(tenant_id, 1, "1 and above")?;
    let filters = required(filters, "filters")?;
    let most = required(max_results, "max_results")?;
    if most < 1 {
        return Err(Error::OutOfRange {
            argument: "max_results",
            value: i64::from(most),
            allowed: "1 and above",
        }
        .into());
    }
    let installed = Installed::require()?;
    let question = Question::read(&installed, tenant_id, &filters, within)?;
    for condition in &question.conditions {
        heat::count(tenant_id, condition.attribute.id, Use::Filtered);
    }
    let mut left = most;
    steps::run(
        &installed,
        &question,
        after_entity,
        usize::try_from(most).unwrap_or(0),
        &mut |entity, attrs, newest| {
            let attrs = attrs.map_or_else(jsonb::empty_object, Jsonb::datum);
            answer.add_values([
                Some(pg_sys::Datum::from(entity)),
                Some(attrs),
                Some(pg_sys::Datum::from(newest)),
            ]);
            left -= 1;
            Ok(left > 0)
        },
    )?;
    Ok(())
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn explain_find<'a>(
    tenant_id: Option<i64>,
    filters: Option<Jsonb<'a>>,
    within: Option<Interval>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(step, i32),
            name!(attribute, Option<String>),
            name!(reads, String),
            name!(purpose, String),
            name!(expected_rows, i64),
            name!(cost, f64),
            name!(note, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let tenant_id = tenant_at_least(tenant_id, 1, "1 and above")?;
    let filters = required(filters, "filters")?;
    let installed = Installed::require()?;
    let question = Question::read(&installed, tenant_id, &filters, within)?;
    let lines = explain::lines(&installed, &question)?;
    Ok(TableIterator::new((1..).zip(lines).map(|(step, line)| {
        (
            step,
            line.attribute,
            line.reads.to_owned(),
            line.purpose.to_owned(),
            line.expected.rows as i64,
            line.expected.cost,
            line.note,
        )
    })))
}
