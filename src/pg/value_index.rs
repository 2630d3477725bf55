//! The entities that have certain values, from the index of a table that has them by value: as an index-only scan of the executor,
//! without the executor.

use pgrx::pg_sys;

use super::citus;
use super::compat;
use super::heap_page;
use super::index_read::{Is, ReadIndex, Scalar};
use super::relation::{self, Relation};
use super::value_entries::Kind;
use super::xact;
use crate::error::Error;

/// Columns of the index: tenant, attribute, value, entity.
pub const COLUMNS: usize = 4;

const COLLATED: usize = 2;
const VALUE: i16 = 3;
const ENTITY: i16 = 4;

const MOST_KEYS: usize = COLUMNS;

/// Names of the table's columns that the index must have.
pub type Names = [&'static str; COLUMNS];

/// The table and its index, open, where they can be read without the executor.
pub struct Opened {
    pub(super) index: ReadIndex,
    pub(super) table: Relation,
    pub(super) kind: Kind,
}

/// The entries of one value, as the snapshot sees them. The scan is ended first, then the relations are closed.
pub struct ValueIndex {
    scan: Scan,
    opened: Opened,
}

struct Scan {
    scan: pg_sys::IndexScanDesc,
    /// A row that was looked at.
    slot: *mut pg_sys::TupleTableSlot,
    /// The page that says which pages of the table everybody sees whole; 0 for none.
    map: pg_sys::Buffer,
}

impl Drop for Scan {
    fn drop(&mut self) {
        // After an error the rollback ends it, and gives back what is pinned.
        if !std::thread::panicking() {
            // SAFETY: begun here, ended once, before the relations are closed.
            unsafe {
                if self.map != 0 {
                    pg_sys::ReleaseBuffer(self.map);
                }
                pg_sys::index_endscan(self.scan);
                pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            }
        }
    }
}

impl Opened {
    /// With values of the kind of `like`. None where only the executor is right.
    pub fn open(
        oid: pg_sys::Oid,
        [tenant, attribute, value, entity]: Names,
        like: &Scalar,
    ) -> Option<Opened> {
        // Pages that are read as they are would not tell.
        if compat::snapshots_grow_too_old() {
            return None;
        }
        let table = Relation::open_to_read(oid);
        let plain = table.is_plain_heap()
            && !table.has_children()
            && !xact::is_serializable()
            && !citus::is_distributed(oid);
        if !plain {
            return None;
        }
        let number = |name, kind| table.place(name, kind).map(|place| place as i16 + 1);
        let value = number(value, like.kind())?;
        let columns = [
            (number(tenant, pg_sys::INT8OID)?, pg_sys::F_BTINT8CMP),
            (number(attribute, pg_sys::INT4OID)?, pg_sys::F_BTINT4CMP),
            (value, like.order()),
            (number(entity, pg_sys::INT8OID)?, pg_sys::F_BTINT8CMP),
        ];
        let index = ReadIndex::of(&table, &columns, false, Some(value))?;
        let by_bytes = index.collation(COLLATED) == pg_sys::C_COLLATION_OID;
        // SAFETY: there may be none, which is said.
        let no_snapshot = unsafe { pg_sys::GetActiveSnapshot().is_null() };
        if matches!(like, Scalar::Text(_)) && !by_bytes || no_snapshot {
            return None;
        }
        Some(Opened {
            index,
            table,
            kind: Kind::of(like),
        })
    }

    /// A page of the index is not what it should be.
    pub(super) fn unreadable(&self) -> Error {
        Error::UnreadableRow(relation::name_of(self.index.oid()))
    }
}

impl ValueIndex {
    pub fn of(opened: Opened) -> ValueIndex {
        // SAFETY: table and index are open, and stay so as long as the scan, which is as long as the caller's snapshot.
        unsafe {
            let (table, index) = (opened.table.as_ptr(), opened.index.as_ptr());
            let snapshot = pg_sys::GetActiveSnapshot();
            let scan = compat::begin_index_scan(table, index, snapshot, MOST_KEYS as i32);
            // Entries are wanted, not rows.
            (*scan).xs_want_itup = true;
            let slot = pg_sys::MakeSingleTupleTableSlot((*table).rd_att, &pg_sys::TTSOpsBufferHeapTuple);
            ValueIndex {
                scan: Scan { scan, slot, map: 0 },
                opened,
            }
        }
    }

    /// Goes to the first entry with this value behind the entity `after`. Entities come in order, though perhaps more than once.
    pub fn seek(&mut self, tenant_id: i64, attribute_id: i32, value: &Scalar, after: Option<i64>) {
        let mut keys = [pg_sys::ScanKeyData::default(); MOST_KEYS];
        let none = pg_sys::InvalidOid;
        let collation = self.opened.index.collation(COLLATED);
        let conditions = [
            Scalar::Whole(tenant_id).key(1, Is::Equal, none),
            Scalar::Small(attribute_id).key(2, Is::Equal, none),
            value.key(VALUE, Is::Equal, collation),
        ];
        let after = after.map(|entity| Scalar::Whole(entity).key(ENTITY, Is::Above, none));
        let mut count = 0;
        for (place, key) in keys.iter_mut().zip(conditions.into_iter().chain(after)) {
            *place = key;
            count += 1;
        }
        // SAFETY: the scan is open, and was begun for so many keys or more; it takes fewer as well.
        unsafe {
            let scan = self.scan.scan;
            (*scan).numberOfKeys = count;
            pg_sys::index_rescan(scan, keys.as_mut_ptr(), count, std::ptr::null_mut(), 0);
        }
    }

    /// Gives back all pages; `seek` comes next.
    pub fn let_go(&mut self) {
        // SAFETY: the scan is open, and without keys only lets go of where it is; the slot is one of a buffered tuple, or empty.
        unsafe {
            let scan = self.scan.scan;
            let count = (*scan).numberOfKeys;
            pg_sys::index_rescan(scan, std::ptr::null_mut(), count, std::ptr::null_mut(), 0);
            pg_sys::ExecClearTuple(self.scan.slot);
            if self.scan.map != 0 {
                pg_sys::ReleaseBuffer(self.scan.map);
                self.scan.map = 0;
            }
        }
    }

    /// The entity of the next entry whose row the snapshot sees.
    pub fn next(&mut self) -> Option<i64> {
        let mut values = [pg_sys::Datum::null(); COLUMNS];
        let mut nulls = [true; COLUMNS];
        // SAFETY: the scan is open; an entry stays where it is until the next one is asked for, and has these columns. Its page
        // is pinned until then, which is why the map can be believed, as in the executor.
        unsafe {
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            let scan = self.scan.scan;
            loop {
                let place = pg_sys::index_getnext_tid(scan, forward);
                if place.is_null() {
                    return None;
                }
                let block = heap_page::block_of(&*place);
                let table = self.opened.table.as_ptr();
                let status = pg_sys::visibilitymap_get_status(table, block, &mut self.scan.map);
                let seen_by_all = u32::from(status) & pg_sys::VISIBILITYMAP_ALL_VISIBLE != 0;
                if seen_by_all || pg_sys::index_fetch_heap(scan, self.scan.slot) {
                    break;
                }
                pgrx::check_for_interrupts!();
            }
            let (entry, descriptor) = ((*scan).xs_itup, (*scan).xs_itupdesc);
            pg_sys::index_deform_tuple(entry, descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
        }
        Some(values[ENTITY as usize - 1].value() as i64)
    }
}
