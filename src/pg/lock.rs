//! The extension in its catalog, and the lock that keeps it in place while a task works on its tables.

use std::ffi::CStr;

use pgrx::pg_sys;

const EXTENSION_CATALOG: pg_sys::Oid = pg_sys::ExtensionRelationId;

/// The oid of the extension, None when it is not installed. Sees what was committed up to now, whatever snapshot is in force.
pub fn extension_oid() -> Option<pg_sys::Oid> {
    // SAFETY: a catalog lookup with a static C string.
    let oid = unsafe { pg_sys::get_extension_oid(NAME.as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

const NAME: &CStr = c"pg_telemetry";

/// What the catalog says of the extension.
pub struct Entry {
    pub oid: pg_sys::Oid,
    pub schema: String,
    pub version: String,
}

/// None when it is not installed. As `extension_oid`; far cheaper than SQL, since a flusher asks ten times a second.
pub fn entry() -> Option<Entry> {
    // SAFETY: the catalog is open while it is scanned for a name, and the row is there until the scan ends; none of the three
    // columns can be NULL. The C strings are copied.
    unsafe {
        let catalog = pg_sys::table_open(EXTENSION_CATALOG, pg_sys::AccessShareLock as i32);
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            pg_sys::Anum_pg_extension_extname as pg_sys::AttrNumber,
            pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
            pg_sys::Oid::from(pg_sys::F_NAMEEQ),
            pg_sys::Datum::from(NAME.as_ptr()),
        );
        let index = pg_sys::Oid::from(pg_sys::ExtensionNameIndexId);
        let scan = pg_sys::systable_beginscan(catalog, index, true, std::ptr::null_mut(), 1, &mut key);
        let row = pg_sys::systable_getnext(scan);
        let found = (!row.is_null()).then(|| {
            let mut values = [pg_sys::Datum::from(0); pg_sys::Natts_pg_extension as usize];
            let mut nulls = [false; pg_sys::Natts_pg_extension as usize];
            let descriptor = (*catalog).rd_att;
            pg_sys::heap_deform_tuple(row, descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
            let value = |number: u32| values[number as usize - 1];
            let oid = |number: u32| pg_sys::Oid::from(value(number).value() as u32);
            let version = pg_sys::text_to_cstring(value(pg_sys::Anum_pg_extension_extversion).cast_mut_ptr());
            Entry {
                oid: oid(pg_sys::Anum_pg_extension_oid),
                schema: owned(pg_sys::get_namespace_name(oid(
                    pg_sys::Anum_pg_extension_extnamespace,
                ))),
                version: owned(version),
            }
        });
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, pg_sys::AccessShareLock as i32);
        found
    }
}

/// A string of the server, which is given back.
///
/// # Safety
/// It must be NULL or a C string of its own.
unsafe fn owned(text: *mut std::ffi::c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: promised by the caller.
    unsafe {
        let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
        pg_sys::pfree(text.cast());
        copy
    }
}

/// Holds DROP EXTENSION off until the end of the transaction. False when somebody is dropping it just now: waiting for that
/// would be in vain, and could deadlock.
pub fn keep_extension(extension: pg_sys::Oid) -> bool {
    // SAFETY: takes a lock of this transaction.
    unsafe {
        pg_sys::ConditionalLockDatabaseObject(
            EXTENSION_CATALOG,
            extension,
            0,
            pg_sys::AccessShareLock as pg_sys::LOCKMODE,
        )
    }
}
