//! Rows that were taken, to where they belong: each partition gets its own in the order of time, rejected the rest.

use std::cell::RefCell;
use std::collections::HashSet;

use pgrx::pg_sys;

use super::batch::{Batch, Row};
use super::careful;
use super::deferred;
use super::dictionary::{self, Attributes};
use super::flush::{Flushed, Move, around};
use super::judge::{self, Accepted, Fault, text_fault};
use super::reading::{Reading, Tuple};
use super::rejected::{self, Refused, Why};
use crate::accounting::tally;
use crate::error::Error;
use crate::guc;
use crate::heat::{self, Sampler, Use};
use crate::hot::project;
use crate::installed::Table;
use crate::partition::seal;
use crate::pg::fault;
use crate::pg::handover::{TAKEN, Taken};
use crate::pg::leaf::{Leaf, parent_is_plain};
use crate::pg::memory::Scratch;
use crate::pg::slots::Slots;
use crate::pg::text_value;
use crate::shmem;
use crate::sql::write_taken;

pub const COLUMNS: &str =
    "tenant_id, entity_id, ingested_at, observed_at, value_num, value_int, attribute_id, value_text";

pub fn store(work: &Move, facts: pg_sys::Oid, batch: &mut Batch) -> Result<Flushed, Error> {
    let mut flushed = Flushed {
        more: batch.room() == 0,
        ..Flushed::default()
    };
    if batch.rows.is_empty() {
        return Ok(flushed);
    }
    fault::point("before_judge");
    let attributes = dictionary::attributes(work.installed, work.wrote_before, batch.attributes.iter())?;
    let (mut good, mut refused) = judge(work, batch, &attributes)?;
    fault::point("judged");
    count(batch, &good);
    check_rejected_is_open(work, batch, &refused)?;
    let order = |row: &Row| (row.leaf, row.ingested_at);
    if !good.is_sorted_by_key(order) {
        good.sort_by_key(order);
    }
    flushed.stored = if work.course.is_careful() {
        let by_judge = refused.len();
        let written = careful::write_facts(work, facts, batch, &good, &mut refused)?;
        flushed.refused_by_facts = refused.len() > by_judge;
        if flushed.refused_by_facts {
            let not_stored: HashSet<Row> = refused[by_judge..].iter().map(|(row, _)| *row).collect();
            good.retain(|row| !not_stored.contains(row));
        }
        check_rejected_is_open(work, batch, &refused)?;
        written
    } else {
        write_facts(work, facts, batch, &good)?
    };
    fault::point("before_rejected");
    if !refused.is_empty() {
        work.course
            .writes(Some(work.installed.require_table(Table::Rejected)?.to_u32()));
        flushed.rejected = rejected::write(work, batch, &refused)?;
        work.course.writes(None);
    }
    project::project_stored(work, batch, &good, &attributes)?;
    // Their memory is for the next batch.
    batch.rows = good;
    Ok(flushed)
}

thread_local! {
    static SAMPLER: RefCell<Sampler> = RefCell::default();
}

/// Counts which attributes are written, where there is a place to count.
fn count(batch: &Batch, rows: &[Row]) {
    if !shmem::is_available() {
        return;
    }
    let counted = SAMPLER.with_borrow_mut(|sampler| {
        for place in sampler.places(rows.len()) {
            let reading = Tuple::new(batch.tuple(&rows[place])).map(|tuple| tuple.reading());
            if let Some((tenant, attribute)) =
                reading.and_then(|found| found.tenant_id.zip(found.attribute_id))
            {
                sampler.add(tenant, attribute);
            }
        }
        sampler.take()
    });
    heat::count_many(counted, Use::Written);
}

/// While rejected is left alone, bad rows have to stay in staging. They were taken already: so this flush ends here, and the next
/// one knows them.
fn check_rejected_is_open(work: &Move, batch: &Batch, refused: &[Refused]) -> Result<(), Error> {
    if refused.is_empty() {
        return Ok(());
    }
    let rejected = work.installed.require_table(Table::Rejected)?.to_u32();
    if !work.course.is_left_alone(rejected) {
        return Ok(());
    }
    let staging = work.installed.require_table(work.door)?.to_u32();
    let places = refused.iter().map(|(row, _)| batch.taken_from(row));
    work.course.kept.keep(staging, places);
    Err(Error::RejectedIsClosed(work.installed.qualified(Table::Rejected)))
}

/// The rows that may be stored, and the others with their faults. No row is left in the batch.
fn judge(work: &Move, batch: &mut Batch, attributes: &Attributes) -> Result<(Vec<Row>, Vec<Refused>), Error> {
    let accepted = Accepted {
        ingested_at: batch.router.accepted(),
        observed_at: around(),
    };
    let longest = guc::max_value_size();
    let mut good = std::mem::take(&mut batch.rows);
    let mut refused = Vec::new();
    let mut unreadable = false;
    good.retain(|row| {
        let tuple = batch.tuple(row);
        let Some(reading) = Tuple::new(tuple).map(|tuple| tuple.reading()) else {
            unreadable = true;
            return false;
        };
        let found = fault(tuple, &reading, &accepted, attributes, longest);
        if let Some(found) = found {
            refused.push((*row, Why::Fault(found)));
        }
        found.is_none()
    });
    if unreadable {
        return Err(Error::UnreadableRow(work.installed.qualified(work.door)));
    }
    Ok((good, refused))
}

/// The first fault of a row. Its `reading` is that of the tuple.
#[inline]
pub fn fault(
    tuple: &[u8],
    reading: &Reading,
    accepted: &Accepted,
    attributes: &Attributes,
    longest: usize,
) -> Option<Fault> {
    judge::fault(reading, accepted, |id| attributes.get(id))
        .or_else(|| fault_of_text(tuple, reading, attributes, longest))
}

#[inline]
fn fault_of_text(tuple: &[u8], reading: &Reading, attributes: &Attributes, longest: usize) -> Option<Fault> {
    if !reading.has_text {
        return None;
    }
    let at = Tuple::new(tuple)?.text_at()?;
    let value_type = attributes.get(reading.attribute_id?)?.value_type;
    text_fault(value_type, text_value::length(tuple, at), longest, || {
        text_value::bytes(tuple, at)
    })
}

/// `rows` in order of their partitions. All or, with an error, none.
pub fn write_facts(work: &Move, facts: pg_sys::Oid, batch: &mut Batch, rows: &[Row]) -> Result<i64, Error> {
    if rows.is_empty() {
        return Ok(0);
    }
    let direct = parent_is_plain(facts);
    let scratch = Scratch::new();
    let mut slots = Slots::like(facts);
    let mut stored = 0;
    let mut rest = Taken::new();
    for of_leaf in rows.chunk_by(|left, right| left.leaf == right.leaf) {
        let partition = work.partition_of(of_leaf);
        work.course.writes(partition);
        if let Some(oid) = partition.map(pg_sys::Oid::from) {
            seal::reopen_if_closed(work.installed, oid)?;
        }
        let leaf = partition
            .filter(|_| direct)
            .and_then(|oid| Leaf::open(pg_sys::Oid::from(oid)));
        match leaf {
            Some(leaf) => {
                leaf.insert(batch, of_leaf, &mut slots, &scratch);
                stored += of_leaf.len() as i64;
            }
            None => {
                tally::stored_by_sql();
                of_leaf.iter().for_each(|row| rest.add(batch.tuple(row), None));
            }
        }
    }
    if !work.course.is_careful() {
        // One statement for all of them, in which it is not known whose turn it is.
        work.course.writes(None);
    }
    if rest.is_empty() {
        work.course.writes(None);
        return Ok(stored);
    }
    deferred::make_immediate(work)?;
    let text = format!(
        "INSERT INTO {} ({COLUMNS}) SELECT {COLUMNS} FROM {TAKEN}",
        work.installed.qualified(Table::Facts)
    );
    stored += write_taken(&text, vec![], &mut rest)?;
    work.course.writes(None);
    Ok(stored)
}
