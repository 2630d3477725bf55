//! Rows of a table by their key, as they lie on their pages.

use pgrx::pg_sys;

use super::btree_page::{self, Kind, pack_place, unpack_place};
use super::compat;
use super::key_pages::KeyPages;
use super::relation::Relation;

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
    /// Pages of the table when a hint was first believed: it never gets shorter while it is open.
    blocks: Option<u32>,
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
                blocks: None,
            }
        }
    }

    pub fn find(&mut self, key: [i64; KEYS]) -> Option<Row<COLUMNS>> {
        let mut values = [0; btree_page::COLUMNS];
        values[..KEYS].copy_from_slice(&key);
        match self.pages.place(values) {
            Some(place) => self.at(place, key).or_else(|| self.search(key)),
            None => self.search(key),
        }
    }

    /// The same for a row that was found at this place some time ago. Mostly it is still there, and no index is looked at.
    pub fn find_near(&mut self, hint: u64, key: [i64; KEYS]) -> Option<Row<COLUMNS>> {
        if hint != 0
            && (hint >> 16) < u64::from(self.blocks())
            && let Some(row) = self.at(unpack_place(hint), key)
        {
            return Some(row);
        }
        self.find(key)
    }

    fn blocks(&mut self) -> u32 {
        // SAFETY: the scan is open, and so is its table.
        *self.blocks.get_or_insert_with(|| unsafe {
            pg_sys::RelationGetNumberOfBlocksInFork(
                (*self.scan).heapRelation,
                pg_sys::ForkNumber::MAIN_FORKNUM,
            )
        })
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
        let is_it =
            (self.places.iter().zip(self.datums(key))).all(|(column, part)| row.values[*column] == part);
        is_it.then_some(row)
    }

    /// The server's own search.
    fn search(&mut self, key: [i64; KEYS]) -> Option<Row<COLUMNS>> {
        let datums = self.datums(key);
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

    /// The key as the server compares it.
    fn datums(&self, key: [i64; KEYS]) -> [pg_sys::Datum; KEYS] {
        std::array::from_fn(|part| match self.kinds[part] {
            Kind::Small => pg_sys::Datum::from(key[part] as i32),
            Kind::Wide => pg_sys::Datum::from(key[part]),
            Kind::Double => pg_sys::Datum::from(btree_page::unordered(key[part]).to_bits()),
        })
    }

    /// The row that was found.
    fn row(&self, root: &pg_sys::ItemPointerData) -> Row<COLUMNS> {
        // SAFETY: a tuple that is found stays pinned by the slot.
        unsafe {
            let tuple = (*self.slot.cast::<pg_sys::HeapTupleTableSlot>()).tuple;
            let mut row = Row {
                place: (*tuple).t_self,
                root: pack_place(root),
                is_free: u32::from((*(*tuple).t_data).t_infomask) & pg_sys::HEAP_XMAX_INVALID != 0,
                values: [pg_sys::Datum::from(0); COLUMNS],
                nulls: [true; COLUMNS],
            };
            let (values, nulls) = (row.values.as_mut_ptr(), row.nulls.as_mut_ptr());
            pg_sys::heap_deform_tuple(tuple, self.descriptor, values, nulls);
            row
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
