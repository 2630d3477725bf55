//! The SQLSTATE of an error as it was raised. The errors of pgrx know only the codes that come with the server; one that a user
//! made up (RAISE … USING ERRCODE = 'UE001') would come out as an internal error.

use std::cell::Cell;
use std::ffi::c_void;

use pgrx::pg_sys;
use pgrx::prelude::*;

thread_local! {
    static LAST_RAISED: Cell<i32> = const { Cell::new(0) };
}

/// Listens, as long as it lives, to what is raised.
pub struct Listener {
    callback: Box<pg_sys::ErrorContextCallback>,
}

impl Listener {
    pub fn new() -> Listener {
        LAST_RAISED.set(0);
        // SAFETY: a variable of this process; the box keeps its place until it is taken off the stack again.
        unsafe {
            let mut callback = Box::new(pg_sys::ErrorContextCallback {
                previous: pg_sys::error_context_stack,
                callback: Some(note),
                arg: std::ptr::null_mut(),
            });
            pg_sys::error_context_stack = &mut *callback;
            Listener { callback }
        }
    }

    /// The code of the error that came out.
    pub fn code_of(&self, code: PgSqlErrorCode) -> i32 {
        match (code, LAST_RAISED.get()) {
            (PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, raised) if raised != 0 => raised,
            _ => code as i32,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // SAFETY: whatever was put on the stack after this is gone: those who did so have returned or were unwound.
        unsafe { pg_sys::error_context_stack = self.callback.previous }
    }
}

/// Called by the server for everything that is raised, notices included; the last is the one that came out.
unsafe extern "C-unwind" fn note(_argument: *mut c_void) {
    // SAFETY: the server is just raising something.
    LAST_RAISED.set(unsafe { pg_sys::geterrcode() });
}

/// Of five characters; an internal error for a code that does not come with the server.
pub fn pack(text: &str) -> PgSqlErrorCode {
    let bits = text
        .bytes()
        .take(5)
        .enumerate()
        .map(|(place, byte)| i32::from(byte.wrapping_sub(b'0') & 0x3f) << (6 * place))
        .sum::<i32>();
    PgSqlErrorCode::from(bits)
}

/// Five characters, six bits each.
pub fn unpack(code: i32) -> String {
    let mut packed = code as u32;
    (0..5)
        .map(|_| {
            let character = char::from((packed as u8 & 0x3f) + b'0');
            packed >>= 6;
            character
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_are_written_as_people_know_them() {
        for (code, text) in [
            (PgSqlErrorCode::ERRCODE_QUERY_CANCELED, "57014"),
            (PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE, "55P03"),
            (PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, "XX000"),
        ] {
            assert_eq!(unpack(code as i32), text);
            assert_eq!(pack(text), code);
        }
    }
}
