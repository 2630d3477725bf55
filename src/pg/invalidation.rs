//! Being told that a table was changed: the server's own messages about relations, sent at commit, and received with every lock
//! that is taken.

use std::cell::Cell;

use pgrx::pg_sys;
use pgrx::prelude::*;

thread_local! {
    /// The relation that is watched, by its number, and whether something came about it.
    static WATCHED: Cell<u32> = const { Cell::new(0) };
    static TOUCHED: Cell<bool> = const { Cell::new(true) };
    static LISTENING: Cell<bool> = const { Cell::new(false) };
}

/// Every session hears of the relation once this transaction has committed, and this one with its next command.
pub fn tell(relation: pg_sys::Oid) {
    // SAFETY: inside a transaction; raises an error if there is no such relation.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation) }
}

/// Whether the relation may have been told of since `looking`, by what has been committed up to now. One relation in a process; at
/// first it always was.
pub fn touched(relation: pg_sys::Oid) -> bool {
    // SAFETY: the callback lives as long as the process, and touches nothing but its own variables. Messages are taken in at
    // any point inside a transaction.
    unsafe {
        if !LISTENING.replace(true) {
            pg_sys::CacheRegisterRelcacheCallback(Some(heard), pg_sys::Datum::from(0));
        }
        pg_sys::AcceptInvalidationMessages();
    }
    if WATCHED.replace(relation.to_u32()) != relation.to_u32() {
        TOUCHED.set(true);
    }
    TOUCHED.get()
}

/// What is read from here on counts as what is known; messages that come meanwhile are not lost.
pub fn looking() {
    TOUCHED.set(false);
}

/// It could not be read.
pub fn not_seen() {
    TOUCHED.set(true);
}

#[pg_guard]
unsafe extern "C-unwind" fn heard(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    // None: everything.
    if relation == pg_sys::InvalidOid || relation.to_u32() == WATCHED.get() {
        TOUCHED.set(true);
    }
}
