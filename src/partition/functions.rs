//! Partitions as users call them.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::bounds::Micros;
use super::observed;
use super::plan::plan;
use super::rotate::rotate;
use crate::installed::Installed;
use crate::pg::partitions::EPOCH_2000;
use crate::pg::{identity, process, xact};
use crate::shmem;

#[allow(clippy::type_complexity)]
#[pg_extern]
fn partition_plan() -> Result<
    TableIterator<
        'static,
        (
            name!(action, String),
            name!(partition, String),
            name!(starts_at, Option<TimestampWithTimeZone>),
            name!(ends_at, Option<TimestampWithTimeZone>),
            name!(reason, String),
            name!(statement, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let planned = identity::as_owner(|| plan(&Installed::require()?))?;
    Ok(TableIterator::new(planned.into_iter().map(|planned| {
        (
            planned.action.name().to_owned(),
            planned.partition,
            timestamp(planned.period.start),
            timestamp(planned.period.end),
            planned.reason,
            planned.statement,
        )
    })))
}

/// None for an end that is open.
fn timestamp(time: Micros) -> Option<TimestampWithTimeZone> {
    let open = time == Micros::MIN || time == Micros::MAX;
    let since_2000 = time.saturating_sub(EPOCH_2000);
    (!open)
        .then(|| TimestampWithTimeZone::try_from(since_2000).ok())
        .flatten()
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn ingested_periods(
    since: Option<TimestampWithTimeZone>,
    until: Option<TimestampWithTimeZone>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(starts_at, Option<TimestampWithTimeZone>),
            name!(ends_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let micros = |time: TimestampWithTimeZone| match pg_sys::TimestampTz::from(time) {
        open @ (i64::MIN | i64::MAX) => open,
        time => time.saturating_add(EPOCH_2000),
    };
    let since = since.map_or(Micros::MIN, micros);
    let until = until.map_or(Micros::MAX, micros);
    let periods = identity::as_owner(|| observed::ingested_periods(&Installed::require()?, since, until))?;
    let rows = periods
        .into_iter()
        .map(|period| (timestamp(period.start), timestamp(period.end)));
    Ok(TableIterator::new(rows))
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn rotate_partitions() -> Result<
    TableIterator<
        'static,
        (
            name!(action, String),
            name!(partition, String),
            name!(outcome, String),
            name!(detail, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let done = identity::as_owner(|| {
        xact::check_writable()?;
        let installed = Installed::require()?;
        shmem::notice_if_unseen(process::my_database());
        rotate(&installed)
    })?;
    let rows = done.into_iter().map(|done| {
        (
            done.action.name().to_owned(),
            done.partition,
            done.outcome.name().to_owned(),
            done.detail,
        )
    });
    Ok(TableIterator::new(rows))
}
