//! An index that is open to have entries put in.

use pgrx::pg_sys;

use super::compat;

/// Its lock stays to the end of the transaction.
pub struct WriteIndex {
    pub(super) pointer: pg_sys::Relation,
    pub(super) info: *mut pg_sys::IndexInfo,
}

impl WriteIndex {
    /// # Safety
    /// It must be an index of a table that is open and locked.
    pub unsafe fn open(oid: pg_sys::Oid, lock: u32) -> WriteIndex {
        // SAFETY: promised by the caller.
        unsafe {
            let pointer = pg_sys::index_open(oid, lock as i32);
            WriteIndex {
                pointer,
                info: pg_sys::BuildIndexInfo(pointer),
            }
        }
    }
}

impl Drop for WriteIndex {
    fn drop(&mut self) {
        // After an error the rollback closes it.
        if !std::thread::panicking() {
            // SAFETY: opened here, closed once.
            unsafe {
                compat::end_index_insertions(self.pointer, self.info);
                pg_sys::index_close(self.pointer, pg_sys::NoLock as i32);
            }
        }
    }
}
