//! The rows of one leaf of the projection, by their key.

use pgrx::pg_sys;

use super::btree_page::{pack_place, unpack_place};
use super::compat;
use super::jsonb::Jsonb;
use super::key_pages::KeyPages;
use super::relation::Relation;

pub const COLUMNS: usize = 6;
pub const KEYS: usize = 2;

/// The primary key of a leaf.
pub struct Key {
    pub(super) pointer: pg_sys::Relation,
    pub(super) info: *mut pg_sys::IndexInfo,
}

impl Key {
    /// None when it is not a plain unique index on the first two columns.
    pub fn open(oid: pg_sys::Oid, lock: u32) -> Option<Key> {
        // SAFETY: an index of an open table; dropped with its handle, whatever comes of the questions below.
        unsafe {
            let pointer = pg_sys::index_open(oid, lock as i32);
            let info = pg_sys::BuildIndexInfo(pointer);
            let key = Key { pointer, info };
            let index = (*pointer).rd_index;
            let plain = (*(*pointer).rd_rel).relam == pg_sys::BTREE_AM_OID
                && (*index).indisunique
                && (*index).indimmediate
                && (*index).indisvalid
                && (*index).indisready
                && (*info).ii_NumIndexAttrs == KEYS as i32
                && (*info).ii_NumIndexKeyAttrs == KEYS as i32
                && (&(*info).ii_IndexAttrNumbers)[..KEYS] == [1, 2]
                && (*info).ii_Expressions.is_null()
                && (*info).ii_Predicate.is_null();
            plain.then_some(key)
        }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // After an error the rollback closes it.
        if !std::thread::panicking() {
            // SAFETY: opened here, closed once; the lock stays to the end of the transaction.
            unsafe {
                compat::end_index_insertions(self.pointer, self.info);
                pg_sys::index_close(self.pointer, pg_sys::NoLock as i32);
            }
        }
    }
}

/// The document of an entity, as it lies on its page. Good until the next row of the leaf is looked for.
pub struct Row {
    pub(super) place: pg_sys::ItemPointerData,
    /// Where an index finds it: the place of its first version on the page.
    pub(super) root: u64,
    /// Nobody has locked it, nor had when it was looked at.
    pub(super) is_free: bool,
    pub(super) values: [pg_sys::Datum; COLUMNS],
    pub(super) nulls: [bool; COLUMNS],
}

impl Row {
    /// The document without its length in front; values that are kept elsewhere or compressed are fetched into the current
    /// memory context.
    pub fn attrs(&self) -> &[u8] {
        // SAFETY: a jsonb, NOT NULL, on a page that stays pinned, or in the current context.
        unsafe { content(self.values[4]) }
    }

    pub fn times(&self) -> Option<&[u8]> {
        // SAFETY: as above, a bytea.
        (!self.nulls[5]).then(|| unsafe { content(self.values[5]) })
    }

    /// The document as the server has it.
    pub fn document(&self) -> Jsonb<'_> {
        Jsonb::of(self.values[4])
    }

    /// Where an index finds it.
    pub fn root(&self) -> u64 {
        self.root
    }

    pub fn is_deleted(&self) -> bool {
        !self.nulls[3]
    }
}

/// # Safety
/// A varlena that lives as long as is claimed.
unsafe fn content<'a>(value: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: promised by the caller.
    unsafe {
        let whole = pg_sys::pg_detoast_datum_packed(value.cast_mut_ptr());
        let data = pgrx::varlena::vardata_any(whole).cast::<u8>();
        std::slice::from_raw_parts(data, pgrx::varlena::varsize_any_exhdr(whole))
    }
}

/// Looks rows up by their key.
pub struct Lookup {
    scan: pg_sys::IndexScanDesc,
    slot: *mut pg_sys::TupleTableSlot,
    descriptor: pg_sys::TupleDesc,
    keys: [pg_sys::ScanKeyData; KEYS],
    pages: KeyPages,
    /// Pages of the table when a hint was first believed: it never gets shorter while it is open.
    blocks: Option<u32>,
}

impl Lookup {
    /// # Safety
    /// Relation, key and snapshot must outlive it.
    pub unsafe fn new(relation: &Relation, key: &Key, snapshot: pg_sys::Snapshot) -> Lookup {
        // SAFETY: promised by the caller.
        unsafe {
            let descriptor = (*relation.as_ptr()).rd_att;
            let mut keys = [pg_sys::ScanKeyData::default(); KEYS];
            for (number, entry) in keys.iter_mut().enumerate() {
                pg_sys::ScanKeyInit(
                    entry,
                    number as i16 + 1,
                    pg_sys::BTEqualStrategyNumber as u16,
                    pg_sys::Oid::from(pg_sys::F_INT8EQ),
                    pg_sys::Datum::from(0),
                );
            }
            Lookup {
                keys,
                scan: compat::begin_index_scan(relation.as_ptr(), key.pointer, snapshot, KEYS as i32),
                slot: pg_sys::MakeSingleTupleTableSlot(descriptor, &pg_sys::TTSOpsBufferHeapTuple),
                descriptor,
                pages: KeyPages::new(relation.as_ptr(), key.pointer),
                blocks: None,
            }
        }
    }

    pub fn find(&mut self, tenant_id: i64, entity_id: i64) -> Option<Row> {
        match self.pages.place(tenant_id, entity_id) {
            Some(place) => self
                .at(place, tenant_id, entity_id)
                .or_else(|| self.search(tenant_id, entity_id)),
            None => self.search(tenant_id, entity_id),
        }
    }

    /// The same for a row that was found at this place some time ago. Mostly it is still there, and no index is looked at.
    pub fn find_near(&mut self, hint: u64, tenant_id: i64, entity_id: i64) -> Option<Row> {
        if hint != 0
            && (hint >> 16) < u64::from(self.blocks())
            && let Some(row) = self.at(unpack_place(hint), tenant_id, entity_id)
        {
            return Some(row);
        }
        self.find(tenant_id, entity_id)
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
    fn at(&mut self, place: pg_sys::ItemPointerData, tenant_id: i64, entity_id: i64) -> Option<Row> {
        // SAFETY: the scan is open, and the place is one of the table's.
        unsafe {
            (*self.scan).xs_heaptid = place;
            (*self.scan).xs_heap_continue = false;
            if !pg_sys::index_fetch_heap(self.scan, self.slot) {
                return None;
            }
        }
        let row = self.row(&place);
        let key = |column: usize| row.values[column].value() as i64;
        ((key(0), key(1)) == (tenant_id, entity_id)).then_some(row)
    }

    /// The server's own search.
    fn search(&mut self, tenant_id: i64, entity_id: i64) -> Option<Row> {
        self.keys[0].sk_argument = pg_sys::Datum::from(tenant_id);
        self.keys[1].sk_argument = pg_sys::Datum::from(entity_id);
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
    fn row(&self, root: &pg_sys::ItemPointerData) -> Row {
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

impl Drop for Lookup {
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
