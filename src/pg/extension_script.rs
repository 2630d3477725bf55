//! Running inside the script of CREATE EXTENSION, where everything that is made becomes a member.

use pgrx::pg_sys;

pub fn is_running() -> bool {
    // SAFETY: a flag of this process.
    unsafe { pg_sys::creating_extension }
}

/// What `body` makes does not become a member of the extension: dropping the extension must not drop readings. An error
/// in between ends the script, and the server resets the flag itself.
pub fn outside<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: a flag of this process, put back below.
    let before = unsafe { std::ptr::replace(&raw mut pg_sys::creating_extension, false) };
    let value = body();
    // SAFETY: as above.
    unsafe { pg_sys::creating_extension = before };
    value
}
