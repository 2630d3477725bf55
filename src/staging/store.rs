//! Rows that were taken, to where they belong: each partition gets its own in the order of time, rejected the rest.

use pgrx::pg_sys;

use super::batch::{Batch, NO_LEAF, Row};
use super::dictionary::with_attributes;
use super::flush::{Flushed, Move};
use super::judge::fault;
use super::reading::Tuple;
use crate::accounting::tally;
use crate::error::Error;
use crate::installed::Table;
use crate::pg::handover::{TAKEN, Taken};
use crate::pg::leaf::{Leaf, parent_is_plain};
use crate::pg::memory::Scratch;
use crate::pg::slots::Slots;
use crate::sql::{argument, write_taken};

const COLUMNS: &str =
    "tenant_id, entity_id, ingested_at, observed_at, value_num, value_int, attribute_id, value_text";

pub fn store(work: &Move, facts: pg_sys::Oid, batch: &mut Batch) -> Result<Flushed, Error> {
    let mut flushed = Flushed {
        more: batch.room() == 0,
        ..Flushed::default()
    };
    if batch.rows.is_empty() {
        return Ok(flushed);
    }
    let (mut good, refused) = judge(work, batch)?;
    good.sort_by_key(|row| (row.leaf, row.ingested_at));
    flushed.stored = write_facts(work, facts, batch, &good)?;
    flushed.rejected = write_rejected(work, refused)?;
    Ok(flushed)
}

/// The rows that may be stored, and the others with their faults.
fn judge(work: &Move, batch: &Batch) -> Result<(Vec<Row>, Taken), Error> {
    let accepted = batch.router.accepted();
    let ids = batch
        .rows
        .iter()
        .filter_map(|row| Tuple::new(batch.tuple(row))?.attribute_id());
    with_attributes(work.installed, work.wrote_before, ids, |attributes| {
        let mut good = Vec::with_capacity(batch.rows.len());
        let mut refused = Taken::new();
        for row in &batch.rows {
            let tuple = batch.tuple(row);
            let Some(reading) = Tuple::new(tuple).map(|tuple| tuple.reading()) else {
                return Err(Error::UnreadableRow(work.installed.qualified(work.door)));
            };
            match fault(&reading, &accepted, |id| attributes.get(id)) {
                None => good.push(*row),
                found => refused.add(tuple, found),
            }
        }
        Ok((good, refused))
    })?
}

/// `rows` in order of their partitions.
fn write_facts(work: &Move, facts: pg_sys::Oid, batch: &mut Batch, rows: &[Row]) -> Result<i64, Error> {
    if rows.is_empty() {
        return Ok(0);
    }
    let direct = parent_is_plain(facts);
    let scratch = Scratch::new();
    let mut slots = Slots::like(facts);
    let mut stored = 0;
    let mut rest = Taken::new();
    for of_leaf in rows.chunk_by(|left, right| left.leaf == right.leaf) {
        let leaf = of_leaf
            .first()
            .filter(|row| direct && row.leaf != NO_LEAF)
            .and_then(|row| work.partitions.get(row.leaf as usize))
            .and_then(|partition| Leaf::open(partition.oid));
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
    if rest.is_empty() {
        return Ok(stored);
    }
    let text = format!(
        "INSERT INTO {} ({COLUMNS}) SELECT {COLUMNS} FROM {TAKEN}",
        work.installed.qualified(Table::Facts)
    );
    Ok(stored + write_taken(&text, vec![], &mut rest)?)
}

fn write_rejected(work: &Move, mut refused: Taken) -> Result<i64, Error> {
    if refused.is_empty() {
        return Ok(0);
    }
    let text = format!(
        "INSERT INTO {} ({COLUMNS}, durable, sqlstate, reason) SELECT {COLUMNS}, $1, sqlstate, reason FROM {TAKEN}",
        work.installed.qualified(Table::Rejected)
    );
    let durable = work.door == Table::IngestDurable;
    write_taken(&text, vec![argument(durable)], &mut refused)
}
