//! Rows of a table by their key, as they lie on their pages.

use pgrx::pg_sys;

use super::btree_key::{self, Kind, pack_place, unpack_place};
use super::compat;
use super::key_pages::KeyPages;
use super::relation::Relation;

/// So many places of one key are looked at before the server is asked: a row that is written anew and again leaves others behind.
const MOST_PLACES: usize = 4;

/// Good until the next row is looked for.
pub struct Row<const COLUMNS: usize> {
    pub(super) place: pg_sys::ItemPointerData,
    /// Where an index finds it: the place of its first version on the page.
    root: u64,
    /// Nobody has locked it, nor had when it was looked at.
    pub(super) is_free: bool,
    pub(super) values: [pg_sys::Datum; COLUMNS],
    pub(super) nulls: [bool; COLUMNS],
}

impl<const COLUMNS: usize> Row<COLUMNS> {
    /// # Safety
    /// A tuple with these columns that stays where it is as long as the row is good.
    unsafe fn of(tuple: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc, root: u64) -> Self {
        // SAFETY: promised by the caller.
        unsafe {
            let mut row = Row {
                place: (*tuple).t_self,
                root,
                is_free: u32::from((*(*tuple).t_data).t_infomask) & pg_sys::HEAP_XMAX_INVALID != 0,
                values: [pg_sys::Datum::from(0); COLUMNS],
                nulls: [true; COLUMNS],
            };
            let (values, nulls) = (row.values.as_mut_ptr(), row.nulls.as_mut_ptr());
            pg_sys::heap_deform_tuple(tuple, descriptor, values, nulls);
            row
        }
    }

    /// Whether these columns have these values.
    fn has<const KEYS: usize>(&self, columns: &[usize; KEYS], key: [pg_sys::Datum; KEYS]) -> bool {
        columns
            .iter()
            .zip(key)
            .all(|(column, part)| self.values[*column] == part)
    }

    /// Where an index finds it.
    pub fn root(&self) -> u64 {
        self.root
    }
}

/// Looks rows up by their key.
pub struct Lookup<const KEYS: usize, const COLUMNS: usize> {
    scan: pg_sys::IndexScanDesc,
    slot: *mut pg_sys::TupleTableSlot,
    descriptor: pg_sys::TupleDesc,
    kinds: [Kind; KEYS],
    /// Where the columns of the key are in the table.
    places: [usize; KEYS],
    keys: [pg_sys::ScanKeyData; KEYS],
    pages: KeyPages,
}

impl<const KEYS: usize, const COLUMNS: usize> Lookup<KEYS, COLUMNS> {
    /// # Safety
    /// The index must be a unique b-tree on the columns of the table at `places`, counted from 0, of these kinds, in ascending order.
    /// Relation, index and snapshot must outlive it.
    pub unsafe fn new(
        relation: &Relation,
        index: pg_sys::Relation,
        snapshot: pg_sys::Snapshot,
        kinds: [Kind; KEYS],
        places: [usize; KEYS],
    ) -> Self {
        // SAFETY: promised by the caller.
        unsafe {
            let descriptor = (*relation.as_ptr()).rd_att;
            let mut keys = [pg_sys::ScanKeyData::default(); KEYS];
            for (number, entry) in keys.iter_mut().enumerate() {
                let equal = match kinds[number] {
                    Kind::Small => pg_sys::F_INT4EQ,
                    Kind::Wide => pg_sys::F_INT8EQ,
                    Kind::Double => pg_sys::F_FLOAT8EQ,
                };
                pg_sys::ScanKeyInit(
                    entry,
                    number as i16 + 1,
                    pg_sys::BTEqualStrategyNumber as u16,
                    pg_sys::Oid::from(equal),
                    pg_sys::Datum::from(0),
                );
            }
            Lookup {
                keys,
                scan: compat::begin_index_scan(relation.as_ptr(), index, snapshot, KEYS as i32),
                slot: pg_sys::MakeSingleTupleTableSlot(descriptor, &pg_sys::TTSOpsBufferHeapTuple),
                descriptor,
                kinds,
                places,
                pages: KeyPages::new(relation.as_ptr(), index, &kinds),
            }
        }
    }

    pub fn find(&mut self, key: [i64; KEYS]) -> Option<Row<COLUMNS>> {
        let mut values = [0; btree_key::COLUMNS];
        values[..KEYS].copy_from_slice(&key);
        let count = self.pages.find(values);
        for number in (0..count).rev().take(MOST_PLACES) {
            let row = self.at(self.pages.known(number), key);
            if row.is_some() {
                return row;
            }
        }
        self.search(key)
    }

    /// The row at a place, or the version of it that the snapshot sees, if it has this key.
    fn at(&mut self, place: pg_sys::ItemPointerData, key: [i64; KEYS]) -> Option<Row<COLUMNS>> {
        // SAFETY: the scan is open, and the place is one of the table's.
        unsafe {
            (*self.scan).xs_heaptid = place;
            (*self.scan).xs_heap_continue = false;
            if !pg_sys::index_fetch_heap(self.scan, self.slot) {
                return None;
            }
        }
        let row = self.row(&place);
        row.has(&self.places, datums(&self.kinds, key)).then_some(row)
    }

    /// The server's own search.
    fn search(&mut self, key: [i64; KEYS]) -> Option<Row<COLUMNS>> {
        let datums = datums(&self.kinds, key);
        for (entry, part) in self.keys.iter_mut().zip(datums) {
            entry.sk_argument = part;
        }
        // SAFETY: the scan is open; the keys are copied by it.
        unsafe {
            let keys = self.keys.as_mut_ptr();
            pg_sys::index_rescan(self.scan, keys, KEYS as i32, std::ptr::null_mut(), 0);
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            loop {
                let place = pg_sys::index_getnext_tid(self.scan, forward);
                if place.is_null() {
                    return None;
                }
                let root = *place;
                if pg_sys::index_fetch_heap(self.scan, self.slot) {
                    return Some(self.row(&root));
                }
            }
        }
    }

    /// The row that was found.
    fn row(&self, root: &pg_sys::ItemPointerData) -> Row<COLUMNS> {
        // SAFETY: a tuple that is found stays pinned by the slot.
        unsafe {
            Row::of(
                (*self.slot.cast::<pg_sys::HeapTupleTableSlot>()).tuple,
                self.descriptor,
                pack_place(root),
            )
        }
    }
}

impl<const KEYS: usize, const COLUMNS: usize> Drop for Lookup<KEYS, COLUMNS> {
    fn drop(&mut self) {
        // After an error the rollback ends the scan and gives back what is pinned.
        if !std::thread::panicking() {
            // SAFETY: begun here, ended once, before the relations are closed.
            unsafe {
                pg_sys::index_endscan(self.scan);
                pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            }
        }
    }
}

/// The key as the server compares it.
fn datums<const KEYS: usize>(kinds: &[Kind; KEYS], key: [i64; KEYS]) -> [pg_sys::Datum; KEYS] {
    std::array::from_fn(|part| match kinds[part] {
        Kind::Small => pg_sys::Datum::from(key[part] as i32),
        Kind::Wide => pg_sys::Datum::from(key[part]),
        Kind::Double => pg_sys::Datum::from(btree_key::unordered(key[part]).to_bits()),
    })
}

/// Looks for rows where an index found them some time ago. Mostly they are still there, and no index is looked at, nor opened.
pub struct Near<const KEYS: usize, const COLUMNS: usize> {
    table: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    kinds: [Kind; KEYS],
    places: [usize; KEYS],
    /// The page of the last one, pinned; 0 for none.
    page: pg_sys::Buffer,
    /// Pages of the table when it was first asked: it never gets shorter while it is open.
    blocks: Option<u32>,
}

impl<const KEYS: usize, const COLUMNS: usize> Near<KEYS, COLUMNS> {
    /// # Safety
    /// Of one key the snapshot, as statements have it, must see no more than one row. It and the relation must outlive this. The columns of
    /// the key are at `places`, counted from 0, and of these kinds.
    pub unsafe fn new(
        relation: &Relation,
        snapshot: pg_sys::Snapshot,
        kinds: [Kind; KEYS],
        places: [usize; KEYS],
    ) -> Self {
        Near {
            table: relation.as_ptr(),
            snapshot,
            kinds,
            places,
            page: 0,
            blocks: None,
        }
    }

    /// The row with this key, if it is there and the snapshot sees it.
    pub fn find(&mut self, hint: u64, key: [i64; KEYS]) -> Option<Row<COLUMNS>> {
        let block = u32::try_from(hint >> 16).ok()?;
        if hint == 0 || block >= self.blocks() {
            return None;
        }
        let mut place = unpack_place(hint);
        let mut tuple = pg_sys::HeapTupleData::default();
        // SAFETY: the table is open and has that page, which is looked at under its lock. What the snapshot sees stays there as
        // long as the page is pinned.
        let row = unsafe {
            self.page = pg_sys::ReleaseAndReadBuffer(self.page, self.table, block);
            pg_sys::LockBuffer(self.page, pg_sys::BUFFER_LOCK_SHARE as i32);
            let is_seen = pg_sys::heap_hot_search_buffer(
                &mut place,
                self.table,
                self.page,
                self.snapshot,
                &mut tuple,
                std::ptr::null_mut(),
                true,
            );
            pg_sys::LockBuffer(self.page, pg_sys::BUFFER_LOCK_UNLOCK as i32);
            if !is_seen {
                return None;
            }
            Row::of(&mut tuple, (*self.table).rd_att, hint)
        };
        row.has(&self.places, datums(&self.kinds, key)).then_some(row)
    }

    fn blocks(&mut self) -> u32 {
        let table = self.table;
        // SAFETY: the table is open.
        *self.blocks.get_or_insert_with(|| unsafe {
            pg_sys::RelationGetNumberOfBlocksInFork(table, pg_sys::ForkNumber::MAIN_FORKNUM)
        })
    }
}

impl<const KEYS: usize, const COLUMNS: usize> Drop for Near<KEYS, COLUMNS> {
    fn drop(&mut self) {
        // After an error the rollback gives back what is pinned.
        if !std::thread::panicking() && self.page != 0 {
            // SAFETY: pinned by us, given back once.
            unsafe { pg_sys::ReleaseBuffer(self.page) }
        }
    }
}
