//! Pruning by the time of events. Partitions go by `ingested_at`; who asks for a time means `observed_at` (`ingested_at` where
//! that is NULL). A sealed partition knows the least and the greatest of its readings; all others may hold any.
//!
//! ```ignore
//! ingested_periods(&installed, since, until)? // -> Vec<Period>, in order, as few as possible; microseconds since 1970
//! ```
//! says where readings of `since` up to, and without, `until` can be: a query that adds `ingested_at >= start AND
//! ingested_at < end` for each of these periods (an end that is `Micros::MIN` or `Micros::MAX` is open), joined by OR, misses
//! nothing. No period: there is no such reading. It costs a look at the list of partitions, which the server keeps; what is sealed
//! is kept in this process, and read anew after a partition was sealed or reopened.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

use super::bounds::{Micros, Period};
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::partitions::{EPOCH_2000, to_read};
use crate::pg::{invalidation, xact};
use crate::sql::read;

/// What is known of a partition that takes no readings any more, or is about to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    /// Sealed, with the least and the greatest time; None: it is empty.
    Holds(Option<(Micros, Micros)>),
    /// Nobody has looked yet, or could not.
    Unknown,
}

impl Closed {
    fn may_hold(self, since: Micros, until: Micros) -> bool {
        match self {
            Closed::Holds(None) => false,
            Closed::Holds(Some((least, greatest))) => least < until && greatest >= since,
            Closed::Unknown => true,
        }
    }
}

/// What lies between two partitions holds nothing, so only one that is left out ends a period. Pure.
fn merged(partitions: impl Iterator<Item = (Period, bool)>) -> Vec<Period> {
    let mut merged: Vec<Period> = Vec::new();
    let mut goes_on = false;
    for (period, wanted) in partitions {
        match merged.last_mut() {
            Some(last) if wanted && goes_on => last.end = period.end,
            _ if wanted => merged.push(period),
            _ => {}
        }
        goes_on = wanted;
    }
    merged
}

thread_local! {
    static CLOSED: RefCell<HashMap<u32, Closed>> = RefCell::default();
}

/// Which bounds of `ingested_at` can hold readings with a time from `since` up to, and without, `until`.
pub fn ingested_periods(installed: &Installed, since: Micros, until: Micros) -> Result<Vec<Period>, Error> {
    let partitions = to_read(installed.require_table(Table::Facts)?);
    refresh(installed)?;
    Ok(CLOSED.with_borrow(|closed| {
        merged(partitions.iter().map(|partition| {
            let wanted = closed
                .get(&partition.oid.to_u32())
                .is_none_or(|closed| closed.may_hold(since, until));
            (partition.period(), wanted)
        }))
    }))
}

/// Whether a partition is sealed or being sealed: who writes into it all the same has to say so, by `seal::reopen_if_closed`. To be asked with
/// the lock of a writer on it.
pub fn is_closed(installed: &Installed, partition: pg_sys::Oid) -> Result<bool, Error> {
    refresh(installed)?;
    Ok(CLOSED.with_borrow(|closed| closed.contains_key(&partition.to_u32())))
}

fn refresh(installed: &Installed) -> Result<(), Error> {
    let Some(table) = installed.table_oid(Table::PartitionState)? else {
        CLOSED.with_borrow_mut(HashMap::clear);
        return Ok(());
    };
    if !invalidation::touched(table) {
        return Ok(());
    }
    // An error on the way leaves nothing that could be relied on.
    CLOSED.with_borrow_mut(HashMap::clear);
    let unseen = Unseen;
    invalidation::looking();
    let state = installed.qualified(Table::PartitionState);
    let text = format!(
        "SELECT relation_oid, seal = 'sealed' AND rows IS NOT NULL, observed_from, observed_until
         FROM {state} WHERE seal IN ('sealing', 'sealed')"
    );
    let found = xact::with_latest_snapshot(|| {
        read(&text, vec![], |rows| {
            let mut found = HashMap::with_capacity(rows.len());
            for row in rows {
                let Some(oid) = row.get::<pg_sys::Oid>(1)? else {
                    continue;
                };
                let times = match (row.get(3)?, row.get(4)?) {
                    (Some(least), Some(greatest)) => Some((micros(least), micros(greatest))),
                    _ => None,
                };
                let closed = match row.get::<bool>(2)? {
                    Some(true) => Closed::Holds(times),
                    _ => Closed::Unknown,
                };
                found.insert(oid.to_u32(), closed);
            }
            Ok(found)
        })
    })?;
    CLOSED.set(found);
    std::mem::forget(unseen);
    Ok(())
}

/// Dropped by an error, also by one of the server.
struct Unseen;

impl Drop for Unseen {
    fn drop(&mut self) {
        invalidation::not_seen();
    }
}

fn micros(time: TimestampWithTimeZone) -> Micros {
    pg_sys::TimestampTz::from(time).saturating_add(EPOCH_2000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(start: Micros, end: Micros) -> Period {
        Period { start, end }
    }

    #[test]
    fn only_what_is_left_out_ends_a_period() {
        let partitions = [
            (period(0, 10), false),
            (period(10, 20), true),
            // A gap, in which nothing is.
            (period(30, 40), true),
            (period(40, 50), false),
            (period(50, 60), true),
            (period(60, Micros::MAX), true),
        ];
        assert_eq!(
            merged(partitions.into_iter()),
            [period(10, 40), period(50, Micros::MAX)]
        );
        assert_eq!(merged(std::iter::empty()), []);
        assert_eq!(merged([(period(0, 10), false)].into_iter()), []);
    }

    #[test]
    fn a_sealed_partition_may_hold_what_its_least_and_greatest_time_say() {
        let sealed = Closed::Holds(Some((100, 200)));
        for (since, until, may) in [
            (0, 100, false),
            (0, 101, true),
            (150, 160, true),
            (200, 201, true),
            (201, 300, false),
            (Micros::MIN, Micros::MAX, true),
        ] {
            assert_eq!(sealed.may_hold(since, until), may, "{since} to {until}");
            assert!(Closed::Unknown.may_hold(since, until));
            assert!(!Closed::Holds(None).may_hold(since, until));
        }
    }
}
