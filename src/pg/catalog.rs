//! What the catalogs say, without SQL: from the caches of the server, or by one look at an index. As of now, whatever snapshot
//! is in force.

use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicU64, Ordering};

use pgrx::pg_sys;

use super::btree_key::{pack_place, unpack_place};
use super::relation::Relation;

/// An installed extension.
pub struct Extension {
    pub oid: pg_sys::Oid,
    pub schema: String,
    pub version: String,
}

/// More columns than the catalog has in any major version.
const MOST_COLUMNS: usize = 32;

/// Where the row of our extension was last found, as `pack_place` has it; 0 before.
static LAST_PLACE: AtomicU64 = AtomicU64::new(0);

/// Each call of a function of ours asks for it, and no cache of the server has it: so it is looked for at the place where it was
/// before, and with the index when it is not there.
pub fn extension(name: &CStr) -> Option<Extension> {
    let catalog = Relation::open_to_read(pg_sys::ExtensionRelationId);
    at_last_place(&catalog, name).or_else(|| by_index(&catalog, name))
}

fn at_last_place(catalog: &Relation, name: &CStr) -> Option<Extension> {
    let place = LAST_PLACE.load(Ordering::Relaxed);
    // The catalog may have been rewritten, and is shorter then.
    if place == 0 || (place >> 16) >= u64::from(catalog.blocks()) {
        return None;
    }
    let mut tuple = pg_sys::HeapTupleData {
        t_self: unpack_place(place),
        ..Default::default()
    };
    let mut buffer = 0;
    // SAFETY: an open catalog, and a snapshot of what is committed now, as a scan of it would take. The page is pinned as long as
    // the row is read.
    unsafe {
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetCatalogSnapshot(pg_sys::ExtensionRelationId));
        let is_seen = pg_sys::heap_fetch(catalog.as_ptr(), snapshot, &mut tuple, &mut buffer, false);
        let found = is_seen.then(|| read(catalog, &mut tuple, name)).flatten();
        if is_seen {
            pg_sys::ReleaseBuffer(buffer);
        }
        pg_sys::UnregisterSnapshot(snapshot);
        found
    }
}

fn by_index(catalog: &Relation, name: &CStr) -> Option<Extension> {
    // SAFETY: a scan of an open catalog by its index on names; what is found is copied before the scan ends.
    unsafe {
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            pg_sys::Anum_pg_extension_extname as pg_sys::AttrNumber,
            pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
            pg_sys::Oid::from(pg_sys::F_NAMEEQ),
            pg_sys::Datum::from(name.as_ptr()),
        );
        let scan = pg_sys::systable_beginscan(
            catalog.as_ptr(),
            pg_sys::Oid::from(pg_sys::ExtensionNameIndexId),
            true,
            std::ptr::null_mut(),
            1,
            &mut key,
        );
        let tuple = pg_sys::systable_getnext(scan);
        let found = (!tuple.is_null()).then(|| read(catalog, tuple, name)).flatten();
        if found.is_some() {
            LAST_PLACE.store(pack_place(&(*tuple).t_self), Ordering::Relaxed);
        }
        pg_sys::systable_endscan(scan);
        found
    }
}

/// None if it is the row of another extension.
///
/// # Safety
/// The tuple must be one of pg_extension, which `catalog` is.
unsafe fn read(catalog: &Relation, tuple: pg_sys::HeapTuple, name: &CStr) -> Option<Extension> {
    let mut values = [pg_sys::Datum::null(); MOST_COLUMNS];
    let mut nulls = [true; MOST_COLUMNS];
    // SAFETY: the catalog has fewer columns than the arrays; the types of these three are known.
    unsafe {
        let descriptor = (*catalog.as_ptr()).rd_att;
        if (*descriptor).natts as usize > MOST_COLUMNS {
            return None;
        }
        pg_sys::heap_deform_tuple(tuple, descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
        let value = |number: u32| values[number as usize - 1];
        let its_name = value(pg_sys::Anum_pg_extension_extname).cast_mut_ptr::<pg_sys::NameData>();
        if CStr::from_ptr((*its_name).data.as_ptr()) != name {
            return None;
        }
        let schema = value(pg_sys::Anum_pg_extension_extnamespace).value() as u32;
        Some(Extension {
            oid: pg_sys::Oid::from(value(pg_sys::Anum_pg_extension_oid).value() as u32),
            schema: own(pg_sys::get_namespace_name(pg_sys::Oid::from(schema)))?,
            version: own(pg_sys::text_to_cstring(
                value(pg_sys::Anum_pg_extension_extversion).cast_mut_ptr(),
            ))?,
        })
    }
}

/// # Safety
/// A string of the server's, or null.
unsafe fn own(text: *mut std::ffi::c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: promised by the caller; freed after it was copied.
    unsafe {
        let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
        pg_sys::pfree(text.cast());
        Some(copy)
    }
}

/// The oid of a table, view, index, … by its name.
pub fn relation(schema: &str, name: &str) -> Option<pg_sys::Oid> {
    let (schema, name) = (CString::new(schema).ok()?, CString::new(name).ok()?);
    // SAFETY: lookups in the caches, with valid C strings.
    let oid = unsafe {
        let schema = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

pub fn schema_name(schema: pg_sys::Oid) -> Option<String> {
    // SAFETY: a catalog lookup inside a transaction; the name is a copy that is ours.
    unsafe { own(pg_sys::get_namespace_name(schema)) }
}
