//! Rows of the projection by the executor: where users added triggers, policies, indexes or columns, and where somebody wants to
//! wait for a row.

use std::time::Duration;

use pgrx::datum::TimestampWithTimeZone;

use super::document::LENGTH;
use super::entity::Outcome;
use super::merge::{Delta, Merged, Stored, merge};
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::jsonb::{Built, layout_of};
use crate::pg::{settings, xact};
use crate::sql::{argument, value, write};

/// How long an insertion may wait for one of the same key that was not to be seen a moment ago.
const HARDLY: Duration = Duration::from_millis(1);

/// A row that this transaction has locked.
pub struct Locked {
    pub attrs: Built,
    pub times: Option<Vec<u8>>,
    pub is_deleted: bool,
}

impl Locked {
    pub fn stored(&self) -> Stored<'_> {
        Stored {
            attrs: self.attrs.0.get(LENGTH..).unwrap_or_default(),
            times: self.times.as_deref(),
        }
    }
}

/// Locks the row as an UPDATE would. `wait`: for whoever has it; otherwise it is as if it were not there.
pub fn lock(
    installed: &Installed,
    tenant_id: i64,
    entity_id: i64,
    wait: bool,
) -> Result<Option<Locked>, Error> {
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
pub fn update(installed: &Installed, tenant_id: i64, entity_id: i64, merged: &Merged) -> Result<(), Error> {
    let text = format!(
        "UPDATE {} SET as_of = $3, hot_attrs = $4, hot_times = $5 WHERE tenant_id = $1 AND entity_id = $2",
        installed.qualified(Table::Projection)
    );
    write(&text, arguments(tenant_id, entity_id, merged)?, |_| Ok(()))
}

/// Inserts the row of an entity that has none; false when it has one by now.
pub fn insert(installed: &Installed, tenant_id: i64, entity_id: i64, merged: &Merged) -> Result<bool, Error> {
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
    deltas: &[Delta],
) -> Result<Outcome, Error> {
    let row = lock(installed, tenant_id, entity_id, false)?;
    if row.is_none() && exists(installed, tenant_id, entity_id)? {
        return Ok(Outcome::Busy);
    }
    let merged = match merge(row.as_ref().map(Locked::stored), deltas, &layout_of) {
        Ok(Some(merged)) => merged,
        Ok(None) => return Ok(Outcome::NotNewer),
        Err(fault) => return Ok(Outcome::Faulty(fault)),
    };
    if row.is_some() {
        update(installed, tenant_id, entity_id, &merged)?;
        return Ok(Outcome::Written(merged));
    }
    let inserted = xact::subtransaction(|| {
        settings::undone_after(|| {
            settings::set_lock_timeout(HARDLY);
            insert(installed, tenant_id, entity_id, &merged)
        })
    });
    match inserted {
        Ok(true) => Ok(Outcome::Written(merged)),
        Ok(false) => Ok(Outcome::Busy),
        Err(failure) if failure.sqlstate == "55P03" => Ok(Outcome::Busy),
        Err(failure) => Err(failure.into()),
    }
}
