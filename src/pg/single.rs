//! Deleting one row by the server's own means, without waiting for anybody.

use pgrx::pg_sys;

/// Has the server delete a row that was visible a moment ago and whose page is pinned, without waiting for anybody.
pub fn delete(relation: pg_sys::Relation, place: pg_sys::ItemPointerData, cid: pg_sys::CommandId) -> bool {
    let mut failure = pg_sys::TM_FailureData::default();
    let mut delete = |waits: bool| {
        let mut place = place;
        // SAFETY: the relation is open; the pin of the caller keeps the row in its place.
        unsafe {
            let crosscheck = std::ptr::null_mut();
            pg_sys::heap_delete(relation, &mut place, cid, crosscheck, waits, &mut failure, false)
        }
    };
    match delete(false) {
        pg_sys::TM_Result::TM_Ok => true,
        // Locked, perhaps by this transaction alone: then it can have the row for itself, and need not wait for it.
        pg_sys::TM_Result::TM_BeingModified => {
            lock(relation, place, cid) && delete(true) == pg_sys::TM_Result::TM_Ok
        }
        _ => false,
    }
}

/// Locks a row against everybody else, if nobody else has.
fn lock(relation: pg_sys::Relation, place: pg_sys::ItemPointerData, cid: pg_sys::CommandId) -> bool {
    let mut failure = pg_sys::TM_FailureData::default();
    let mut buffer = 0;
    let mut tuple = pg_sys::HeapTupleData {
        t_self: place,
        ..Default::default()
    };
    // SAFETY: the relation is open; the pin that comes with the answer is given back.
    unsafe {
        let result = pg_sys::heap_lock_tuple(
            relation,
            &mut tuple,
            cid,
            pg_sys::LockTupleMode::LockTupleExclusive,
            pg_sys::LockWaitPolicy::LockWaitSkip,
            false,
            &mut buffer,
            &mut failure,
        );
        pg_sys::ReleaseBuffer(buffer);
        result == pg_sys::TM_Result::TM_Ok
    }
}
