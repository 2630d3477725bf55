//! Bounding what is kept of rejected readings, by age and by size. Whole partitions of past days are dropped; in the one of
//! today, which may outgrow the bound alone, the oldest rows are deleted and their space is used again.

use std::time::{Duration, Instant};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::ring::{sample, to_empty};
use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Table};
use crate::partition::drop::{drop_impatiently, impatiently};
use crate::partition::parts::{Part, parts};
use crate::pg::{identity, process, xact};
use crate::sql::{argument, read, run_once, value};

/// How long one run goes on deleting. A slice of pages more may be on top.
const RUN: Duration = Duration::from_millis(100);

/// Pages emptied by one statement.
const PAGES: i64 = 128;

#[derive(Debug, Default)]
pub struct Trimmed {
    pub partitions: i64,
    /// An estimate for whole partitions that are large.
    pub rows: i64,
    /// The partition whose free space is of use only after a vacuum.
    pub to_vacuum: Option<u32>,
    /// There is more to remove.
    pub more: bool,
    /// What could not be removed just now, and why.
    pub waiting: Option<String>,
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn trim_rejected() -> Result<
    TableIterator<
        'static,
        (
            name!(partitions_dropped, i64),
            name!(rows_removed, i64),
            name!(waiting_reason, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let trimmed = identity::as_owner(|| {
        xact::check_writable()?;
        let installed = Installed::require()?;
        let mut total = Trimmed::default();
        loop {
            let trimmed = trim(&installed)?;
            total.partitions += trimmed.partitions;
            total.rows += trimmed.rows;
            if !trimmed.more {
                total.waiting = trimmed.waiting;
                return Ok(total);
            }
        }
    })?;
    Ok(TableIterator::once((
        trimmed.partitions,
        trimmed.rows,
        trimmed.waiting,
    )))
}

/// One step: drops one partition, or deletes for a moment. Cheap when nothing is to be removed.
pub fn trim(installed: &Installed) -> Result<Trimmed, Error> {
    let parts = parts(installed, Table::Rejected)?;
    let now = process::now();
    let bounds = Bounds::in_force(now);
    let mut trimmed = Trimmed::default();
    if let Some((part, cause)) = to_drop(&parts, now, bounds) {
        trimmed = drop_part(installed, part, cause)?;
        if trimmed.partitions > 0 {
            return Ok(trimmed);
        }
    }
    // What is past is gone by now, or locked, and then today's rows do not pay for it.
    let Some(current) = parts.iter().find(|part| part.from <= now && now < part.until) else {
        return Ok(trimmed);
    };
    let ahead: i64 = parts
        .iter()
        .filter(|part| part.from > now)
        .map(|part| part.bytes)
        .sum();
    let most = bounds.bytes.saturating_sub(ahead).max(0);
    if current.bytes > most {
        empty_oldest(
            installed,
            current,
            most as f64 / current.bytes as f64,
            &mut trimmed,
        )?;
    }
    Ok(trimmed)
}

/// What is kept: rows refused since a time, and so many bytes.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    since: i64,
    bytes: i64,
}

impl Bounds {
    fn in_force(now: i64) -> Bounds {
        const SECOND: i64 = 1_000_000;
        Bounds {
            since: guc::rejected_keep_seconds().map_or(i64::MIN, |keep| now.saturating_sub(keep * SECOND)),
            bytes: guc::rejected_max_bytes().unwrap_or(i64::MAX),
        }
    }
}

/// Why rows are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Age,
    Size,
}

impl Cause {
    fn name(self) -> &'static str {
        match self {
            Cause::Age => "age",
            Cause::Size => "size",
        }
    }
}

/// The oldest partition, if it has to go as a whole. `parts` are in order of time. Pure.
fn to_drop(parts: &[Part], now: i64, bounds: Bounds) -> Option<(&Part, Cause)> {
    let oldest = parts.first().filter(|part| part.until <= now)?;
    if oldest.until <= bounds.since {
        return Some((oldest, Cause::Age));
    }
    let total: i64 = parts.iter().map(|part| part.bytes).sum();
    (total > bounds.bytes).then_some((oldest, Cause::Size))
}

fn drop_part(installed: &Installed, part: &Part, cause: Cause) -> Result<Trimmed, Error> {
    let parent = installed.qualified(Table::Rejected);
    let name = &part.name;
    match drop_impatiently(&parent, name, || rows_of(part))? {
        Ok(rows) => {
            note_removed(installed, cause, rows, part.bytes, 1)?;
            Ok(Trimmed {
                partitions: 1,
                rows,
                more: true,
                ..Trimmed::default()
            })
        }
        Err(failure) => Ok(Trimmed {
            waiting: Some(format!(
                "{name} could not be dropped: {} ({})",
                failure.message, failure.sqlstate
            )),
            ..Trimmed::default()
        }),
    }
}

/// How many rows a partition has, as the server estimates it: nobody waits for a count under this lock.
fn rows_of(part: &Part) -> Result<i64, Error> {
    let rows: Option<i64> = read(
        "SELECT greatest(CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END,
                         pg_stat_get_live_tuples(c.oid), 0)
         FROM pg_class AS c WHERE c.oid = $1",
        vec![argument(pgrx::pg_sys::Oid::from(part.oid))],
        value,
    )?;
    Ok(rows.unwrap_or(0))
}

/// Deletes the oldest rows until those that stay take no more than this share of the file.
fn empty_oldest(
    installed: &Installed,
    part: &Part,
    allowed: f64,
    trimmed: &mut Trimmed,
) -> Result<(), Error> {
    let ages = ages(part)?;
    let ranges = to_empty(part.pages, &ages, allowed);
    let start = Instant::now();
    let text = format!(
        "DELETE FROM ONLY {} WHERE ctid >= $1::tid AND ctid < $2::tid",
        part.name
    );
    let steps = ranges.iter().flat_map(|(from, until)| {
        (*from..*until)
            .step_by(PAGES as usize)
            .map(|page| (page, (page + PAGES).min(*until)))
    });
    for (from, until) in steps {
        if start.elapsed() >= RUN {
            // Not where all that is left is held by somebody.
            trimmed.more = trimmed.rows > 0;
            break;
        }
        let deleted = impatiently(|| {
            xact::subtransaction(|| {
                let bounds = vec![argument(format!("({from},0)")), argument(format!("({until},0)"))];
                run_once(&text, bounds, |_| Ok(crate::pg::handover::processed()))
            })
        })?;
        match deleted {
            Ok(rows) => trimmed.rows += rows,
            // Somebody holds a row of them, to put it back most likely. The next pages will do as well.
            Err(failure) => {
                trimmed.waiting = Some(format!(
                    "some rows of {} could not be deleted: {} ({})",
                    part.name, failure.message, failure.sqlstate
                ));
            }
        }
    }
    if trimmed.rows > 0 {
        trimmed.to_vacuum = Some(part.oid);
        let bytes = trimmed.rows * part.bytes / rows_of(part)?.max(trimmed.rows);
        note_removed(installed, Cause::Size, trimmed.rows, bytes, 0)?;
    }
    Ok(())
}

/// When the first row of each sampled page was refused; none where there is none.
fn ages(part: &Part) -> Result<Vec<Option<i64>>, Error> {
    let pages = sample(part.pages);
    let places: Vec<String> = pages.iter().map(|page| format!("({page},1)")).collect();
    let mut ages = vec![None; pages.len()];
    let text = format!(
        "SELECT split_part(trim('(' FROM ctid::text), ',', 1)::bigint, rejected_at FROM ONLY {}
         WHERE ctid = ANY ($1::tid[])",
        part.name
    );
    run_once(&text, vec![argument(places)], |rows| {
        for row in rows {
            let found = (row.get::<i64>(1)?, row.get::<TimestampWithTimeZone>(2)?);
            if let (Some(page), Some(time)) = found
                && let Ok(place) = pages.binary_search(&page)
            {
                ages[place] = Some(pgrx::pg_sys::TimestampTz::from(time));
            }
        }
        Ok(())
    })?;
    Ok(ages)
}

/// Adds to what is known of removed rows. Without that table, before ALTER EXTENSION UPDATE, nobody counts.
fn note_removed(
    installed: &Installed,
    cause: Cause,
    rows: i64,
    bytes: i64,
    partitions: i64,
) -> Result<(), Error> {
    if installed.table_oid(Table::RejectedRemoved)?.is_none() {
        return Ok(());
    }
    let text = format!(
        "INSERT INTO {} AS r (day, cause, rows, bytes, partitions)
         VALUES ((now() AT TIME ZONE 'UTC')::date, $1, $2, $3, $4)
         ON CONFLICT (day, cause) DO UPDATE SET rows = r.rows + excluded.rows, bytes = r.bytes + excluded.bytes,
             partitions = r.partitions + excluded.partitions, last_at = now()",
        installed.qualified(Table::RejectedRemoved)
    );
    let arguments = vec![
        argument(cause.name()),
        argument(rows),
        argument(bytes),
        argument(partitions),
    ];
    run_once(&text, arguments, |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600 * 1_000_000;

    fn part(day: i64, bytes: i64) -> Part {
        Part {
            oid: 0,
            name: day.to_string(),
            from: day * DAY,
            until: (day + 1) * DAY,
            bytes,
            pages: bytes / 8192,
        }
    }

    fn dropped(parts: &[Part], since: i64, bytes: i64) -> Option<(i64, Cause)> {
        let now = 10 * DAY + 5;
        to_drop(parts, now, Bounds { since, bytes }).map(|(part, cause)| (part.from / DAY, cause))
    }

    #[test]
    fn the_oldest_goes_when_all_of_it_is_too_old() {
        let parts = [part(3, 100), part(4, 100), part(10, 100), part(11, 100)];
        assert_eq!(dropped(&parts, 4 * DAY, i64::MAX), Some((3, Cause::Age)));
        assert_eq!(dropped(&parts, 4 * DAY - 1, i64::MAX), None);
        assert_eq!(dropped(&parts, i64::MIN, i64::MAX), None);
    }

    #[test]
    fn the_oldest_goes_when_all_together_are_too_large() {
        let parts = [part(9, 100), part(10, 100), part(11, 1)];
        assert_eq!(dropped(&parts, i64::MIN, 201), None);
        assert_eq!(dropped(&parts, i64::MIN, 200), Some((9, Cause::Size)));
    }

    #[test]
    fn today_and_what_is_ahead_never_go_as_a_whole() {
        let parts = [part(10, 100), part(11, 100)];
        assert_eq!(dropped(&parts, 20 * DAY, 0), None);
        assert_eq!(dropped(&[], 20 * DAY, 0), None);
    }
}
