//! Telling all processes of a database that what they know from a table is no longer true. The server has messages for the
//! definition of a table, which every process takes in before it next locks any; they are sent when the transaction commits.

use std::cell::Cell;

use pgrx::pg_sys;
use pgrx::prelude::*;

thread_local! {
    /// The table that this process watches, and whether something was heard of it.
    static WATCHED: Cell<pg_sys::Oid> = const { Cell::new(pg_sys::InvalidOid) };
    static HEARD: Cell<bool> = const { Cell::new(false) };
    static LISTENING: Cell<bool> = const { Cell::new(false) };
}

/// Once this transaction has committed, `seen` says so everywhere.
pub fn announce(relation: pg_sys::Oid) {
    // SAFETY: inside a transaction that may write; raises an error if there is no such table.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation) }
}

/// Whether the table was announced since this was asked last, or may have been. One table a process.
pub fn seen(relation: pg_sys::Oid) -> bool {
    if !LISTENING.replace(true) {
        // SAFETY: a function of this library, which is never unloaded.
        unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(on_message), pg_sys::Datum::from(0)) }
    }
    let another = WATCHED.replace(relation) != relation;
    HEARD.replace(false) || another
}

/// Must not fail: called whenever a message comes, also outside a transaction. `relation`: none stands for all.
#[pg_guard]
unsafe extern "C-unwind" fn on_message(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    if relation == pg_sys::InvalidOid || relation == WATCHED.get() {
        HEARD.set(true);
    }
}
