//! Writing the heartbeat: the time, the WAL position, the timeline and the writer, into rows whose number is fixed.

use std::cell::Cell;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::ring::{Time, rows_of_beat};
use crate::error::Error;
use crate::guc::{self, Heartbeat};
use crate::installed::{Installed, Table};
use crate::pg::{identity, process, replication, xact};
use crate::sql::{argument, read, value, write};
use crate::worker::task::{Context, Report};

thread_local! {
    /// When this process wrote its last beat, so that it writes the longer steps of the ring only when they begin.
    static LAST: Cell<Option<Time>> = const { Cell::new(None) };
}

/// The keeper's task.
pub fn beat_if_wanted(context: &Context) -> Result<Report, Error> {
    if is_wanted()? {
        beat(context.installed)?;
    }
    Ok(Report::default())
}

fn is_wanted() -> Result<bool, Error> {
    match guc::heartbeat() {
        Heartbeat::Off => Ok(false),
        Heartbeat::Always => Ok(true),
        // Nobody else would read it, and an idle server stays idle.
        Heartbeat::Replicated => {
            let found: Option<bool> = read(
                "SELECT EXISTS (SELECT FROM pg_stat_get_wal_senders()) OR EXISTS (SELECT FROM pg_get_replication_slots())",
                vec![],
                value,
            )?;
            Ok(found.unwrap_or(false))
        }
    }
}

#[pg_extern]
fn heartbeat() -> Result<TimestampWithTimeZone, ErrorReport> {
    let at = identity::as_owner(|| {
        xact::check_writable()?;
        beat(&Installed::require()?)
    })?;
    Ok(timestamp(at)?)
}

fn timestamp(at: Time) -> Result<TimestampWithTimeZone, Error> {
    TimestampWithTimeZone::try_from(at).map_err(|_| Error::NoPeriod(at))
}

/// Writes one beat and returns its time. The clock is read before the position: whatever was committed before that time lies
/// before that position.
fn beat(installed: &Installed) -> Result<Time, Error> {
    installed.require_table(Table::Heartbeat)?;
    let at = process::now();
    let position = replication::insert_position();
    let rows = rows_of_beat(at, LAST.replace(None));
    write(
        &format!(
            "INSERT INTO {} AS h (slot, written_at, wal_position, timeline, writer)
             SELECT row, $2, '0/0'::pg_lsn + $3::numeric, $4, $5
             FROM unnest($1) AS row
             ON CONFLICT (slot) DO UPDATE
             SET written_at = EXCLUDED.written_at, wal_position = EXCLUDED.wal_position,
                 timeline = EXCLUDED.timeline, writer = EXCLUDED.writer",
            installed.qualified(Table::Heartbeat)
        ),
        vec![
            argument(rows),
            argument(timestamp(at)?),
            argument(i64::try_from(position).unwrap_or(i64::MAX)),
            argument(i32::try_from(replication::timeline()).unwrap_or(i32::MAX)),
            argument(format!(
                "{}/{}",
                replication::system_identifier(),
                replication::node_name()
            )),
        ],
        |_| Ok(()),
    )?;
    LAST.set(Some(at));
    Ok(at)
}
