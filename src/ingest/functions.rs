//! `ingest()`, `ingest_external()` and `ingest_many()`.

use pgrx::Uuid;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::document::{Entity, Head, Item, Place, items, open, single};
use super::fault::Fault;
use super::stage::{Call, stage};
use crate::error::Error;
use crate::installed::Installed;
use crate::pg::jsonb::Jsonb;
use crate::pg::{identity, process, xact};
use crate::registry::{required, tenant_at_least};
use crate::shmem;

#[pg_extern]
fn ingest<'a>(
    tenant_id: Option<i64>,
    entity_id: Option<i64>,
    readings: Option<Jsonb<'a>>,
    observed_at: Option<TimestampWithTimeZone>,
    durable: Option<bool>,
    request_id: Option<Uuid>,
) -> Result<i32, ErrorReport> {
    let entity = Entity::Id(required(entity_id, "entity_id")?);
    ingest_one(tenant_id, entity, readings, observed_at, durable, request_id)
}

#[pg_extern]
fn ingest_external<'a>(
    tenant_id: Option<i64>,
    external_id: Option<&'a str>,
    readings: Option<Jsonb<'a>>,
    observed_at: Option<TimestampWithTimeZone>,
    durable: Option<bool>,
    request_id: Option<Uuid>,
) -> Result<i32, ErrorReport> {
    let entity = Entity::External(required(external_id, "external_id")?);
    ingest_one(tenant_id, entity, readings, observed_at, durable, request_id)
}

fn ingest_one(
    tenant_id: Option<i64>,
    entity: Entity,
    readings: Option<Jsonb>,
    observed_at: Option<TimestampWithTimeZone>,
    durable: Option<bool>,
    request_id: Option<Uuid>,
) -> Result<i32, ErrorReport> {
    let readings = required(readings, "readings")?;
    let head = Head {
        entity,
        observed_at: observed_at.map(finite).transpose()?,
        request_id: request_id.map(|id| *id.as_bytes()),
    };
    let item = open(&readings, "bytes of readings")
        .and_then(|root| single(head, root))
        .map_err(Error::from)?;
    run(tenant_id, durable, vec![item])
}

#[pg_extern]
fn ingest_many<'a>(
    tenant_id: Option<i64>,
    batch: Option<Jsonb<'a>>,
    durable: Option<bool>,
) -> Result<i32, ErrorReport> {
    let document = required(batch, "batch")?;
    let items = open(&document, "bytes of the batch")
        .and_then(items)
        .map_err(Error::from)?;
    run(tenant_id, durable, items)
}

fn run(tenant_id: Option<i64>, durable: Option<bool>, items: Vec<Item>) -> Result<i32, ErrorReport> {
    let call = Call {
        tenant_id: tenant_at_least(tenant_id, 1, "1 and above")?,
        durable: required(durable, "durable")?,
        items,
    };
    let staged = identity::as_owner(|| {
        xact::check_writable()?;
        let installed = Installed::require()?;
        shmem::notice_if_unseen(process::my_database());
        stage(&installed, call)
    })?;
    Ok(i32::try_from(staged).unwrap_or(i32::MAX))
}

pub fn finite(time: TimestampWithTimeZone) -> Result<i64, Error> {
    match pg_sys::TimestampTz::from(time) {
        i64::MIN | i64::MAX => Err(Fault::Time {
            at: Place::Single.of("observed_at"),
            fault: "is infinite".into(),
            infinite: true,
        }
        .into()),
        time => Ok(time),
    }
}
