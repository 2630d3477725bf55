//! Rows that can never be stored, on their way to entity_values_rejected. They are written as facts are, straight into the
//! partition: a storm of bad rows must not cost more than the good ones it comes with.

use std::borrow::Cow;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

use super::batch::{Batch, NO_LEAF, Row};
use super::compose::{HAS_VARIABLE_WIDTH, push_text};
use super::flush::Move;
use super::judge::Fault;
use super::reading::{FIXED_HEADER, HAS_NULL, HEADER_LENGTH, INFOMASK, INFOMASK2, Tuple};
use super::store::COLUMNS;
use crate::error::Error;
use crate::installed::Table;
use crate::pg::handover::{TAKEN, Taken};
use crate::pg::leaf::{Leaf, rejected_parent_is_plain};
use crate::pg::memory::Scratch;
use crate::pg::partitions::{self, Partition};
use crate::pg::process;
use crate::pg::slots::{MOST, Slots};
use crate::pg::xact::Failure;
use crate::sql::{argument, write_taken};

/// Why a row cannot be stored: the judge found a fault, or facts raised an error.
pub enum Why {
    Fault(Fault),
    Raised(Box<Failure>),
}

/// Longest reason, in bytes: what a trigger raises may be of any length.
const LONGEST_REASON: usize = 1000;

impl Why {
    fn sqlstate(&self) -> &str {
        match self {
            Why::Fault(fault) => fault.sqlstate(),
            Why::Raised(failure) => &failure.sqlstate,
        }
    }

    fn reason(&self) -> Cow<'_, str> {
        match self {
            Why::Fault(fault) => fault.reason(),
            Why::Raised(failure) => {
                let message = &failure.message;
                let fits = (0..=message.len().min(LONGEST_REASON)).rev();
                let end = fits.into_iter().find(|end| message.is_char_boundary(*end));
                message[..end.unwrap_or(0)].into()
            }
        }
    }
}

/// A row of the batch that cannot be stored.
pub type Refused = (Row, Why);

/// Bytes of rows that are built before they are written.
const CHUNK_BYTES: usize = 1 << 20;

/// Writes the rows with their faults and returns how many they were.
pub fn write(work: &Move, batch: &Batch, refused: &[Refused]) -> Result<i64, Error> {
    let rejected = work.installed.require_table(Table::Rejected)?;
    let partitions = partitions::to_write(rejected);
    // now() of SQL; in a transaction that began so long ago that its partition is gone, the time of day.
    let (rejected_at, partition) = [process::transaction_start(), process::now()]
        .into_iter()
        .find_map(|time| {
            let covers = |partition: &&Partition| partition.from <= time && time < partition.until;
            Some((time, partitions.iter().find(covers)?.oid))
        })
        .unwrap_or((process::now(), pg_sys::InvalidOid));
    let leaf = (rejected_parent_is_plain(rejected) && partition != pg_sys::InvalidOid)
        .then(|| Leaf::open_rejected(partition))
        .flatten();
    match leaf {
        Some(leaf) => write_directly(work, batch, refused, &leaf, rejected, rejected_at)?,
        None => return write_by_sql(work, batch, refused, rejected_at),
    }
    Ok(refused.len() as i64)
}

fn write_directly(
    work: &Move,
    batch: &Batch,
    refused: &[Refused],
    leaf: &Leaf,
    rejected: pg_sys::Oid,
    rejected_at: i64,
) -> Result<(), Error> {
    let durable = work.door == Table::IngestDurable;
    let scratch = Scratch::new();
    let mut slots = Slots::like(rejected);
    let mut built = Vec::new();
    let mut rest = refused.iter().peekable();
    while rest.peek().is_some() {
        let mut chunk = Batch::unrouted(MOST, CHUNK_BYTES);
        while chunk.room() > 0
            && let Some((row, why)) = rest.next()
        {
            let Some(tuple) = Tuple::new(batch.tuple(row)) else {
                return Err(Error::UnreadableRow(work.installed.qualified(work.door)));
            };
            build(&mut built, &tuple, rejected_at, durable, why);
            chunk.add(&built, rejected_at, NO_LEAF);
        }
        let rows = std::mem::take(&mut chunk.rows);
        leaf.insert(&mut chunk, &rows, &mut slots, &scratch);
    }
    Ok(())
}

/// By the executor, for what users added to the table: triggers, indexes, policies.
fn write_by_sql(work: &Move, batch: &Batch, refused: &[Refused], rejected_at: i64) -> Result<i64, Error> {
    let mut taken = Taken::new();
    for (row, why) in refused {
        taken.add(batch.tuple(row), Some((why.sqlstate(), &why.reason())));
    }
    let text = format!(
        "INSERT INTO {} (rejected_at, {COLUMNS}, durable, sqlstate, reason)
         SELECT $1, {COLUMNS}, $2, sqlstate, reason FROM {TAKEN}",
        work.installed.qualified(Table::Rejected)
    );
    let durable = work.door == Table::IngestDurable;
    let rejected_at =
        TimestampWithTimeZone::try_from(rejected_at).map_err(|_| Error::NoPeriod(rejected_at))?;
    write_taken(&text, vec![argument(rejected_at), argument(durable)], &mut taken)
}

/// Columns before and after the eight of the reading.
const BEFORE: u32 = 1;
const AFTER: u16 = 3;
const ALL: u16 = BEFORE as u16 + 8 + AFTER;

/// Puts the tuple together as the server would: the time, the values of the reading as they are, the door, the fault.
/// Pure.
fn build(into: &mut Vec<u8>, reading: &Tuple, rejected_at: i64, durable: bool, why: &Why) {
    let present = (u16::from(reading.present()) << BEFORE) | !(0x00ff << BEFORE) & ((1 << ALL) - 1);
    let has_null = present.count_ones() < u32::from(ALL);
    let bitmap = if has_null { usize::from(ALL).div_ceil(8) } else { 0 };
    let header = (FIXED_HEADER + bitmap).next_multiple_of(8);

    into.clear();
    into.resize(header, 0);
    into[INFOMASK2..INFOMASK2 + 2].copy_from_slice(&ALL.to_ne_bytes());
    let mask = HAS_VARIABLE_WIDTH | if has_null { HAS_NULL } else { 0 };
    into[INFOMASK..INFOMASK + 2].copy_from_slice(&mask.to_ne_bytes());
    into[HEADER_LENGTH] = header as u8;
    // Bits of the map are counted from the lowest of the first byte, whatever the order of bytes.
    into[FIXED_HEADER..FIXED_HEADER + bitmap].copy_from_slice(&present.to_le_bytes()[..bitmap]);

    into.extend_from_slice(&rejected_at.to_ne_bytes());
    into.extend_from_slice(reading.values());
    into.push(u8::from(durable));
    push_text(why.sqlstate(), into);
    push_text(&why.reason(), into);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::staging::reading::tests::tuple;

    fn built(bytes: &[u8], durable: bool) -> Vec<u8> {
        let mut into = vec![7; 3];
        build(
            &mut into,
            &Tuple::new(bytes).unwrap(),
            77,
            durable,
            &Why::Fault(Fault::NoValue),
        );
        into
    }

    #[test]
    fn what_is_missing_is_missing_in_the_map() {
        let bytes = tuple([Some(1), None, Some(3), None, None, None], Some(7), None);
        let built = built(&bytes, true);
        assert_eq!(built[INFOMASK2..INFOMASK2 + 2], 12u16.to_ne_bytes());
        assert_eq!(built[INFOMASK..INFOMASK + 2], 3u16.to_ne_bytes());
        assert_eq!(
            (built[HEADER_LENGTH], &built[23..25]),
            (32, &[0b1000_1011, 0b1110][..])
        );
        let mut expected = Vec::new();
        for value in [77i64, 1, 3] {
            expected.extend(value.to_ne_bytes());
        }
        expected.extend(7i32.to_ne_bytes());
        expected.push(1);
        assert_eq!(built[32..32 + expected.len()], expected);
        let texts = &built[32 + expected.len()..];
        assert_eq!(&texts[1..6], b"22023");
        assert_eq!(&texts[7..], b"no value is set");
    }

    #[test]
    fn a_full_row_needs_no_map() {
        let bytes = tuple([Some(1); 6], Some(7), Some(b"\x05x"));
        let built = built(&bytes, false);
        assert_eq!(built[INFOMASK..INFOMASK + 2], 2u16.to_ne_bytes());
        assert_eq!(built[HEADER_LENGTH], 24);
        assert_eq!(built[24 + 8..24 + 8 + bytes.len() - 24], bytes[24..]);
    }
}
