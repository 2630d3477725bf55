//! Readings that wait, in staging or for the projection, as if they had arrived: for whoever asks for them on top of what the
//! projection has.

use super::latest::Shown;
use super::merge::{Stored, merge};
use super::reduce::{candidates, deltas};
use super::upsert::with_length;
use crate::error::Error;
use crate::guc;
use crate::installed::{DOORS, Installed, Table};
use crate::pg::handover::returned_tuples;
use crate::pg::jsonb::{Built, layout_of};
use crate::pg::{horizon, identity, xact};
use crate::sql::{argument, read};
use crate::staging::batch::{Batch, NO_LEAF};
use crate::staging::dictionary;
use crate::staging::flush;
use crate::staging::reading::Tuple;
use crate::staging::store::{self, COLUMNS};

/// The document with what waits; None for an entity without values. `own_rights`: the caller may not see all that is stored,
/// so staging is read with his own rights, too.
pub fn merged(
    installed: &Installed,
    tenant_id: i64,
    entity_id: i64,
    shown: Shown,
    own_rights: bool,
) -> Result<Option<Built>, Error> {
    let Shown::There(stored) = shown else {
        return Ok(None);
    };
    let collect = || collect(installed, tenant_id, entity_id);
    let batch = if own_rights {
        collect()?
    } else {
        identity::as_owner(collect)?
    };
    let waiting = merge_into(installed, stored, &batch, tenant_id, entity_id)?;
    Ok(waiting.or_else(|| stored.map(|stored| with_length(stored.attrs))))
}

fn merge_into(
    installed: &Installed,
    stored: Option<Stored>,
    batch: &Batch,
    tenant_id: i64,
    entity_id: i64,
) -> Result<Option<Built>, Error> {
    if batch.rows.is_empty() {
        return Ok(None);
    }
    let attributes =
        identity::as_owner(|| dictionary::attributes(installed, xact::has_id(), batch.attributes.iter()))?;
    let accepted = flush::accepted_times(installed)?;
    let longest = guc::max_value_size();
    let good: Vec<_> = batch
        .rows
        .iter()
        .filter(|row| {
            let tuple = batch.tuple(row);
            Tuple::new(tuple).is_some_and(|reading| {
                store::fault(tuple, &reading.reading(), &accepted, &attributes, longest).is_none()
            })
        })
        .copied()
        .collect();
    let candidates = candidates(batch, &good, &attributes);
    let deltas = deltas(batch, &good, &candidates, &attributes);
    let merged =
        merge(stored, &deltas, &layout_of).map_err(|fault| fault.of(installed, tenant_id, entity_id))?;
    Ok(merged.map(|merged| Built(merged.attrs)))
}

/// What waits for one entity. A standby has no rows of the fast door.
fn collect(installed: &Installed, tenant_id: i64, entity_id: i64) -> Result<Batch, Error> {
    let mut batch = Batch::unrouted(usize::MAX, usize::MAX);
    for table in DOORS.into_iter().chain([Table::Pending]) {
        if table == Table::Ingest && xact::in_recovery() {
            continue;
        }
        let Some(oid) = installed.table_oid(table)? else {
            continue;
        };
        horizon::check_snapshot(oid)?;
        add(installed, table, tenant_id, entity_id, &mut batch)?;
    }
    Ok(batch)
}

/// Adds the rows of an entity that are in a table.
pub fn add(
    installed: &Installed,
    table: Table,
    tenant_id: i64,
    entity_id: i64,
    batch: &mut Batch,
) -> Result<(), Error> {
    let text = format!(
        "SELECT {COLUMNS} FROM {} WHERE tenant_id = $1 AND entity_id = $2",
        installed.qualified(table)
    );
    read(&text, vec![argument(tenant_id), argument(entity_id)], |_| {
        add_returned(batch);
        Ok(())
    })
}

/// Adds the readings that the last statement returned.
pub fn add_returned(batch: &mut Batch) {
    returned_tuples(|tuple| {
        if let Some(id) = Tuple::new(tuple).and_then(|tuple| tuple.attribute_id()) {
            batch.attributes.add(id);
        }
        batch.add(tuple, 0, NO_LEAF);
    });
}
