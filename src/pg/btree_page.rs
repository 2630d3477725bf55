//! A page of a b-tree whose keys are numbers, seen through the lock that its caller holds. No call into the server: what
//! the server's functions would do at the price of a call for each comparison is written out here, for what is plain. What
//! is not plain is said to be so, and left to the server.

use std::cmp::Ordering;

use pgrx::pg_sys;

use super::btree_key::{Column, INFO, Key, Kind, Layout, TUPLE_HEADER, ordered, put};

pub const PAGE: usize = pg_sys::BLCKSZ as usize;

/// A tuple takes 16 bytes and a line pointer at least, so a page holds fewer.
pub const MOST_TUPLES: usize = PAGE / 20;

/// Where things are in every page.
const LSN: usize = 0;
const LOWER: usize = 12;
const UPPER: usize = 14;
const SPECIAL: usize = 16;
const ITEMS: usize = 24;
const ITEM: usize = 4;

/// Where things are in the special space of a page of a b-tree.
const OPAQUE: usize = PAGE - 16;
const PREVIOUS: usize = OPAQUE;
const NEXT: usize = OPAQUE + 4;
const LEVEL: usize = OPAQUE + 8;
const FLAGS: usize = OPAQUE + 12;

const IS_LEAF: u16 = 1 << 0;
const IS_DELETED: u16 = 1 << 2;
const IS_META: u16 = 1 << 3;
const IS_HALF_DEAD: u16 = 1 << 4;
const IS_SPLIT_INCOMPLETELY: u16 = 1 << 7;

const HIGH_KEY: u16 = 1;

/// Of a line pointer: in use, with so many bytes at such an offset.
const NORMAL: u32 = 1;
/// In use, but of a row that nobody sees any more.
const DEAD: u32 = 3;

/// Of the size and flags of a tuple.
const SIZE: u16 = 0x1fff;
pub const HAS_NULLS: u16 = 0x8000;
/// The place says something else: of a pivot, how many columns it has; of a posting list, how many places.
const OTHER_USE: u16 = 0x2000;
const IS_POSTING_LIST: u16 = 0x2000;
const HAS_PLACE: u16 = 0x1000;
const COUNT: u16 = 0x0fff;
const PLACE: usize = 6;

/// A page, or a copy of one.
#[derive(Clone, Copy)]
pub struct Page<'a> {
    bytes: &'a [u8; PAGE],
}

impl<'a> Page<'a> {
    pub fn new(bytes: &'a [u8; PAGE]) -> Page<'a> {
        Page { bytes }
    }

    #[inline]
    fn number(self, at: usize) -> u16 {
        u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    #[inline]
    fn word(self, at: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.bytes[at..at + 4]);
        u32::from_ne_bytes(word)
    }

    #[inline]
    fn double_word(self, at: usize) -> i64 {
        let mut word = [0; 8];
        word.copy_from_slice(&self.bytes[at..at + 8]);
        i64::from_ne_bytes(word)
    }

    /// A page of this level, whole, and part of the tree.
    pub fn is_in_use(self, level: u32) -> bool {
        let unfit = IS_DELETED | IS_META | IS_HALF_DEAD;
        let (lower, upper) = (usize::from(self.number(LOWER)), usize::from(self.number(UPPER)));
        usize::from(self.number(SPECIAL)) == OPAQUE
            && (ITEMS..=upper).contains(&lower)
            && upper <= OPAQUE
            && self.number(FLAGS) & unfit == 0
            && (self.number(FLAGS) & IS_LEAF != 0) == (level == 0)
            && self.word(LEVEL) == level
    }

    /// A page that nobody has to see to before it takes tuples.
    pub fn is_leaf_to_fill(self) -> bool {
        self.is_in_use(0) && self.number(FLAGS) & IS_SPLIT_INCOMPLETELY == 0
    }

    fn is_leftmost(self) -> bool {
        self.word(PREVIOUS) == 0
    }

    fn is_rightmost(self) -> bool {
        self.word(NEXT) == 0
    }

    /// Copies what is in use; what lies between is left as it is.
    pub fn copy_to(self, copy: &mut [u8; PAGE]) {
        let (lower, upper) = (usize::from(self.number(LOWER)), usize::from(self.number(UPPER)));
        if lower < upper && upper <= PAGE {
            copy[..lower].copy_from_slice(&self.bytes[..lower]);
            copy[upper..].copy_from_slice(&self.bytes[upper..]);
        } else {
            copy.copy_from_slice(self.bytes);
        }
    }

    /// The block of the page to the right, if there is one.
    pub fn right(self) -> Option<u32> {
        (!self.is_rightmost()).then(|| self.word(NEXT))
    }

    /// It leaves the tree, or has left it: all that counts is to the right.
    pub fn is_leaving(self) -> bool {
        self.number(FLAGS) & (IS_DELETED | IS_HALF_DEAD) != 0
    }

    pub fn items(self) -> u16 {
        (usize::from(self.number(LOWER)).saturating_sub(ITEMS) / ITEM) as u16
    }

    /// The first item that is not the high key.
    pub fn first(self) -> u16 {
        if self.is_rightmost() {
            HIGH_KEY
        } else {
            HIGH_KEY + 1
        }
    }

    pub fn room(self) -> usize {
        usize::from(self.number(UPPER)).saturating_sub(usize::from(self.number(LOWER)))
    }

    #[inline]
    fn tuple_at(self, item: u16) -> usize {
        let raw = self.word(ITEMS + (usize::from(item) - 1) * ITEM);
        let offset = if cfg!(target_endian = "little") {
            raw & 0x7fff
        } else {
            raw >> 17
        };
        offset as usize
    }

    /// The tuple of an item of a leaf, and whether it is marked as dead for everybody. None if there is none.
    #[inline]
    pub fn tuple(self, item: u16) -> Option<(&'a [u8], bool)> {
        let raw = self.word(ITEMS + (usize::from(item) - 1) * ITEM);
        let (offset, length) = if cfg!(target_endian = "little") {
            (raw & 0x7fff, raw >> 17)
        } else {
            (raw >> 17, raw & 0x7fff)
        };
        let is_dead = match (raw >> 15) & 3 {
            NORMAL => false,
            DEAD => true,
            _ => return None,
        };
        let tuple = self.bytes.get(offset as usize..(offset + length) as usize)?;
        Some((tuple, is_dead))
    }

    #[inline]
    fn place_at(self, at: usize) -> u64 {
        u64::from(self.number(at)) << 32
            | u64::from(self.number(at + 2)) << 16
            | u64::from(self.number(at + 4))
    }

    /// How a key stands to the tuple of an item. A posting list is equal to all between its first and its last place.
    /// None: only the server can say.
    #[inline]
    fn compare(self, key: &Key, layout: &Layout, item: u16) -> Option<Ordering> {
        let at = self.tuple_at(item);
        if at + TUPLE_HEADER > OPAQUE {
            return None;
        }
        let info = self.number(at + INFO);
        let size = usize::from(info & SIZE);
        if info & HAS_NULLS != 0 || at + size > OPAQUE {
            return None;
        }
        let use_of_place = self.number(at + 4);
        let is_other = info & OTHER_USE != 0;
        let is_list = is_other && use_of_place & IS_POSTING_LIST != 0;
        let is_pivot = is_other && !is_list;
        let held = if is_pivot {
            usize::from(use_of_place & COUNT)
        } else {
            layout.columns.len()
        };
        let width = held.checked_sub(1).and_then(|last| layout.columns.get(last));
        if size < width.map_or(TUPLE_HEADER, Column::end) {
            return None;
        }
        for (column, value) in layout.columns.iter().zip(key.values).take(held) {
            let found = match column.kind {
                Kind::Small => i64::from(self.word(at + column.at) as i32),
                Kind::Wide => self.double_word(at + column.at),
                Kind::Double => ordered(f64::from_bits(self.double_word(at + column.at).cast_unsigned())),
            };
            if value != found {
                return Some(value.cmp(&found));
            }
        }
        // What was cut off from a pivot is less than everything.
        if held < layout.columns.len() {
            return Some(Ordering::Greater);
        }
        if is_list {
            let count = usize::from(use_of_place & COUNT);
            let list = at + (self.place_at(at) >> 16) as usize;
            let last = list + count.checked_sub(1)? * PLACE;
            if last + PLACE > OPAQUE {
                return None;
            }
            return Some(if key.place < self.place_at(list) {
                Ordering::Less
            } else if key.place > self.place_at(last) {
                Ordering::Greater
            } else {
                Ordering::Equal
            });
        }
        if is_pivot {
            if use_of_place & HAS_PLACE == 0 {
                return Some(Ordering::Greater);
            }
            return Some(key.place.cmp(&self.place_at(at + size - PLACE)));
        }
        Some(key.place.cmp(&self.place_at(at)))
    }

    /// Whether a key that is not below this page is not above it either.
    #[inline]
    pub fn reaches(self, key: &Key, layout: &Layout) -> Option<bool> {
        if self.is_rightmost() {
            return Some(true);
        }
        if self.items() < HIGH_KEY {
            return None;
        }
        Some(self.compare(key, layout, HIGH_KEY)? != Ordering::Greater)
    }

    /// The first item from `from` on that is not less than the key, one behind the last if there is none. All before `from` are
    /// known to be less. Looks near `from` first.
    #[inline]
    fn lower_bound(
        self,
        key: &Key,
        layout: &Layout,
        from: u16,
        less: fn(Ordering) -> Option<bool>,
    ) -> Option<u16> {
        let end = self.items() + 1;
        let mut low = from;
        let mut high = end;
        let mut step = 1;
        while low < high && from > self.first() {
            let probe = low + (step - 1).min(high - 1 - low);
            if less(self.compare(key, layout, probe)?)? {
                low = probe + 1;
                step *= 2;
            } else {
                high = probe;
                break;
            }
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if less(self.compare(key, layout, middle)?)? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Some(low)
    }

    /// Of an inner page: the page below to which a key belongs, and its item.
    pub fn child(self, key: &Key, layout: &Layout, from: u16) -> Option<(u32, u16)> {
        // The first stands for all that is less than the second.
        let first = self.first();
        let from = from.max(first + 1);
        if self.items() < first {
            return None;
        }
        let less = |found| Some(found == Ordering::Greater);
        let item = self.lower_bound(key, layout, from, less)? - 1;
        let at = self.tuple_at(item);
        Some((
            u32::from(self.number(at)) << 16 | u32::from(self.number(at + 2)),
            item,
        ))
    }

    /// Of an inner page: whether a key belongs below it. The first item stands for all that is less than the second, so only a
    /// page that is the first of its level, or is not asked about less than its second, is sure of that.
    pub fn holds(self, key: &Key, layout: &Layout) -> bool {
        let second = self.first() + 1;
        let not_left = second > self.items() || self.compare(key, layout, second) != Some(Ordering::Less);
        (not_left || self.is_leftmost()) && self.reaches(key, layout) == Some(true)
    }

    /// Of a leaf: adds the places in the table that entries with these values name, whatever their own, but for those marked as dead.
    /// None if only the server can say.
    pub fn places(self, key: &Key, layout: &Layout, places: &mut Vec<u64>) -> Option<()> {
        let mut item = self.position(key, layout, 0)?;
        while item <= self.items() {
            let at = self.tuple_at(item);
            if at + TUPLE_HEADER > OPAQUE {
                return None;
            }
            let is_list = self.number(at + INFO) & OTHER_USE != 0;
            let list = if is_list {
                (self.place_at(at) >> 16) as usize
            } else {
                0
            };
            if at + list + PLACE > PAGE {
                return None;
            }
            // With its own place the key is equal, if the values are.
            let place = self.place_at(at + list);
            if self.compare(&Key { place, ..*key }, layout, item) != Some(Ordering::Equal) {
                break;
            }
            if is_list {
                return None;
            }
            let (_, is_dead) = self.tuple(item)?;
            if !is_dead {
                places.push(place);
            }
            item += 1;
        }
        Some(())
    }

    /// Of a leaf: before which item an entry comes. None when it is, or falls into, one that is there.
    pub fn position(self, key: &Key, layout: &Layout, from: u16) -> Option<u16> {
        let less = |found| match found {
            Ordering::Equal => None,
            found => Some(found == Ordering::Greater),
        };
        self.lower_bound(key, layout, from.max(self.first()), less)
    }
}

/// A leaf that is locked exclusively.
pub struct Leaf<'a> {
    bytes: &'a mut [u8; PAGE],
}

impl<'a> Leaf<'a> {
    pub fn new(bytes: &'a mut [u8; PAGE]) -> Leaf<'a> {
        Leaf { bytes }
    }

    pub fn page(&self) -> Page<'_> {
        Page::new(self.bytes)
    }

    /// Adds tuples, all of the same size, one after another in `tuples`, each before the item of the page as it is now that
    /// `positions` names in order. There must be room. The page is then what the server would make of it by adding one after the
    /// other.
    pub fn add(&mut self, positions: &[u16], tuples: &[u8]) {
        let count = positions.len();
        let Some(size) = tuples.len().checked_div(count) else {
            return;
        };
        let lower = usize::from(self.page().number(LOWER));
        let upper = usize::from(self.page().number(UPPER));
        let mut end = lower;
        for (which, (position, tuple)) in positions.iter().zip(tuples.chunks_exact(size)).enumerate().rev() {
            let offset = upper - (which + 1) * size;
            self.bytes[offset..offset + size].copy_from_slice(tuple);
            let start = ITEMS + (usize::from(*position) - 1) * ITEM;
            self.bytes.copy_within(start..end, start + (which + 1) * ITEM);
            let item = start + which * ITEM;
            self.bytes[item..item + ITEM].copy_from_slice(&pointer(offset, size).to_ne_bytes());
            end = start;
        }
        put(self.bytes, LOWER, (lower + count * ITEM) as u16);
        put(self.bytes, UPPER, (upper - count * size) as u16);
    }

    /// What `add` changed, in the form of generic WAL: pieces with their offset and length. `first` is the least position.
    pub fn describe(&self, first: u16, added: usize, size: usize, changes: &mut Vec<u8>) {
        changes.clear();
        let start = ITEMS + (usize::from(first) - 1) * ITEM;
        let lower = usize::from(self.page().number(LOWER));
        let upper = usize::from(self.page().number(UPPER));
        for piece in [LOWER..UPPER + 2, start..lower, upper..upper + added * size] {
            changes.extend((piece.start as u16).to_ne_bytes());
            changes.extend((piece.len() as u16).to_ne_bytes());
            changes.extend(&self.bytes[piece]);
        }
    }

    /// Bytes that `describe` would come to.
    pub fn length_of_changes(&self, first: u16, added: usize, size: usize) -> usize {
        let moved = usize::from(self.page().items() + 1 - first);
        3 * ITEM + ITEM + (moved + added) * ITEM + added * size
    }

    /// The page is as of this place in the WAL.
    pub fn set_lsn(&mut self, lsn: u64) {
        self.bytes[LSN..LSN + 4].copy_from_slice(&((lsn >> 32) as u32).to_ne_bytes());
        self.bytes[LSN + 4..LSN + 8].copy_from_slice(&(lsn as u32).to_ne_bytes());
    }
}

fn pointer(offset: usize, length: usize) -> u32 {
    let (offset, length) = (offset as u32, length as u32);
    if cfg!(target_endian = "little") {
        offset | NORMAL << 15 | length << 17
    } else {
        offset << 17 | NORMAL << 15 | length
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
pub mod tests;
