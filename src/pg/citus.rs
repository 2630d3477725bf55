//! What Citus says about a table.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::relation::Relation;

/// The catalog of Citus for distributed tables; its first column is the table.
const CATALOG: &CStr = c"pg_dist_partition";

/// Whether the rows of a table are elsewhere: what is written to its own storage would be seen by nobody.
pub fn is_distributed(table: pg_sys::Oid) -> bool {
    // SAFETY: a lookup in the caches, which remember that there is no such table as well.
    let catalog = unsafe {
        pg_sys::get_relname_relid(CATALOG.as_ptr(), pg_sys::Oid::from(pg_sys::PG_CATALOG_NAMESPACE))
    };
    if catalog == pg_sys::InvalidOid {
        return false;
    }
    let catalog = Relation::open_to_read(catalog);
    // SAFETY: a scan of an open table for rows that have the oid in their first column.
    unsafe {
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            1,
            pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
            pg_sys::Oid::from(pg_sys::F_OIDEQ),
            pg_sys::Datum::from(table),
        );
        let scan = pg_sys::systable_beginscan(
            catalog.as_ptr(),
            pg_sys::InvalidOid,
            false,
            std::ptr::null_mut(),
            1,
            &mut key,
        );
        let found = !pg_sys::systable_getnext(scan).is_null();
        pg_sys::systable_endscan(scan);
        found
    }
}
