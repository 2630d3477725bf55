//! Making partitions. A new one is made on its own and attached, which lets readers and writers of the parent go on
//! (SHARE UPDATE EXCLUSIVE); CREATE … PARTITION OF would lock them all out.

use pgrx::spi::quote_literal;

use super::bounds::{Micros, Missing, Period, missing, missing_at};
use super::budget::Budget;
use super::likeness::{likeness, withhold_rights};
use super::state::{note_made, now};
use super::step::Step;
use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Table};
use crate::pg::partitions::periods;
use crate::pg::{fault, lock, settings};
use crate::sql::{argument, read, run, value};

/// A table that is partitioned by time, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    Facts,
    Rejected,
    /// Samples of one kind.
    Samples(Table),
}

impl Parent {
    pub fn table(self) -> Table {
        match self {
            Parent::Facts => Table::Facts,
            Parent::Rejected => Table::Rejected,
            Parent::Samples(table) => table,
        }
    }

    fn step(self) -> Step {
        match self {
            Parent::Facts => guc::partition_step(),
            // By the day whatever the facts use: rejects are few and leave soon, and so do samples.
            Parent::Rejected | Parent::Samples(_) => Step::DAY,
        }
    }
}

/// What should be there now and is not.
pub fn missing_now(installed: &Installed, parent: Parent) -> Result<Missing, Error> {
    let relation = installed.require_table(parent.table())?;
    Ok(missing_among(parent, &periods(relation)))
}

fn missing_among(parent: Parent, existing: &[Period]) -> Missing {
    let now = now();
    let since = now.saturating_sub(guc::accept_past_seconds().saturating_mul(1_000_000));
    missing(existing, parent.step(), now, guc::premake(), since)
}

/// Makes what is missing, the partitions ahead first, and returns how many that were. Cheap when nothing is.
pub fn ensure_ahead(installed: &Installed, parent: Parent) -> Result<usize, Error> {
    ensure(installed, parent, |existing| {
        let Missing { gaps, mut ahead } = missing_among(parent, existing);
        ahead.extend(gaps);
        ahead
    })
}

/// The same for a flush, which is in no need of more than the partition of now: as long as that is there, it does not wait for
/// whoever is making the others.
pub fn ensure_ahead_in_passing(installed: &Installed, parent: Parent) -> Result<usize, Error> {
    let missing = missing_now(installed, parent)?;
    let now = now();
    let needed = missing.ahead.iter().any(|period| period.contains(now));
    let nothing = missing.ahead.is_empty() && missing.gaps.is_empty();
    if nothing || !needed && !lock::try_alone(installed.require_table(parent.table())?) {
        return Ok(0);
    }
    ensure_ahead(installed, parent)
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
    let mut wanted = missing(&periods(relation));
    // The rest is for the next transaction.
    wanted.truncate(Budget::of_this_server()?.partitions_at_once());
    for period in &wanted {
        // The indexes that come by ATTACH go where the parent's are, not where the caller's would.
        settings::undone_after(|| {
            run("SET LOCAL default_tablespace = ''")?;
            create(installed, parent, period)
        })?;
    }
    Ok(wanted.len())
}

fn lock_parent(installed: &Installed, parent: Parent) -> Result<(), Error> {
    run(&format!(
        "LOCK TABLE ONLY {} IN SHARE UPDATE EXCLUSIVE MODE",
        installed.qualified(parent.table())
    ))
}

/// Makes this partition, unless there is one by now.
pub fn create_if_missing(installed: &Installed, parent: Parent, period: &Period) -> Result<bool, Error> {
    let wanted = |existing: &[Period]| {
        let free = missing_at(existing, parent.step(), period.start);
        free.into_iter()
            .filter(|free| free.start == period.start)
            .collect()
    };
    Ok(ensure(installed, parent, wanted)? > 0)
}

fn create(installed: &Installed, parent: Parent, period: &Period) -> Result<(), Error> {
    let Some((start, end)) = period.literals() else {
        return Err(Error::NoPeriod(period.start));
    };
    let parent_name = installed.qualified(parent.table());
    let child = free_child(installed, parent, period)?;
    // No CHECK for ATTACH to go by: the table is empty, and one that stayed would take the flush off its direct way.
    let relation = installed.require_table(parent.table())?;
    let likeness = likeness(parent, relation)?;
    run(&format!(
        "CREATE TABLE {child} (LIKE {parent_name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED
             INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING STATISTICS) {}",
        likeness.options
    ))?;
    if let Some(changes) = likeness.changes {
        run(&format!("ALTER TABLE {child} {changes}"))?;
    }
    fault::point("partition_made");
    withhold_rights(relation, &child)?;
    run(&format!(
        "ALTER TABLE {parent_name} ATTACH PARTITION {child} FOR VALUES FROM ({}) TO ({})",
        quote_literal(start),
        quote_literal(end)
    ))?;
    fault::point("partition_attached");
    if parent == Parent::Facts {
        note_made(installed, &child, period, period.contains(now()))?;
    }
    Ok(())
}

/// How a partition for this period would be called, qualified and quoted.
pub fn free_child(installed: &Installed, parent: Parent, period: &Period) -> Result<String, Error> {
    let suffix = period.suffix().ok_or(Error::NoPeriod(period.start))?;
    let name = format!("{}_{suffix}", parent.table().name());
    Ok(installed.qualify(&free_name(&[&installed.schema], &name)?))
}

/// The name, with a number behind it where it is taken in one of these schemas: by a partition that was detached and kept, say. A
/// name in the way must not stop the flush.
pub fn free_name(schemas: &[&str], name: &str) -> Result<String, Error> {
    let free: Option<String> = read(
        "SELECT candidate
         FROM generate_series(1, 1000) AS n,
              LATERAL (SELECT CASE n WHEN 1 THEN '' ELSE '_' || n END AS number) AS i,
              LATERAL (SELECT left($2, 63 - length(number)) || number AS candidate) AS c
         WHERE NOT EXISTS (SELECT FROM pg_class r JOIN pg_namespace s ON s.oid = r.relnamespace
                           WHERE s.nspname = ANY ($1) AND r.relname = candidate)
         ORDER BY n LIMIT 1",
        vec![
            argument(
                schemas
                    .iter()
                    .map(|schema| (*schema).to_owned())
                    .collect::<Vec<_>>(),
            ),
            argument(name.to_owned()),
        ],
        value,
    )?;
    Ok(free.unwrap_or_else(|| name.to_owned()))
}
