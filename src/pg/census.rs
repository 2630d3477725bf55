//! What pg_class and pg_index say of many tables, by one pass over each, as of now. With ten thousand partitions a join of the two
//! takes several times as long.

use std::collections::HashMap;
use std::ffi::CStr;
use std::hash::{BuildHasherDefault, Hasher};

use pgrx::pg_sys;

use super::relation::Relation;

/// A table, by its catalog row.
#[derive(Debug, Default)]
pub struct Entry {
    pub name: String,
    pub schema: pg_sys::Oid,
    /// An ordinary table, neither partitioned nor foreign.
    pub is_plain: bool,
    /// As of the last vacuum or analyze; None before the first.
    pub rows: Option<i64>,
    /// With those of its TOAST table.
    pub pages: i64,
    /// Of its indexes.
    pub index_pages: i64,
    /// None where there is nothing to freeze.
    pub xid_age: Option<i64>,
    toast: u32,
}

/// Numbers of relations are given out one after another, so one multiplication spreads them well enough.
#[derive(Default)]
pub struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// By the number of a relation.
pub type ByOid<T> = HashMap<u32, T, BuildHasherDefault<Spread>>;

/// Those of these tables that there are.
pub fn census(tables: impl Iterator<Item = pg_sys::Oid>) -> ByOid<Entry> {
    let mut found: ByOid<Entry> = tables.map(|oid| (oid.to_u32(), Entry::default())).collect();
    // SAFETY: the counter of transactions.
    let next_xid = unsafe { pg_sys::ReadNextFullTransactionId().value as u32 };
    let mut pages: ByOid<i64> = ByOid::default();
    each_row(pg_sys::RelationRelationId, |class: &pg_sys::FormData_pg_class| {
        let oid = class.oid.to_u32();
        pages.insert(oid, i64::from(class.relpages));
        if let Some(entry) = found.get_mut(&oid) {
            let frozen = class.relfrozenxid.into_inner();
            *entry = Entry {
                // SAFETY: a name of the catalog ends with a zero.
                name: unsafe { CStr::from_ptr(class.relname.data.as_ptr()) }
                    .to_string_lossy()
                    .into_owned(),
                schema: class.relnamespace,
                is_plain: class.relkind == pg_sys::RELKIND_RELATION as i8,
                rows: (class.reltuples >= 0.0).then_some(class.reltuples as i64),
                pages: i64::from(class.relpages),
                index_pages: 0,
                xid_age: (frozen != 0).then(|| i64::from(next_xid.wrapping_sub(frozen) as i32)),
                toast: class.reltoastrelid.to_u32(),
            };
        }
    });
    found.retain(|_, entry| !entry.name.is_empty());
    let of = |oid: u32| pages.get(&oid).copied().unwrap_or(0);
    for entry in found.values_mut().filter(|entry| entry.toast != 0) {
        entry.pages += of(entry.toast);
    }
    each_row(pg_sys::IndexRelationId, |index: &pg_sys::FormData_pg_index| {
        if let Some(entry) = found.get_mut(&index.indrelid.to_u32()) {
            entry.index_pages += of(index.indexrelid.to_u32());
        }
    });
    found
}

/// Every row of a catalog, the part of it that has a fixed layout, which `Row` must be.
fn each_row<Row>(catalog: pg_sys::Oid, mut each: impl FnMut(&Row)) {
    let catalog = Relation::open_to_read(catalog);
    // SAFETY: a scan of an open catalog without a key; each row is looked at before the next one is asked for.
    unsafe {
        let scan = pg_sys::systable_beginscan(
            catalog.as_ptr(),
            pg_sys::InvalidOid,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        loop {
            pgrx::check_for_interrupts!();
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let header = (*tuple).t_data;
            let row = header
                .cast::<u8>()
                .add(usize::from((*header).t_hoff))
                .cast::<Row>();
            each(&*row);
        }
        pg_sys::systable_endscan(scan);
    }
}
