//! The indexes of a partition, and how a batch of readings gets into them.

use pgrx::pg_sys;

use super::btree::Tree;
use super::btree_key::{COLUMNS, Key, pack_place, unpack_place};
use super::heap_page::block_of;
use super::layout;
use super::memory::Scratch;
use super::relation::Relation;
use super::write_index::WriteIndex;
use crate::shmem;
use crate::staging::batch::{Batch, Row};
use crate::staging::reading::{ATTRIBUTE_ID, INGESTED_AT, Tuple};

/// Entries between two looks for an interrupt.
const CHUNK: usize = 4096;

/// The first support function of BRIN operator classes says which kind they are.
const BRIN_KIND: u16 = 1;

const FIRST_OF_PAGE: u16 = 1;

/// Bytes of memory that each row takes for its place in the table, and for its entry while it is put in.
pub const PLACE: usize = size_of::<pg_sys::ItemPointerData>();
pub const ENTRY: usize = size_of::<Key>() + size_of::<u32>();

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    /// Every row, in the order of the key as far as it consists of whole numbers.
    BTree,
    /// Every row, in the order in which they lie.
    Each,
    /// The least and the greatest time of each page say all that the index would keep.
    LeastAndGreatest,
}

pub struct Index {
    open: WriteIndex,
    method: Method,
    /// The table's columns, counted from 0.
    columns: Vec<usize>,
    /// Of an index that knows pages and no rows: a keeper summarises its new ranges.
    has_keeper: bool,
}

impl Index {
    /// All indexes of a partition; None when there is one that wants more than its entries put in.
    pub fn of(table: &Relation) -> Option<Vec<Index>> {
        let oids = table.indexes();
        let mut indexes = Vec::with_capacity(oids.len());
        for oid in oids {
            let index = Index::open(oid, table)?;
            // SAFETY: open.
            if unsafe { (*index.open.info).ii_ReadyForInserts } {
                indexes.push(index);
            }
        }
        Some(indexes)
    }

    fn open(oid: pg_sys::Oid, table: &Relation) -> Option<Index> {
        // SAFETY: an index of an open table; dropped with its handle, whatever comes of the questions below.
        unsafe {
            let open = WriteIndex::open(oid, pg_sys::RowExclusiveLock);
            let (pointer, info) = (open.pointer, open.info);
            let mut index = Index {
                open,
                method: Method::Each,
                columns: Vec::new(),
                has_keeper: false,
            };
            let plain = !(*info).ii_Unique
                && (*info).ii_Expressions.is_null()
                && (*info).ii_Predicate.is_null()
                && (*info).ii_ExclusionOps.is_null();
            let count = usize::try_from((*info).ii_NumIndexAttrs).ok()?;
            for number in &(&(*info).ii_IndexAttrNumbers)[..count] {
                index.columns.push(usize::try_from(*number).ok()?.checked_sub(1)?);
            }
            index.method = match (*(*pointer).rd_rel).relam {
                pg_sys::BTREE_AM_OID => Method::BTree,
                pg_sys::BRIN_AM_OID => index.brin_method(table),
                _ => return None,
            };
            index.has_keeper = index.method == Method::LeastAndGreatest && shmem::has_workers();
            plain.then_some(index)
        }
    }

    fn brin_method(&self, table: &Relation) -> Method {
        // SAFETY: an open BRIN index; a support function of its first column.
        let kind = unsafe { pg_sys::index_getprocid(self.open.pointer, 1, BRIN_KIND) };
        let one_time = self.columns == [INGESTED_AT] && layout::is_never_null(table, INGESTED_AT);
        if one_time && kind == pg_sys::Oid::from(pg_sys::F_BRIN_MINMAX_OPCINFO) {
            Method::LeastAndGreatest
        } else {
            Method::Each
        }
    }

    /// Puts in what was inserted at these places of the table.
    pub fn insert(
        &self,
        table: &Relation,
        batch: &Batch,
        rows: &[Row],
        places: &[pg_sys::ItemPointerData],
        scratch: &Scratch,
    ) {
        let entries = match self.method {
            Method::BTree if self.fits_key() => {
                return self.insert_keys(table, &self.keys(batch, rows, places), scratch);
            }
            Method::BTree => self.by_key(batch, rows),
            Method::Each => (0..rows.len() as u32).collect(),
            Method::LeastAndGreatest => extremes(rows, places),
        };
        for chunk in entries.chunks(CHUNK) {
            pgrx::check_for_interrupts!();
            scratch.within(|| {
                for number in chunk {
                    let number = *number as usize;
                    self.insert_one(table, batch.tuple(&rows[number]), self.place(places[number]));
                }
            });
            scratch.reset();
        }
    }

    /// All that the index holds is in the key that it was sorted by: the rows, which lie in another order, need not be fetched.
    fn fits_key(&self) -> bool {
        let always_set = |column: &usize| [0, 1, INGESTED_AT, ATTRIBUTE_ID].contains(column);
        self.columns.len() <= COLUMNS && self.columns.iter().all(always_set)
    }

    /// In order, so that neighbours go to the same page of the index.
    fn keys(&self, batch: &Batch, rows: &[Row], places: &[pg_sys::ItemPointerData]) -> Vec<Key> {
        let mut keys: Vec<Key> = rows
            .iter()
            .zip(places)
            .map(|(row, place)| Key {
                values: values(&self.columns, batch.tuple(row)),
                place: pack_place(place),
            })
            .collect();
        keys.sort_unstable();
        keys
    }

    fn insert_keys(&self, table: &Relation, keys: &[Key], scratch: &Scratch) {
        // SAFETY: an open index of the b-tree kind, until the end of this.
        let tree = unsafe { Tree::of(self.open.pointer, false) };
        for chunk in keys.chunks(CHUNK) {
            pgrx::check_for_interrupts!();
            scratch.within(|| match &tree {
                Some(tree) => tree.insert(table, chunk, &[], |place| self.insert_key(table, &chunk[place])),
                None => chunk.iter().for_each(|key| self.insert_key(table, key)),
            });
            scratch.reset();
        }
    }

    fn insert_key(&self, table: &Relation, key: &Key) {
        let mut values = [pg_sys::Datum::from(0); COLUMNS];
        for (slot, column) in self.columns.iter().enumerate() {
            values[slot] = match *column {
                ATTRIBUTE_ID => pg_sys::Datum::from(key.values[slot] as i32),
                _ => pg_sys::Datum::from(key.values[slot]),
            };
        }
        self.put(table, &mut values, &mut [false; COLUMNS], unpack_place(key.place));
    }

    /// BRIN knows pages and no rows. At the first row of a range it asks autovacuum for a summary of the range before: where the keeper
    /// sees to that, no row is the first.
    fn place(&self, mut place: pg_sys::ItemPointerData) -> pg_sys::ItemPointerData {
        if self.has_keeper {
            place.ip_posid = FIRST_OF_PAGE + 1;
        }
        place
    }

    fn insert_one(&self, table: &Relation, tuple: &[u8], place: pg_sys::ItemPointerData) {
        let mut values = [pg_sys::Datum::from(0); pg_sys::INDEX_MAX_KEYS as usize];
        let mut nulls = [true; pg_sys::INDEX_MAX_KEYS as usize];
        let Some(reading) = Tuple::new(tuple) else {
            return;
        };
        for (slot, column) in self.columns.iter().enumerate() {
            let value = match column {
                &ATTRIBUTE_ID => reading.attribute_id().map(pg_sys::Datum::from),
                // SAFETY: within the tuple.
                7 => reading
                    .text_at()
                    .map(|at| pg_sys::Datum::from(unsafe { tuple.as_ptr().add(at) })),
                wide => reading.wide(*wide).map(pg_sys::Datum::from),
            };
            nulls[slot] = value.is_none();
            values[slot] = value.unwrap_or(pg_sys::Datum::from(0));
        }
        self.put(table, &mut values, &mut nulls, place);
    }

    /// The arrays must be as long as the index is wide.
    fn put(
        &self,
        table: &Relation,
        values: &mut [pg_sys::Datum],
        nulls: &mut [bool],
        mut place: pg_sys::ItemPointerData,
    ) {
        // SAFETY: both are open and locked; the callers give arrays of the width that the index has.
        unsafe {
            pg_sys::index_insert(
                self.open.pointer,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
                &mut place,
                table.as_ptr(),
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO,
                false,
                self.open.info,
            );
        }
    }

    /// Rows in the order of the key, as far as it consists of whole numbers. A matter of speed only.
    fn by_key(&self, batch: &Batch, rows: &[Row]) -> Vec<u32> {
        let whole = |column: &&usize| [0, 1, INGESTED_AT, 3, 5, ATTRIBUTE_ID].contains(*column);
        let columns: Vec<usize> = self
            .columns
            .iter()
            .take_while(whole)
            .take(COLUMNS)
            .copied()
            .collect();
        let mut entries: Vec<([i64; COLUMNS], u32)> = rows
            .iter()
            .zip(0..)
            .map(|(row, number)| (values(&columns, batch.tuple(row)), number))
            .collect();
        entries.sort_unstable();
        entries.into_iter().map(|(_, number)| number).collect()
    }
}

/// The whole numbers in some columns of a row, the greatest where there is none.
fn values(columns: &[usize], tuple: &[u8]) -> [i64; COLUMNS] {
    let mut values = [0; COLUMNS];
    if let Some(reading) = Tuple::new(tuple) {
        for (value, column) in values.iter_mut().zip(columns) {
            *value = match *column {
                ATTRIBUTE_ID => reading.attribute_id().map_or(i64::MAX, i64::from),
                wide => reading.wide(wide).unwrap_or(i64::MAX),
            };
        }
    }
    values
}

/// The rows with the least and the greatest time of each page, and the first of a new page, by which the index notices that
/// the range before is complete.
fn extremes(rows: &[Row], places: &[pg_sys::ItemPointerData]) -> Vec<u32> {
    let mut chosen: Vec<u32> = Vec::new();
    let mut start = 0;
    while start < places.len() {
        let block = block_of(&places[start]);
        let same = |place: &&pg_sys::ItemPointerData| block_of(place) == block;
        let end = start + places[start..].iter().take_while(same).count();
        let page = start..end;
        let least = page.clone().min_by_key(|number| rows[*number].ingested_at);
        let greatest = page.clone().max_by_key(|number| rows[*number].ingested_at);
        let first = page
            .clone()
            .find(|number| places[*number].ip_posid == FIRST_OF_PAGE);
        let mut of_page: Vec<usize> = [least, greatest, first].into_iter().flatten().collect();
        of_page.sort_unstable();
        of_page.dedup();
        chosen.extend(of_page.into_iter().map(|number| number as u32));
        start = end;
    }
    chosen
}
