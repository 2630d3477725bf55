//! Exchanging the files of two tables, and of their indexes, as the server itself does it for CLUSTER. What refers to either of
//! them by its number stays as it is: partitions, privileges, policies, triggers, plans, statistics.

use std::ffi::CString;

use pgrx::pg_sys;

use super::compat;
use super::relation::Relation;

unsafe extern "C-unwind" {
    // Exported by the server, but not bound by pgrx.
    fn TransferPredicateLocksToHeapRelation(relation: pg_sys::Relation);
    fn toast_get_valid_index(toast: pg_sys::Oid, lock: i32) -> pg_sys::Oid;
}

const PG_CLASS: pg_sys::Oid = pg_sys::RelationRelationId;

/// Locks against everybody a table and its indexes, or raises the error of `lock_timeout`.
pub fn lock_all(table: pg_sys::Oid, indexes: impl IntoIterator<Item = pg_sys::Oid>) {
    let all = std::iter::once(table).chain(indexes);
    // SAFETY: locks of this transaction.
    all.for_each(|oid| unsafe { pg_sys::LockRelationOid(oid, pg_sys::AccessExclusiveLock as i32) });
}

/// Writes out the WAL so far, so that the next commit has little to write.
pub fn flush_wal() {
    // SAFETY: up to where this process itself has written.
    unsafe { pg_sys::XLogFlush(pg_sys::GetXLogInsertRecPtr()) }
}

/// Exchanges the files of two tables and of their indexes, pair by pair. All must be locked against everybody, and the tables
/// must have the same columns.
pub fn exchange(tables: (pg_sys::Oid, pg_sys::Oid), indexes: &[(pg_sys::Oid, pg_sys::Oid)]) {
    // Rows have other places from now on: a serializable transaction that read one of them has read the table.
    let table = Relation::open_locked(tables.0);
    // SAFETY: open and locked.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| TransferPredicateLocksToHeapRelation(table.as_ptr())) }
    drop(table);
    exchange_one(tables);
    indexes.iter().copied().for_each(exchange_one);
    // SAFETY: between two commands of a transaction.
    unsafe { pg_sys::CommandCounterIncrement() }
}

fn exchange_one((one, other): (pg_sys::Oid, pg_sys::Oid)) {
    // SAFETY: both rows of the catalog are copies, found by their key, and nobody else can change them meanwhile, as their
    // tables are locked. The server notices for itself that what it keeps about them is out of date.
    unsafe {
        let catalog = pg_sys::table_open(PG_CLASS, pg_sys::RowExclusiveLock as i32);
        let (row, other_row) = (copy_of_row(one), copy_of_row(other));
        let (class, other_class) = (class_of(row), class_of(other_row));
        std::mem::swap(&mut (*class).relfilenode, &mut (*other_class).relfilenode);
        std::mem::swap(&mut (*class).reltablespace, &mut (*other_class).reltablespace);
        std::mem::swap(&mut (*class).relam, &mut (*other_class).relam);
        std::mem::swap(&mut (*class).reltoastrelid, &mut (*other_class).reltoastrelid);
        std::mem::swap(&mut (*class).relfrozenxid, &mut (*other_class).relfrozenxid);
        std::mem::swap(&mut (*class).relminmxid, &mut (*other_class).relminmxid);
        compat::swap_sizes(&mut *class, &mut *other_class);
        for row in [row, other_row] {
            pg_sys::CatalogTupleUpdate(catalog, &mut (*row).t_self, row);
        }
        let toasts = ((*class).reltoastrelid, (*other_class).reltoastrelid);
        for toast in [toasts.0, toasts.1] {
            if toast != pg_sys::InvalidOid {
                pg_sys::deleteDependencyRecordsFor(PG_CLASS, toast, false);
            }
        }
        for (toast, of) in [(toasts.0, one), (toasts.1, other)] {
            if toast != pg_sys::InvalidOid {
                pg_sys::recordDependencyOn(
                    &address(toast),
                    &address(of),
                    pg_sys::DependencyType::DEPENDENCY_INTERNAL,
                );
            }
        }
        pg_sys::heap_freetuple(row);
        pg_sys::heap_freetuple(other_row);
        pg_sys::table_close(catalog, pg_sys::RowExclusiveLock as i32);
    }
}

fn address(relation: pg_sys::Oid) -> pg_sys::ObjectAddress {
    pg_sys::ObjectAddress {
        classId: PG_CLASS,
        objectId: relation,
        objectSubId: 0,
    }
}

/// # Safety
/// The relation must be there and locked.
unsafe fn copy_of_row(relation: pg_sys::Oid) -> pg_sys::HeapTuple {
    let none = pg_sys::Datum::from(0);
    // SAFETY: promised by the caller; a copy.
    unsafe {
        pg_sys::SearchSysCacheCopy(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            pg_sys::Datum::from(relation),
            none,
            none,
            none,
        )
    }
}

/// # Safety
/// Must be a row of pg_class.
unsafe fn class_of(row: pg_sys::HeapTuple) -> *mut pg_sys::FormData_pg_class {
    // SAFETY: promised by the caller.
    unsafe {
        let header = (*row).t_data;
        header.cast::<u8>().add(usize::from((*header).t_hoff)).cast()
    }
}

/// The table for large values is called after its table, which after an exchange it is not. Only once the name is free, and only
/// when nobody is using it.
pub fn name_toast_after(table: pg_sys::Oid) {
    let relation = Relation::open_to_read(table);
    // SAFETY: open; the toast table and its index belong to it.
    unsafe {
        let toast = (*(*relation.as_ptr()).rd_rel).reltoastrelid;
        if toast == pg_sys::InvalidOid
            || !pg_sys::ConditionalLockRelationOid(toast, pg_sys::AccessExclusiveLock as i32)
        {
            return;
        }
        let index = pg_sys::ffi::pg_guard_ffi_boundary(|| {
            toast_get_valid_index(toast, pg_sys::AccessExclusiveLock as i32)
        });
        let name = format!("pg_toast_{}", table.to_u32());
        for (oid, name, is_index) in [
            (toast, name.clone(), false),
            (index, format!("{name}_index"), true),
        ] {
            if super::relation::name_of(oid) != name
                && let Ok(name) = CString::new(name)
            {
                pg_sys::RenameRelationInternal(oid, name.as_ptr(), true, is_index);
            }
        }
    }
}
