//! Making partitions. A new one is made on its own and attached, which lets readers and writers of the parent go on
//! (SHARE UPDATE EXCLUSIVE); CREATE … PARTITION OF would lock them all out.

use pgrx::spi::quote_literal;

use super::bounds::{Micros, Period, Step, missing_ahead, missing_at};
use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Table};
use crate::pg::partitions::{EPOCH_2000, periods};
use crate::pg::process;
use crate::sql::{argument, read, run, value};

/// A table that is partitioned by time, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    Facts,
    Rejected,
}

impl Parent {
    pub fn table(self) -> Table {
        match self {
            Parent::Facts => Table::Facts,
            Parent::Rejected => Table::Rejected,
        }
    }

    fn step(self) -> Step {
        match self {
            Parent::Facts => guc::partition_step(),
            // By the day whatever the facts use: rejects are few and leave soon.
            Parent::Rejected => Step::Day,
        }
    }
}

/// Now, in microseconds since 1970.
pub fn now() -> Micros {
    process::now() + EPOCH_2000
}

/// Makes what is missing from now on ahead, and returns how many that were. Cheap when nothing is.
pub fn ensure_ahead(installed: &Installed, parent: Parent) -> Result<usize, Error> {
    let missing = |existing: &[Period]| missing_ahead(existing, parent.step(), now(), guc::premake());
    ensure(installed, parent, missing)
}

/// Makes the partitions for these times, where there are none, and not more than so many.
pub fn ensure_at(
    installed: &Installed,
    parent: Parent,
    times: &[Micros],
    most: usize,
) -> Result<usize, Error> {
    ensure(installed, parent, |existing| {
        let mut known = existing.to_vec();
        let mut made = Vec::new();
        for time in times {
            if made.len() >= most {
                break;
            }
            if let Some(period) = missing_at(&known, parent.step(), *time) {
                made.push(period);
                known.push(period);
                known.sort();
            }
        }
        made
    })
}

fn ensure(
    installed: &Installed,
    parent: Parent,
    missing: impl Fn(&[Period]) -> Vec<Period>,
) -> Result<usize, Error> {
    let relation = installed.require_table(parent.table())?;
    if missing(&periods(relation)).is_empty() {
        return Ok(0);
    }
    // One at a time makes partitions; whoever waited here looks again.
    lock_parent(installed, parent)?;
    let wanted = missing(&periods(relation));
    for period in &wanted {
        create(installed, parent, period)?;
    }
    Ok(wanted.len())
}

fn lock_parent(installed: &Installed, parent: Parent) -> Result<(), Error> {
    run(&format!(
        "LOCK TABLE ONLY {} IN SHARE UPDATE EXCLUSIVE MODE",
        installed.qualified(parent.table())
    ))
}

fn create(installed: &Installed, parent: Parent, period: &Period) -> Result<(), Error> {
    let (Some(suffix), Some((start, end))) = (period.suffix(), period.literals()) else {
        return Err(Error::NoPeriod(period.start));
    };
    let parent_name = installed.qualified(parent.table());
    let child = installed.qualify(&free_name(
        installed,
        &format!("{}_{suffix}", parent.table().name()),
    )?);
    run(&format!(
        "CREATE TABLE {child} (LIKE {parent_name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED
             INCLUDING STORAGE INCLUDING COMPRESSION)"
    ))?;
    run(&format!(
        "ALTER TABLE {parent_name} ATTACH PARTITION {child} FOR VALUES FROM ({}) TO ({})",
        quote_literal(start),
        quote_literal(end)
    ))
}

/// The name, with a number behind it where it is taken: by a partition that was detached and kept, say. A name in the way
/// must not stop the flush.
fn free_name(installed: &Installed, name: &str) -> Result<String, Error> {
    let free: Option<String> = read(
        "SELECT candidate
         FROM generate_series(1, 1000) AS n,
              LATERAL (SELECT $2 || CASE n WHEN 1 THEN '' ELSE '_' || n END AS candidate) AS c
         WHERE NOT EXISTS (SELECT FROM pg_class r JOIN pg_namespace s ON s.oid = r.relnamespace
                           WHERE s.nspname = $1 AND r.relname = candidate)
         ORDER BY n LIMIT 1",
        vec![argument(installed.schema.clone()), argument(name.to_owned())],
        value,
    )?;
    Ok(free.unwrap_or_else(|| name.to_owned()))
}
