//! The rows of one flush on their way from staging to facts.

use super::ids::Ids;
use super::judge::Window;
use super::kept::{Places, key};
use super::reading::{CTID, Tuple};
use super::route::{Route, Router, Waiting};
use super::spare::{self, Spare};
use crate::pg::arena::{Arena, Place, reserve};
use crate::pg::index::{ENTRY, PLACE};
use crate::pg::memory::out_of_memory;

/// One row of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    pub ingested_at: i64,
    place: Place,
    length: u32,
    /// The place of its partition in the coverage; NO_LEAF: the judge will refuse it.
    pub leaf: u32,
}

pub const NO_LEAF: u32 = u32::MAX;

/// What a row takes besides its tuple, at the worst moment: here, once more while the good ones are sorted, where it was put, and
/// its entry of one index.
const BYTES_OF_ROW: usize = 2 * size_of::<Row>() + PLACE + ENTRY;

/// Vectors that grow have as much again in reserve, or leave it behind.
const RESERVE: usize = 2;

/// Collects rows, up to a number and a size.
pub struct Batch {
    arena: Arena,
    pub rows: Vec<Row>,
    /// Attributes of what was looked at.
    pub attributes: Ids,
    pub router: Router,
    pub waiting: Waiting,
    /// What is to stay where it is.
    pub kept: Places,
    most_rows: usize,
    most_bytes: usize,
}

impl Batch {
    pub fn new(router: Router, most_rows: usize, most_bytes: usize) -> Batch {
        let Spare { words, rows } = spare::take();
        Batch {
            arena: Arena::within(words),
            rows,
            attributes: Ids::default(),
            router,
            waiting: Waiting::default(),
            kept: Places::default(),
            most_rows,
            most_bytes,
        }
    }

    /// For rows that go to one table, whatever their time.
    pub fn unrouted(most_rows: usize, most_bytes: usize) -> Batch {
        let nothing = Window { from: 0, until: 0 };
        let router = Router::new(Vec::new(), Vec::new(), nothing);
        Batch::new(router, most_rows, most_bytes)
    }

    /// How many more rows it takes.
    pub fn room(&self) -> usize {
        if self.is_heavy() {
            return 0;
        }
        self.most_rows.saturating_sub(self.rows.len())
    }

    /// Full by size, whatever the number of rows.
    pub fn is_heavy(&self) -> bool {
        self.room_in_bytes() == 0
    }

    pub fn room_in_bytes(&self) -> usize {
        let used = self.arena.bytes() + self.rows.len() * BYTES_OF_ROW;
        (self.most_bytes / RESERVE).saturating_sub(used)
    }

    /// Makes room for what one page can hold, so that adding it allocates nothing.
    pub fn reserve(&mut self, rows: usize, bytes: usize) {
        let found = self
            .arena
            .reserve(rows, bytes)
            .and_then(|()| reserve(&mut self.rows, rows));
        if found.is_err() {
            out_of_memory(bytes);
        }
    }

    /// Where a row goes, and its time. What cannot be read stays where it is.
    #[inline]
    pub fn route(&mut self, tuple: &[u8]) -> Option<(Route, i64)> {
        let tuple = Tuple::new(tuple)?;
        if let Some(id) = tuple.attribute_id() {
            self.attributes.add(id);
        }
        let ingested_at = tuple.ingested_at();
        Some((self.router.route(ingested_at), ingested_at.unwrap_or(i64::MIN)))
    }

    /// Counts rows that cannot be taken, one of which has this time.
    pub fn leave(&mut self, time: i64, rows: i64) {
        if self.router.is_held_back(time) {
            self.waiting.held_back += rows;
        } else {
            self.waiting.add_hour(time, rows);
        }
    }

    /// Whether the row in this place is to stay there.
    #[inline]
    pub fn keeps(&self, block: u32, number: u16) -> bool {
        !self.kept.is_empty() && self.kept.contains(&key(block, number))
    }

    /// The place in staging from which a row was taken, where it is known.
    pub fn taken_from(&self, row: &Row) -> Option<u64> {
        let bytes = self.tuple(row).get(CTID..CTID + 6)?;
        let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let block = u32::from(half(0)) << 16 | u32::from(half(2));
        (half(4) != 0).then(|| key(block, half(4)))
    }

    /// Adds a row with a copy of its tuple.
    #[inline]
    pub fn add(&mut self, tuple: &[u8], ingested_at: i64, leaf: u32) {
        self.reserve(1, tuple.len());
        self.rows.push(Row {
            ingested_at,
            place: self.arena.push(tuple),
            length: tuple.len() as u32,
            leaf,
        });
    }

    #[inline]
    pub fn tuple(&self, row: &Row) -> &[u8] {
        self.arena.get(row.place, row.length as usize)
    }

    /// For the server, which writes its header into the tuple.
    #[inline]
    pub fn tuple_mut(&mut self, row: &Row) -> &mut [u8] {
        self.arena.get_mut(row.place, row.length as usize)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        spare::keep(Spare {
            words: std::mem::take(&mut self.arena).into_words(),
            rows: std::mem::take(&mut self.rows),
        });
    }
}
