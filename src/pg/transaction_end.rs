//! Being told how transactions of this process end.

use std::ffi::c_void;

use pgrx::pg_sys;
use pgrx::prelude::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Committed,
    /// Or prepared, and then nobody knows; or a subtransaction was rolled back.
    Undone,
}

/// From now on `listener` hears of every end of a transaction, as long as this process lives. It must not raise an error.
pub fn listen(listener: fn(End)) {
    let argument = listener as *mut c_void;
    // SAFETY: two functions of the server's types, and an argument that they know how to read.
    unsafe {
        pg_sys::RegisterXactCallback(Some(on_transaction), argument);
        pg_sys::RegisterSubXactCallback(Some(on_subtransaction), argument);
    }
}

fn tell(listener: *mut c_void, end: End) {
    // SAFETY: only `listen` registers the callbacks that come here, and it gave them such a function.
    let listener = unsafe { std::mem::transmute::<*mut c_void, fn(End)>(listener) };
    listener(end);
}

#[pg_guard]
unsafe extern "C-unwind" fn on_transaction(event: pg_sys::XactEvent::Type, listener: *mut c_void) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT => tell(listener, End::Committed),
        pg_sys::XactEvent::XACT_EVENT_ABORT | pg_sys::XactEvent::XACT_EVENT_PREPARE => {
            tell(listener, End::Undone);
        }
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn on_subtransaction(
    event: pg_sys::SubXactEvent::Type,
    _mine: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    listener: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        tell(listener, End::Undone);
    }
}
