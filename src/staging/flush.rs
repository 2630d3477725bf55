//! One flush: from each staging table, rows that belong into facts go there, rows that can never be stored go to rejected, and
//! rows that have no partition yet get one, or wait. All in the caller's transaction, so that a row is moved exactly once
//! or not at all. No watermark: what is taken is what is visible, whoever committed it when.

use std::cell::OnceCell;

use crate::accounting::tally;
use crate::error::Error;
use crate::guc;
use crate::hot::pending;
use crate::installed::{DOORS, Installed, Table};
use crate::partition::create::{Parent, ensure_ahead_in_passing, ensure_at};
use crate::pg::claim::Staging;
use crate::pg::page_plan::Work;
use crate::pg::partitions::{self, EPOCH_2000, Partition};
use crate::pg::{fault, process, settings, xact};
use crate::sql::{read, value};

use super::batch::{Batch, NO_LEAF, Row};
use super::blame::{Blame, blame};
use super::careful;
use super::course::Course;
use super::fallback;
use super::judge::{Accepted, Around, Window};
use super::route::{Router, Waiting};
use super::standstill;
use super::store;

/// Partitions that one flush makes for rows that have none; further ones wait for the next. Each costs locks to the end of
/// the transaction, and of those there is an end.
const PARTITIONS_PER_FLUSH: usize = 100;

/// Hours without a partition that one flush looks at, the earliest first: more than a year of them.
pub const MISSING_HOURS: usize = 10_000;

#[derive(Debug, Default, Clone)]
pub struct Flushed {
    pub stored: i64,
    pub rejected: i64,
    pub waiting: i64,
    /// Of these, what others have locked.
    pub locked: i64,
    pub waiting_reason: Option<String>,
    pub partitions_created: usize,
    /// Stopped because it had enough: there may be more to take.
    pub more: bool,
    /// There is something to do even if nobody stages anything.
    pub unfinished: bool,
    /// Some of the rejected rows had nothing wrong that we know of.
    pub refused_by_facts: bool,
    /// What is wrong with the projection, and keeps nobody waiting but those who read it.
    pub complaint: Option<String>,
}

impl Flushed {
    /// Rows that left staging.
    pub fn taken(&self) -> i64 {
        self.stored + self.rejected
    }

    /// Counts add up; what waits is what waited last.
    pub fn add(&mut self, later: Flushed) {
        self.stored += later.stored;
        self.rejected += later.rejected;
        self.partitions_created += later.partitions_created;
        self.waiting = later.waiting;
        self.locked = later.locked;
        self.waiting_reason = later.waiting_reason;
        self.more = later.more;
        self.unfinished |= later.unfinished;
        self.refused_by_facts |= later.refused_by_facts;
        self.complaint = later.complaint.or(self.complaint.take());
    }
}

/// Takes at most `max_rows` rows out of staging. Whether it goes fast or with care, and which tables it leaves alone, is up to
/// `course`; if it fails while it goes fast, it is to be undone and called again.
pub fn flush(installed: &Installed, max_rows: i64, course: &mut Course) -> Result<Flushed, Error> {
    course.begin(process::now());
    let mut total = Flushed::default();
    let started_at = process::now();
    let mut nothing_waits = true;
    total.unfinished |= take_in(installed, max_rows, course)?;
    for door in DOORS {
        let left = max_rows - total.taken();
        if left <= 0 {
            total.unfinished = true;
            nothing_waits = false;
            continue;
        }
        let before = (total.waiting, total.waiting_reason.take(), total.more);
        let locked_before = total.locked;
        let mut flushed = if course.is_left_alone(installed.require_table(door)?.to_u32()) {
            Flushed {
                unfinished: true,
                ..Flushed::default()
            }
        } else if course.is_careful() {
            careful::flush_door(installed, door, left, course)?
        } else {
            flush_door(installed, door, left, course)?
        };
        nothing_waits &= !flushed.more && flushed.waiting == 0;
        flushed.waiting += before.0;
        flushed.locked += locked_before;
        flushed.waiting_reason = flushed.waiting_reason.or(before.1);
        flushed.more |= before.2;
        total.add(flushed);
    }
    if let Some((table, failure)) = course.passed_by() {
        careful::meet(course, table, &failure);
    }
    course.end();
    total.complaint = course.complaint();
    match course.obstacle() {
        Some(obstacle) => total.waiting_reason = Some(obstacle.reason()),
        None if nothing_waits => standstill::nothing_waits(started_at),
        None => {}
    }
    fault::point("before_commit");
    Ok(total)
}

/// Values that could not be written into the projection before. With care, an error leaves them where they are.
fn take_in(installed: &Installed, max_rows: i64, course: &Course) -> Result<bool, Error> {
    let run = || pending::take_in(installed, course, max_rows);
    if !course.is_careful() {
        return run();
    }
    match xact::subtransaction(run) {
        Ok(left) => Ok(left),
        Err(failure) if blame(&failure.sqlstate) == Blame::Caller => Err(failure.into()),
        Err(failure) => {
            course.passes_by(installed.require_table(Table::Pending)?.to_u32(), failure);
            Ok(true)
        }
    }
}

/// The cheap answer that an idle flusher needs, and how many rows others have locked: reads, takes no transaction id, writes nothing.
fn look(installed: &Installed, door: Table) -> Result<(Work, i64), Error> {
    match Staging::open(installed.require_table(door)?) {
        Some(direct) => xact::with_snapshot(|| Ok(direct.work())),
        None if is_empty(installed, door)? => Ok((Work::None, 0)),
        None => Ok((Work::Now, 0)),
    }
}

/// Whether a table is empty for everybody; rows that another flush holds, and may give back, count as there.
pub fn is_empty(installed: &Installed, door: Table) -> Result<bool, Error> {
    let text = format!("SELECT EXISTS (SELECT FROM {})", installed.qualified(door));
    let found: Option<bool> = read(&text, vec![], value)?;
    Ok(found != Some(true))
}

/// The same for one of the staging tables.
pub fn flush_door(
    installed: &Installed,
    door: Table,
    max_rows: i64,
    course: &Course,
) -> Result<Flushed, Error> {
    let (work, locked) = look(installed, door)?;
    if work != Work::Now {
        return Ok(Flushed {
            unfinished: work != Work::None,
            waiting: locked,
            locked,
            waiting_reason: (locked > 0).then(|| LOCKED.to_owned()),
            ..Flushed::default()
        });
    }
    let rejected = installed.require_table(Table::Rejected)?.to_u32();
    course.writes(None);
    if !course.is_left_alone(rejected) {
        course.kept.forget();
        course.writes(Some(rejected));
        ensure_ahead_in_passing(installed, Parent::Rejected)?;
        course.writes(None);
    }
    if door == Table::Ingest {
        // The rows go for good from a table that a crash empties; their facts must not be lost in the same crash.
        settings::commit_to_local_disk();
    }
    let (mut flushed, waiting) = move_rows(installed, door, max_rows, course)?;
    flushed.unfinished = true;
    flushed.waiting = waiting.all();
    flushed.locked = waiting.locked;
    if waiting.rows == 0 {
        flushed.waiting_reason = (waiting.locked > 0).then(|| LOCKED.to_owned());
        return Ok(flushed);
    }
    let times: Vec<i64> = waiting
        .times(MISSING_HOURS)
        .into_iter()
        .map(|time| time + EPOCH_2000)
        .collect();
    fault::point("before_partition");
    match xact::subtransaction(|| ensure_at(installed, Parent::Facts, &times, PARTITIONS_PER_FLUSH)) {
        Ok(created) => {
            let left = max_rows - flushed.taken();
            if left > 0 {
                let (more, waiting) = move_rows(installed, door, left, course)?;
                flushed.add(more);
                flushed.waiting = waiting.all();
                flushed.locked = waiting.locked;
            }
            flushed.partitions_created = created;
            if flushed.waiting > 0 {
                flushed.waiting_reason = Some(still_waiting(created, left));
            }
        }
        Err(failure) => {
            flushed.waiting_reason = Some(format!(
                "no partition could be made: {} ({})",
                failure.message, failure.sqlstate
            ));
        }
    }
    Ok(flushed)
}

/// Why rows wait that are there to be taken.
const LOCKED: &str = "other transactions have locked them";

/// Why rows wait although partitions could be made.
fn still_waiting(created: usize, left: i64) -> String {
    if created >= PARTITIONS_PER_FLUSH {
        format!("more than {PARTITIONS_PER_FLUSH} partitions are missing; each flush makes that many")
    } else if left <= 0 {
        "their partitions are made; max_rows was reached before".to_owned()
    } else {
        "they came in while partitions were made; the next flush takes them".to_owned()
    }
}

/// What one move of rows works on.
pub struct Move<'a> {
    pub installed: &'a Installed,
    pub door: Table,
    pub partitions: Vec<Partition>,
    /// The transaction had written something before: perhaps attributes.
    pub wrote_before: bool,
    pub course: &'a Course,
    /// What makes deferred constraints of facts immediate, once it was looked up.
    pub not_deferred: OnceCell<Option<String>>,
}

impl Move<'_> {
    /// The partition of rows that share one.
    pub fn partition_of(&self, rows: &[Row]) -> Option<u32> {
        let row = rows.first().filter(|row| row.leaf != NO_LEAF)?;
        let partition = self.partitions.get(row.leaf as usize)?;
        Some(partition.oid.to_u32())
    }
}

/// Moves rows that have a place to go to; says which ones wait for a partition.
fn move_rows(
    installed: &Installed,
    door: Table,
    max_rows: i64,
    course: &Course,
) -> Result<(Flushed, Waiting), Error> {
    let staging = installed.require_table(door)?;
    let facts = installed.require_table(Table::Facts)?;
    let work = Move {
        installed,
        door,
        partitions: partitions::to_write(facts),
        wrote_before: xact::has_id(),
        course,
        not_deferred: OnceCell::new(),
    };
    let periods = work
        .partitions
        .iter()
        .map(|partition| (partition.from, partition.until))
        .collect();
    let closed = (0..work.partitions.len())
        .filter(|place| course.is_left_alone(work.partitions[*place].oid.to_u32()))
        .collect();
    let most_rows = usize::try_from(max_rows).unwrap_or(usize::MAX);
    let router = Router::new(periods, closed, accepted(installed)?);
    let mut batch = Batch::new(router, most_rows, guc::flush_memory());
    batch.kept = course.kept.of(staging.to_u32());

    let direct = Staging::open(staging);
    fault::point("opened");
    // What was done before in this transaction counts too: rows staged, rows taken.
    xact::next_command();
    let flushed = xact::with_snapshot(|| {
        match direct {
            Some(direct) => direct.claim(&mut batch),
            None => {
                tally::claimed_by_sql();
                fallback::claim(&work, &mut batch)?;
            }
        }
        fault::point("claimed");
        store::store(&work, facts, &mut batch)
    })?;
    xact::next_command();
    Ok((flushed, std::mem::take(&mut batch.waiting)))
}

const SECOND: i64 = 1_000_000;

/// How far observed_at may be from ingested_at.
pub fn around() -> Around {
    let micros = |seconds: Option<i64>| seconds.map_or(i64::MAX, |seconds| seconds.saturating_mul(SECOND));
    Around {
        past: micros(guc::accept_observed_past_seconds()),
        future: micros(guc::accept_observed_future_seconds()),
    }
}

/// All times that are accepted now.
pub fn accepted_times(installed: &Installed) -> Result<Accepted, Error> {
    Ok(Accepted {
        ingested_at: accepted(installed)?,
        observed_at: around(),
    })
}

/// The times of ingested_at that are accepted now.
fn accepted(installed: &Installed) -> Result<Window, Error> {
    let now = process::now();
    let reference = standstill::reference(installed, now)?;
    Ok(Window {
        from: reference.saturating_sub(guc::accept_past_seconds() * SECOND),
        until: now.saturating_add(guc::accept_future_seconds() * SECOND),
    })
}
