//! What differs between the major versions, and nothing else.

use pgrx::pg_sys;

/// Installs a signal handler of this process.
///
/// # Safety
/// The handler must be safe to run at any point of the process.
pub unsafe fn install_signal_handler(signal: i32, handler: unsafe extern "C-unwind" fn(i32)) {
    #[cfg(not(feature = "pg18"))]
    // SAFETY: a plain signal number and a handler that the caller vouches for.
    unsafe {
        pg_sys::pqsignal(signal, Some(handler));
    }
    #[cfg(feature = "pg18")]
    // SAFETY: as above.
    unsafe {
        pg_sys::pqsignal_be(signal, Some(handler));
    }
}

/// Whether the current user owns the database, directly or as a member.
pub fn owns_database(database: pg_sys::Oid) -> bool {
    #[cfg(feature = "pg15")]
    // SAFETY: a catalog lookup inside a transaction.
    return unsafe { pg_sys::pg_database_ownercheck(database, pg_sys::GetUserId()) };
    #[cfg(not(feature = "pg15"))]
    // SAFETY: as above.
    return unsafe { pg_sys::object_ownercheck(pg_sys::DatabaseRelationId, database, pg_sys::GetUserId()) };
}

/// Whether the current user may use the database as a template: what CREATE DATABASE itself asks for.
pub fn may_copy_database(database: pg_sys::Oid) -> bool {
    owns_database(database) || (may_create_databases() && super::databases::is_template(database))
}

fn may_create_databases() -> bool {
    #[cfg(feature = "pg15")]
    {
        // SAFETY: a catalog lookup inside a transaction; the row is released after use.
        unsafe {
            let role = pg_sys::SearchSysCache1(
                pg_sys::SysCacheIdentifier::AUTHOID as i32,
                pg_sys::Datum::from(pg_sys::GetUserId()),
            );
            if role.is_null() {
                return false;
            }
            let header = (*role).t_data;
            let row = header
                .cast::<u8>()
                .add(usize::from((*header).t_hoff))
                .cast::<pg_sys::FormData_pg_authid>();
            let may = (*row).rolcreatedb;
            pg_sys::ReleaseSysCache(role);
            may
        }
    }
    #[cfg(not(feature = "pg15"))]
    // SAFETY: a catalog lookup inside a transaction.
    return unsafe { pg_sys::have_createdb_privilege() };
}

/// One column of a tuple descriptor.
///
/// # Safety
/// The descriptor must have that column.
pub unsafe fn column(descriptor: pg_sys::TupleDesc, index: i32) -> *const pg_sys::FormData_pg_attribute {
    #[cfg(not(feature = "pg18"))]
    // SAFETY: promised by the caller.
    unsafe {
        (*descriptor).attrs.as_ptr().add(index as usize)
    }
    #[cfg(feature = "pg18")]
    // SAFETY: promised by the caller.
    unsafe {
        pg_sys::TupleDescAttr(descriptor, index)
    }
}

/// What an index may have kept for the insertions of one statement.
///
/// # Safety
/// Both must belong together and be open.
pub unsafe fn end_index_insertions(index: pg_sys::Relation, info: *mut pg_sys::IndexInfo) {
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    // SAFETY: promised by the caller.
    unsafe {
        pg_sys::index_insert_cleanup(index, info);
    }
    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
    let _ = (index, info);
}

/// The server's number for its statement timeout, the same in all majors so far.
pub const STATEMENT_TIMEOUT: i32 = 3;
