//! Rows of the projection by the executor: where users added triggers, policies, indexes or columns, and where somebody wants to
//! wait for a row.

use std::time::Duration;

use pgrx::datum::TimestampWithTimeZone;

use super::document::LENGTH;
use super::entity::{Change, Outcome, View};
use super::merge::{Merged, Stored};
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::jsonb::Built;
use crate::pg::{settings, xact};
use crate::sql::{argument, value, write};

/// How long an insertion may wait for one of the same key that was not to be seen a moment ago.
const HARDLY: Duration = Duration::from_millis(1);

/// A row that this transaction has locked.
struct Locked {
    attrs: Built,
    times: Option<Vec<u8>>,
    is_deleted: bool,
}

impl Locked {
    fn view(row: Option<&Locked>) -> View<'_> {
        View {
            stored: row.map(|row| Stored {
                attrs: row.attrs.0.get(LENGTH..).unwrap_or_default(),
                times: row.times.as_deref(),
            }),
            is_deleted: row.is_some_and(|row| row.is_deleted),
        }
    }
}

/// Locks the row as an UPDATE would. `wait`: for whoever has it; otherwise it is as if it were not there.
fn lock(installed: &Installed, tenant_id: i64, entity_id: i64, wait: bool) -> Result<Option<Locked>, Error> {
    let text = format!(
        "SELECT hot_attrs, hot_times, deleted_at IS NOT NULL FROM {} WHERE tenant_id = $1 AND entity_id = $2
         FOR NO KEY UPDATE{}",
        installed.qualified(Table::Projection),
        if wait { "" } else { " SKIP LOCKED" }
    );
    write(&text, vec![argument(tenant_id), argument(entity_id)], |rows| {
        if rows.is_empty() {
            return Ok(None);
        }
        let row = rows.first();
        Ok(row.get::<Built>(1)?.map(|attrs| Locked {
            attrs,
            times: row.get::<Vec<u8>>(2).ok().flatten(),
            is_deleted: row.get::<bool>(3).ok().flatten() == Some(true),
        }))
    })
}

/// Writes a row that `lock` has locked.
fn update(installed: &Installed, tenant_id: i64, entity_id: i64, merged: &Merged) -> Result<(), Error> {
    let text = format!(
        "UPDATE {} SET as_of = $3, hot_attrs = $4, hot_times = $5 WHERE tenant_id = $1 AND entity_id = $2",
        installed.qualified(Table::Projection)
    );
    write(&text, arguments(tenant_id, entity_id, merged)?, |_| Ok(()))
}

/// Inserts the row of an entity that has none; false when it has one by now.
fn insert(installed: &Installed, tenant_id: i64, entity_id: i64, merged: &Merged) -> Result<bool, Error> {
    let text = format!(
        "INSERT INTO {} (tenant_id, entity_id, as_of, hot_attrs, hot_times) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (tenant_id, entity_id) DO NOTHING RETURNING true",
        installed.qualified(Table::Projection)
    );
    let inserted: Option<bool> = write(&text, arguments(tenant_id, entity_id, merged)?, value)?;
    Ok(inserted == Some(true))
}

fn arguments(tenant_id: i64, entity_id: i64, merged: &Merged) -> Result<Vec<crate::sql::Argument>, Error> {
    let as_of = TimestampWithTimeZone::try_from(merged.as_of).map_err(|_| Error::NoPeriod(merged.as_of))?;
    Ok(vec![
        argument(tenant_id),
        argument(entity_id),
        argument(as_of),
        argument(Built(merged.attrs.clone())),
        argument(merged.times.clone()),
    ])
}

fn exists(installed: &Installed, tenant_id: i64, entity_id: i64) -> Result<bool, Error> {
    let text = format!(
        "SELECT EXISTS (SELECT FROM {} WHERE tenant_id = $1 AND entity_id = $2)",
        installed.qualified(Table::Projection)
    );
    let found: Option<bool> = write(&text, vec![argument(tenant_id), argument(entity_id)], value)?;
    Ok(found == Some(true))
}

/// As `Writer::write`: waits for nobody, but for what only an insertion finds out.
pub fn try_write(
    installed: &Installed,
    tenant_id: i64,
    entity_id: i64,
    change: Change,
) -> Result<Outcome, Error> {
    let row = lock(installed, tenant_id, entity_id, false)?;
    if row.is_none() && exists(installed, tenant_id, entity_id)? {
        return Ok(Outcome::Busy);
    }
    let Some(merged) = change(Locked::view(row.as_ref()))? else {
        return Ok(Outcome::AsItWas);
    };
    if row.is_some() {
        update(installed, tenant_id, entity_id, &merged)?;
        return Ok(Outcome::Written(merged, 0));
    }
    let inserted = xact::subtransaction(|| {
        settings::undone_after(|| {
            settings::set_lock_timeout(HARDLY);
            insert(installed, tenant_id, entity_id, &merged)
        })
    });
    match inserted {
        Ok(true) => Ok(Outcome::Written(merged, 0)),
        Ok(false) => Ok(Outcome::Busy),
        Err(failure) if failure.sqlstate == "55P03" => Ok(Outcome::Busy),
        Err(failure) => Err(failure.into()),
    }
}

/// The same, waiting for whoever has the row.
pub fn write_waiting(
    installed: &Installed,
    tenant_id: i64,
    entity_id: i64,
    change: Change,
) -> Result<Option<Merged>, Error> {
    loop {
        let row = lock(installed, tenant_id, entity_id, true)?;
        let Some(merged) = change(Locked::view(row.as_ref()))? else {
            return Ok(None);
        };
        if row.is_some() {
            update(installed, tenant_id, entity_id, &merged)?;
            return Ok(Some(merged));
        }
        if insert(installed, tenant_id, entity_id, &merged)? {
            return Ok(Some(merged));
        }
        // Somebody was faster: there is a row to lock now.
        pgrx::check_for_interrupts!();
    }
}
