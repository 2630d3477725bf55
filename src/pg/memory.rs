//! Memory of the server that is given back in one piece.

use pgrx::pg_sys;
use pgrx::prelude::*;

/// A memory context below the current one. After an error the rollback frees it.
pub struct Scratch {
    context: pg_sys::MemoryContext,
}

impl Scratch {
    pub fn new() -> Scratch {
        // SAFETY: a static name; the parent is the current context.
        let context = unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"pg_telemetry flush".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            )
        };
        Scratch { context }
    }

    /// Runs `body` with this as the current context, and keeps what it allocates.
    pub fn within<T>(&self, body: impl FnOnce() -> T) -> T {
        // SAFETY: the context lives as long as self; after an error the rollback sets the current one.
        unsafe {
            let before = pg_sys::MemoryContextSwitchTo(self.context);
            let value = body();
            pg_sys::MemoryContextSwitchTo(before);
            value
        }
    }

    /// Frees all that was allocated within.
    pub fn reset(&self) {
        // SAFETY: nobody keeps pointers into it; promised by those who allocate there.
        unsafe { pg_sys::MemoryContextReset(self.context) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: as for reset.
            unsafe { pg_sys::MemoryContextDelete(self.context) }
        }
    }
}

/// An error like any other where there is no room for so many bytes more.
pub fn out_of_memory(bytes: usize) {
    ereport!(
        ERROR,
        PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY,
        "out of memory for a batch of the flush",
        format!("It needed {bytes} bytes more.")
    );
}
