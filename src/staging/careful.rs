//! The flush after one that failed: in small steps, each in a subtransaction, so that what is at fault can be told from what
//! is not. Rows that facts refuse go to rejected; a partition that cannot be written is left alone, with its rows, and all
//! others go on.

use std::time::{Duration, Instant};

use pgrx::pg_sys;

use super::batch::{Batch, Row};
use super::bisect::bisect;
use super::blame::{Blame, blame};
use super::course::Course;
use super::flush::{self, Flushed, Move};
use super::rejected::{Refused, Why};
use super::store;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::memory::Scratch;
use crate::pg::xact::{self, Failure};
use crate::pg::{fault, process, relation};

/// Rows of the first step, and of each that has to be searched for those at fault: if all are, that takes some tenths of
/// a second, and a row that a slow trigger refuses costs no more than so many calls of it.
const FIRST_STEP: i64 = 1_000;

/// Each step without a fault is followed by one of so many times the rows.
const GROWTH: i64 = 4;

/// Steps of one flush: a session keeps no more than 64 subtransactions at hand for others to see.
const STEPS: usize = 32;

/// After so long there is no further step.
const LONG_ENOUGH: Duration = Duration::from_secs(2);

/// Tables that one flush finds closed, each after `lock_timeout` perhaps; the rest is for the next one.
const OBSTACLES: usize = 8;

pub fn flush_door(
    installed: &Installed,
    door: Table,
    max_rows: i64,
    course: &mut Course,
) -> Result<Flushed, Error> {
    let mut total = Flushed::default();
    let start = Instant::now();
    let mut step = FIRST_STEP;
    let scratch = Scratch::new();
    let mut met = 0;
    for _ in 0..STEPS {
        let rows = step.min(max_rows - total.taken());
        let outcome =
            scratch.within(|| xact::subtransaction(|| flush::flush_door(installed, door, rows, course)));
        scratch.reset();
        match outcome {
            Ok(flushed) => {
                step = if flushed.refused_by_facts {
                    course.refused();
                    FIRST_STEP
                } else {
                    step.saturating_mul(GROWTH)
                };
                let more = flushed.more;
                total.add(flushed);
                if !more || total.taken() >= max_rows || start.elapsed() >= LONG_ENOUGH {
                    return Ok(total);
                }
            }
            Err(_) if course.kept.has_news() => {}
            Err(failure) => match blame(&failure.sqlstate) {
                Blame::Caller => return Err(failure.into()),
                Blame::Row | Blame::Code if rows > FIRST_STEP => step = FIRST_STEP,
                // Memory, room for temporary files: fewer rows may get by with what there is.
                Blame::Circumstances if rows > FIRST_STEP && failure.sqlstate.starts_with("53") => {
                    step = FIRST_STEP;
                }
                _ => {
                    let table = match course.was_writing() {
                        Some(partition) => partition,
                        None => installed.require_table(door)?.to_u32(),
                    };
                    meet(course, table, &failure);
                    met += 1;
                    total.more = false;
                    if course.was_writing().is_none() || met >= OBSTACLES {
                        return Ok(total);
                    }
                }
            },
        }
    }
    Ok(total)
}

/// Leaves a table alone for a while.
pub fn meet(course: &mut Course, table: u32, failure: &Failure) {
    let name = relation::name_of(pg_sys::Oid::from(table));
    let jitter = f64::from(process::now().rem_euclid(997) as i32) / 997.0;
    course.meet(table, name, failure, jitter);
}

/// Writes the rows of each partition, and puts those that it refuses into `refused`, with what it raised. Returns how many
/// were written.
pub fn write_facts(
    work: &Move,
    facts: pg_sys::Oid,
    batch: &mut Batch,
    rows: &[Row],
    refused: &mut Vec<Refused>,
) -> Result<i64, Error> {
    // What an attempt that failed had in memory goes with it, not with the end of the transaction.
    let scratch = Scratch::new();
    let mut written = 0;
    for of_leaf in rows.chunk_by(|left, right| left.leaf == right.leaf) {
        let mut faulty: Vec<(Row, Failure)> = Vec::new();
        let mut write = |part: &[Row]| {
            let outcome =
                scratch.within(|| xact::subtransaction(|| store::write_facts(work, facts, batch, part)));
            scratch.reset();
            outcome
        };
        // Too many at once are not searched: the caller comes back with fewer.
        let few = rows.len() as i64 <= FIRST_STEP;
        let about_rows =
            |failure: &Failure| few && matches!(blame(&failure.sqlstate), Blame::Row | Blame::Code);
        written += bisect(of_leaf, &mut write, &about_rows, &mut faulty)?;
        if let Some(failure) = broken(of_leaf.len(), &faulty) {
            work.course.writes(work.partition_of(of_leaf));
            return Err(failure.clone().into());
        }
        let refused_here = faulty.into_iter();
        refused.extend(refused_here.map(|(row, failure)| (row, Why::Raised(Box::new(failure)))));
    }
    fault::point("bisected");
    Ok(written)
}

/// Code that refuses each and every row of a partition, for no reason that lies in the values, is broken: somebody has to
/// mend it, and the rows wait for that.
fn broken(rows: usize, faulty: &[(Row, Failure)]) -> Option<&Failure> {
    let all = faulty.len() == rows
        && faulty
            .iter()
            .all(|(_, failure)| blame(&failure.sqlstate) == Blame::Code);
    faulty.first().filter(|_| all).map(|(_, failure)| failure)
}
