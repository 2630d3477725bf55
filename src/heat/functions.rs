//! The rows of `attribute_heat`.

use std::collections::{BTreeMap, HashMap, HashSet};

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::counters::{Counts, rest};
use super::keeper::counted;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::{identity, process};
use crate::sql::look;

/// An attribute, by its id.
struct Known {
    tenant_id: i64,
    name: String,
    is_hot: bool,
    is_searchable: bool,
}

/// What a tenant does with an attribute.
#[derive(Default)]
struct Used {
    since: Option<TimestampWithTimeZone>,
    counts: Counts,
}

/// By tenant and attribute.
type Uses = BTreeMap<(i64, i32), Used>;

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
    let (attributes, mut uses) = identity::as_owner(|| {
        let installed = Installed::require()?;
        Ok((attributes(&installed)?, uses(&installed)?))
    })?;
    let in_memory = counted();
    let is_counting = in_memory.is_some();
    for (key, counts) in in_memory.unwrap_or_default() {
        uses.entry((key.tenant_id, key.attribute_id))
            .or_default()
            .counts
            .add(&counts);
    }
    // Those that nobody has used are shown as well.
    let used: HashSet<i32> = uses.keys().map(|(_, id)| *id).collect();
    for (id, attribute) in attributes.iter().filter(|(id, _)| !used.contains(id)) {
        uses.insert((attribute.tenant_id, *id), Used::default());
    }
    let of_rest = rest(process::my_database());
    let rows = uses.into_iter().map(move |((tenant, id), used)| {
        let is_rest = (tenant, id) == (of_rest.tenant_id, of_rest.attribute_id);
        let attribute = attributes.get(&id);
        let is_known = is_counting || used.since.is_some();
        let number = |count: u64| i64::try_from(count).ok().filter(|_| is_known);
        let state = match (is_counting, is_rest) {
            (false, _) => "not preloaded",
            (true, true) => "all others together",
            (true, false) => "counted",
        };
        (
            (!is_rest).then_some(tenant),
            (!is_rest).then_some(id),
            attribute.map(|known| known.name.clone()),
            attribute.map(|known| known.is_hot),
            attribute.map(|known| known.is_searchable),
            number(used.counts.asked),
            number(used.counts.filtered),
            number(used.counts.written),
            used.since,
            state.to_owned(),
        )
    });
    Ok(TableIterator::new(rows))
}

fn attributes(installed: &Installed) -> Result<HashMap<i32, Known>, Error> {
    let text = format!(
        "SELECT attribute_id, tenant_id, name, is_hot, is_searchable FROM {}",
        installed.qualified(Table::Attributes)
    );
    look(&text, |rows| {
        let mut found = HashMap::with_capacity(rows.len());
        for row in rows {
            if let (Some(id), Some(tenant_id), Some(name)) = (row.get(1)?, row.get(2)?, row.get(3)?) {
                let attribute = Known {
                    tenant_id,
                    name,
                    is_hot: row.get(4)?.unwrap_or(false),
                    is_searchable: row.get(5)?.unwrap_or(false),
                };
                found.insert(id, attribute);
            }
        }
        Ok(found)
    })
}

/// What is written down.
fn uses(installed: &Installed) -> Result<Uses, Error> {
    let text = format!(
        "SELECT tenant_id, attribute_id, asked, filtered, written, counted_since FROM {}",
        installed.qualified(Table::AttributeUse)
    );
    look(&text, |rows| {
        let mut uses = Uses::new();
        for row in rows {
            let (Some(tenant), Some(id)) = (row.get::<i64>(1)?, row.get::<i32>(2)?) else {
                continue;
            };
            let count = |column: usize| -> Result<u64, Error> {
                Ok(row.get::<i64>(column)?.unwrap_or(0).try_into().unwrap_or(0))
            };
            let used = Used {
                since: row.get(6)?,
                counts: Counts {
                    asked: count(3)?,
                    filtered: count(4)?,
                    written: count(5)?,
                },
            };
            uses.insert((tenant, id), used);
        }
        Ok(uses)
    })
}
