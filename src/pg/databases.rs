//! The databases of the cluster, read by a worker that is connected to none of them.

use pgrx::pg_sys;
use std::ffi::CStr;

/// All databases that accept connections. Needs a transaction.
pub fn connectable() -> Vec<u32> {
    select(|row| {
        // -2 marks a database whose DROP was interrupted; nobody can connect to it.
        (row.datallowconn && row.datconnlimit != -2).then(|| row.oid.to_u32())
    })
}

/// Whether anybody who may create databases may copy this one. Needs a transaction.
pub fn is_template(database: pg_sys::Oid) -> bool {
    select(|row| (row.oid == database && row.datistemplate).then_some(())).len() == 1
}

fn select<T>(wanted: impl Fn(&pg_sys::FormData_pg_database) -> Option<T>) -> Vec<T> {
    let mut found = Vec::new();
    // SAFETY: a sequential scan of a shared catalog under its lock; a row is only looked at while the scan stands on it.
    unsafe {
        let catalog = pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as i32);
        let scan = pg_sys::table_beginscan_catalog(catalog, 0, std::ptr::null_mut());
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            let header = (*tuple).t_data;
            let row = header
                .cast::<u8>()
                .add(usize::from((*header).t_hoff))
                .cast::<pg_sys::FormData_pg_database>();
            found.extend(wanted(&*row));
        }
        pg_sys::table_endscan(scan);
        pg_sys::table_close(catalog, pg_sys::AccessShareLock as i32);
    }
    found
}

/// The oid of a database; None when there is none of this name. Needs a transaction.
pub fn find(name: &CStr) -> Option<u32> {
    // SAFETY: a catalog lookup with a valid C string.
    let oid = unsafe { pg_sys::get_database_oid(name.as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then(|| oid.to_u32())
}
