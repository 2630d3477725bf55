//! What becomes of transactions and subtransactions, told to whoever asked. Registered once for a process; unlike closures for
//! each transaction it costs nothing where nobody waits, and it tells of PREPARE as well.

use std::cell::Cell;

use pgrx::pg_sys;
use pgrx::prelude::*;

/// An identifier of a subtransaction, or of the transaction itself, within its transaction.
pub type Part = u32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Committed,
    RolledBack,
    /// Left to COMMIT PREPARED or ROLLBACK PREPARED of whoever.
    Prepared,
    /// What it did is now its parent's.
    PartCommitted {
        part: Part,
        parent: Part,
    },
    PartRolledBack {
        part: Part,
    },
}

/// Must not raise an error: it is called when there is no way back.
pub type Listener = fn(Fate);

thread_local! {
    static LISTENER: Cell<Option<Listener>> = const { Cell::new(None) };
}

/// From now on `listener` is told of every transaction of this process.
pub fn listen(listener: Listener) {
    if LISTENER.replace(Some(listener)).is_none() {
        // SAFETY: callbacks live as long as the library, which is never unloaded.
        unsafe {
            pg_sys::RegisterXactCallback(Some(transaction_ends), std::ptr::null_mut());
            pg_sys::RegisterSubXactCallback(Some(part_ends), std::ptr::null_mut());
        }
    }
}

/// The innermost subtransaction that is running.
pub fn current_part() -> Part {
    // SAFETY: reads a variable of this process.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

fn tell(fate: Fate) {
    if let Some(listener) = LISTENER.get() {
        listener(fate);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn transaction_ends(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT => tell(Fate::Committed),
        pg_sys::XactEvent::XACT_EVENT_ABORT => tell(Fate::RolledBack),
        pg_sys::XactEvent::XACT_EVENT_PREPARE => tell(Fate::Prepared),
        _ => {}
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn part_ends(
    event: pg_sys::SubXactEvent::Type,
    part: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _argument: *mut std::ffi::c_void,
) {
    match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_COMMIT_SUB => tell(Fate::PartCommitted { part, parent }),
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => tell(Fate::PartRolledBack { part }),
        _ => {}
    }
}
