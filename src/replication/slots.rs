//! The rows of `replication_slots_health`.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::peers::{head, ring};
use super::ring::{Ring, Time, seconds};
use super::slot_verdict::{Slot, judge_slot};
use crate::error::Error;
use crate::installed::Installed;
use crate::pg::replication::{self, Position};
use crate::pg::{identity, process};
use crate::sql::read;

/// The rate of writing is taken over this time.
const RATE_OVER: Time = 300_000_000;

/// A slot as the server shows it.
struct Seen {
    name: String,
    kind: String,
    plugin: Option<String>,
    database: Option<String>,
    consumer: Option<String>,
    active: bool,
    wal_status: Option<String>,
    safe: Option<i64>,
    restart: Option<Position>,
    confirmed: Option<Position>,
    catalog_xmin_age: Option<i64>,
    inactive_since: Option<Time>,
    failover: Option<bool>,
    synced: Option<bool>,
    invalidation_reason: Option<String>,
}

/// As a role that may read the statistics of others. What older majors lack comes out of the row as NULL.
fn slots() -> Result<Vec<Seen>, Error> {
    identity::as_statistics_reader(|| {
        read(
            "SELECT s.slot_name::text, s.slot_type, s.plugin::text, s.database::text,
                    r.application_name || coalesce('@' || host(r.client_addr), ''), s.active, s.wal_status, s.safe_wal_size,
                    (s.restart_lsn - '0/0')::bigint, (s.confirmed_flush_lsn - '0/0')::bigint,
                    age(s.catalog_xmin)::bigint, (j ->> 'inactive_since')::timestamptz,
                    (j ->> 'failover')::boolean, (j ->> 'synced')::boolean,
                    coalesce(j ->> 'invalidation_reason', CASE WHEN (j ->> 'conflicting')::boolean THEN 'conflicting' END)
             FROM pg_replication_slots s LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid
             CROSS JOIN LATERAL to_jsonb(s) AS o (j)
             ORDER BY s.slot_name",
            vec![],
            |rows| {
                let mut found = Vec::new();
                for row in rows {
                    let position = |column: usize| -> Result<Option<Position>, Error> {
                        Ok(row.get::<i64>(column)?.and_then(|value| value.try_into().ok()))
                    };
                    found.push(Seen {
                        name: row.get(1)?.unwrap_or_default(),
                        kind: row.get(2)?.unwrap_or_default(),
                        plugin: row.get(3)?,
                        database: row.get(4)?,
                        consumer: row.get(5)?,
                        active: row.get(6)?.unwrap_or(false),
                        wal_status: row.get(7)?,
                        safe: row.get(8)?,
                        restart: position(9)?,
                        confirmed: position(10)?,
                        catalog_xmin_age: row.get(11)?,
                        inactive_since: row.get::<TimestampWithTimeZone>(12)?.map(Time::from),
                        failover: row.get(13)?,
                        synced: row.get(14)?,
                        invalidation_reason: row.get(15)?,
                    });
                }
                Ok(found)
            },
        )
    })
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn replication_slots_health_rows() -> Result<
    TableIterator<
        'static,
        (
            name!(slot_name, String),
            name!(kind, String),
            name!(plugin, Option<String>),
            name!(database, Option<String>),
            name!(consumer, Option<String>),
            name!(active, bool),
            name!(inactive_since, Option<TimestampWithTimeZone>),
            name!(failover, Option<bool>),
            name!(synced, Option<bool>),
            name!(wal_status, Option<String>),
            name!(invalidation_reason, Option<String>),
            name!(retained_bytes, Option<i64>),
            name!(lag_bytes, Option<i64>),
            name!(lag_seconds, Option<f64>),
            name!(catalog_xmin_age, Option<i64>),
            name!(wal_bytes_per_second, Option<f64>),
            name!(seconds_left, Option<f64>),
            name!(verdict, String),
            name!(remedy, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let (ring, slots) = identity::as_owner(|| Ok((ring(&Installed::require()?)?, slots()?)))?;
    let (head, now) = (head(), process::now());
    let free = replication::free_bytes_for_wal().and_then(|bytes| i64::try_from(bytes).ok());
    Ok(TableIterator::new(
        slots
            .into_iter()
            .map(move |slot| row(slot, &ring, head, now, free)),
    ))
}

type Row = (
    String,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    bool,
    Option<TimestampWithTimeZone>,
    Option<bool>,
    Option<bool>,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<f64>,
    Option<i64>,
    Option<f64>,
    Option<f64>,
    String,
    Option<String>,
);

fn row(slot: Seen, ring: &Ring, head: Position, now: Time, free_on_disk: Option<i64>) -> Row {
    let behind = |position: Position| i64::try_from(head.saturating_sub(position)).unwrap_or(i64::MAX);
    // A physical slot says no more than where its standby is.
    let reached = slot.confirmed.or(slot.restart);
    let lag_seconds = reached.and_then(|position| ring.seconds_behind_or_more(position, head, now));
    let inactive_since = match (slot.active, slot.inactive_since) {
        (true, _) => None,
        (false, Some(since)) => Some(since),
        // Before PostgreSQL 17: when the WAL went past what its consumer had confirmed.
        (false, None) => reached.and_then(|position| ring.passed_at(position)),
    };
    let rate = ring.bytes_per_second(head, now, RATE_OVER);
    let retained = slot.restart.map(behind);
    let judged = judge_slot(&Slot {
        wal_status: slot.wal_status.as_deref(),
        invalid: slot.invalidation_reason.is_some(),
        synced: slot.synced.unwrap_or(false),
        active: slot.active,
        retained,
        safe: slot.safe,
        inactive_seconds: inactive_since.map(|since| seconds(now.saturating_sub(since))),
        lag_seconds,
        catalog_xmin_age: slot.catalog_xmin_age,
        rate,
        free_on_disk,
    });
    (
        slot.name,
        slot.kind,
        slot.plugin,
        slot.database,
        slot.consumer,
        slot.active,
        inactive_since.and_then(|since| TimestampWithTimeZone::try_from(since).ok()),
        slot.failover,
        slot.synced,
        slot.wal_status,
        slot.invalidation_reason,
        retained,
        reached.map(behind),
        lag_seconds,
        slot.catalog_xmin_age,
        rate,
        judged.seconds_left,
        judged.verdict.name().to_owned(),
        judged.remedy.map(str::to_owned),
    )
}
