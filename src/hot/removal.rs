//! Entities that are deleted, and brought back. The row stays, and newer readings go on into its document, so that it is up to
//! date when it comes back; nobody is shown it meanwhile.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::{identity, process, xact};
use crate::registry::{required, tenant_at_least};
use crate::shmem;
use crate::sql::{argument, value, write};

#[pg_extern]
fn delete_entity(tenant_id: Option<i64>, entity_id: Option<i64>) -> Result<bool, ErrorReport> {
    // An entity without a row gets one: readings of it may come yet.
    set_deleted(
        tenant_id,
        entity_id,
        "INSERT INTO {} AS known (tenant_id, entity_id, as_of, deleted_at) VALUES ($1, $2, '-infinity', clock_timestamp())
         ON CONFLICT (tenant_id, entity_id) DO UPDATE SET deleted_at = excluded.deleted_at WHERE known.deleted_at IS NULL
         RETURNING true",
    )
}

#[pg_extern]
fn undelete_entity(tenant_id: Option<i64>, entity_id: Option<i64>) -> Result<bool, ErrorReport> {
    set_deleted(
        tenant_id,
        entity_id,
        "UPDATE {} SET deleted_at = NULL WHERE tenant_id = $1 AND entity_id = $2 AND deleted_at IS NOT NULL RETURNING true",
    )
}

/// Whether it was the other way before.
fn set_deleted(
    tenant_id: Option<i64>,
    entity_id: Option<i64>,
    text: &'static str,
) -> Result<bool, ErrorReport> {
    let tenant_id = tenant_at_least(tenant_id, 1, "1 and above")?;
    let entity_id = required(entity_id, "entity_id")?;
    Ok(identity::as_owner(|| {
        xact::check_writable()?;
        let installed = Installed::require()?;
        shmem::notice_if_unseen(process::my_database());
        let text = text.replace("{}", &installed.qualified(Table::Projection));
        let changed: Option<bool> = write(&text, vec![argument(tenant_id), argument(entity_id)], value)?;
        Ok::<_, Error>(changed == Some(true))
    })?)
}
