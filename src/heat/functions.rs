//! The rows of `attribute_heat`.

use std::collections::BTreeMap;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::counters::Counts;
use super::keeper::counted;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::identity;
use crate::sql::look;

/// An attribute as a tenant uses it.
#[derive(Default)]
struct Line {
    name: Option<String>,
    is_hot: Option<bool>,
    is_searchable: Option<bool>,
    since: Option<TimestampWithTimeZone>,
    counts: Counts,
}

type Lines = BTreeMap<(i64, i32), Line>;

#[allow(clippy::type_complexity)]
#[pg_extern]
fn attribute_heat_rows() -> Result<
    TableIterator<
        'static,
        (
            name!(tenant_id, Option<i64>),
            name!(attribute_id, Option<i32>),
            name!(attribute, Option<String>),
            name!(is_hot, Option<bool>),
            name!(is_searchable, Option<bool>),
            name!(asked, Option<i64>),
            name!(filtered, Option<i64>),
            name!(written, Option<i64>),
            name!(counted_since, Option<TimestampWithTimeZone>),
            name!(state, String),
        ),
    >,
    ErrorReport,
> {
    let lines = identity::as_owner(|| lines(&Installed::require()?))?;
    let in_memory = counted();
    let is_counting = in_memory.is_some();
    let mut lines = lines;
    for (key, counts) in in_memory.unwrap_or_default() {
        let line = lines.entry((key.tenant_id, key.attribute_id)).or_default();
        line.counts.asked += counts.asked;
        line.counts.filtered += counts.filtered;
        line.counts.written += counts.written;
    }
    Ok(TableIterator::new(lines.into_iter().map(
        move |((tenant, id), line)| {
            let is_rest = (tenant, id) == (0, 0);
            let shown = is_counting || line.since.is_some();
            let number = |count: u64| i64::try_from(count).ok().filter(|_| shown);
            let state = match (is_rest, is_counting) {
                (_, false) => "not preloaded",
                (true, true) => "all others together",
                (false, true) => "counted",
            };
            (
                (!is_rest).then_some(tenant),
                (!is_rest).then_some(id),
                line.name,
                line.is_hot,
                line.is_searchable,
                number(line.counts.asked),
                number(line.counts.filtered),
                number(line.counts.written),
                line.since,
                state.to_owned(),
            )
        },
    )))
}

/// All attributes, and what is written down of them.
fn lines(installed: &Installed) -> Result<Lines, Error> {
    let text = format!(
        "SELECT coalesce(u.tenant_id, a.tenant_id), coalesce(u.attribute_id, a.attribute_id), a.name, a.is_hot, a.is_searchable,
                u.asked, u.filtered, u.written, u.counted_since
         FROM {} a FULL JOIN {} u USING (attribute_id)",
        installed.qualified(Table::Attributes),
        installed.qualified(Table::AttributeUse)
    );
    look(&text, |rows| {
        let mut lines = Lines::new();
        for row in rows {
            let (Some(tenant), Some(id)) = (row.get::<i64>(1)?, row.get::<i32>(2)?) else {
                continue;
            };
            let count = |column: usize| -> Result<u64, Error> {
                Ok(row.get::<i64>(column)?.unwrap_or(0).try_into().unwrap_or(0))
            };
            let line = Line {
                name: row.get(3)?,
                is_hot: row.get(4)?,
                is_searchable: row.get(5)?,
                since: row.get(9)?,
                counts: Counts {
                    asked: count(6)?,
                    filtered: count(7)?,
                    written: count(8)?,
                },
            };
            lines.insert((tenant, id), line);
        }
        Ok(lines)
    })
}
