//! How the library is being loaded.

use pgrx::pg_sys;

/// By the postmaster, as one of shared_preload_libraries: the only time to ask for shared memory and workers.
pub fn is_preload() -> bool {
    // SAFETY: a flag of this process.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// By a server that pg_upgrade started.
pub fn is_upgrade() -> bool {
    // SAFETY: a flag of this process.
    unsafe { pg_sys::IsBinaryUpgrade }
}
