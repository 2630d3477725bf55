//! Locks: the one that keeps the extension in place while a task works on its tables, and those that are not waited for.

use pgrx::pg_sys;

const EXTENSION_CATALOG: pg_sys::Oid = pg_sys::ExtensionRelationId;

/// The oid of the extension, None when it is not installed. Sees what was committed up to now, whatever snapshot is in force.
pub fn extension_oid() -> Option<pg_sys::Oid> {
    // SAFETY: a catalog lookup with a static C string.
    let oid = unsafe { pg_sys::get_extension_oid(c"pg_telemetry".as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// Holds DROP EXTENSION off until the end of the transaction. False when somebody is dropping it just now: waiting for that
/// would be in vain, and could deadlock.
pub fn keep_extension(extension: pg_sys::Oid) -> bool {
    // SAFETY: takes a lock of this transaction.
    unsafe {
        pg_sys::ConditionalLockDatabaseObject(
            EXTENSION_CATALOG,
            extension,
            0,
            pg_sys::AccessShareLock as pg_sys::LOCKMODE,
        )
    }
}

/// Keeps others from doing the same until the end of the transaction; readers and writers pass. False when somebody is at it.
pub fn try_alone(relation: pg_sys::Oid) -> bool {
    try_lock(relation, pg_sys::ShareUpdateExclusiveLock)
}

/// Whether the relation can be read without waiting; if so, it can until the end of the transaction.
pub fn try_read(relation: pg_sys::Oid) -> bool {
    try_lock(relation, pg_sys::AccessShareLock)
}

/// The same for writing.
pub fn try_write(relation: pg_sys::Oid) -> bool {
    try_lock(relation, pg_sys::RowExclusiveLock)
}

/// Whether nobody writes into the relation, or changes it, at this moment.
pub fn nobody_writes(relation: pg_sys::Oid) -> bool {
    let free = try_lock(relation, pg_sys::ShareLock);
    if free {
        // SAFETY: gives back what was taken above.
        unsafe { pg_sys::UnlockRelationOid(relation, pg_sys::ShareLock as pg_sys::LOCKMODE) };
    }
    free
}

/// Waits for the lock of somebody who writes into the relation, and keeps it to the end of the transaction.
pub fn to_write(relation: pg_sys::Oid) {
    // SAFETY: takes a lock of this transaction.
    unsafe { pg_sys::LockRelationOid(relation, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE) }
}

fn try_lock(relation: pg_sys::Oid, mode: u32) -> bool {
    // SAFETY: takes a lock of this transaction.
    unsafe { pg_sys::ConditionalLockRelationOid(relation, mode as pg_sys::LOCKMODE) }
}

/// Held by a session until it is dropped, over as many transactions as there are meanwhile.
pub struct SessionLock(pg_sys::LOCKTAG);

impl SessionLock {
    /// Number so and so on the extension; None when another session has it. Of the kind that an error in between does not
    /// release, as it does others; those that users take by pg_advisory_lock() are about other things.
    pub fn try_take(extension: pg_sys::Oid, number: u16) -> Option<SessionLock> {
        // SAFETY: a tag of plain numbers, as SET_LOCKTAG_OBJECT fills it but for the kind.
        unsafe {
            let tag = pg_sys::LOCKTAG {
                locktag_field1: pg_sys::MyDatabaseId.to_u32(),
                locktag_field2: EXTENSION_CATALOG.to_u32(),
                locktag_field3: extension.to_u32(),
                locktag_field4: number,
                locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
                locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
            };
            let taken = pg_sys::LockAcquire(&tag, MODE, true, true);
            (taken != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL).then(|| SessionLock(tag))
        }
    }
}

const MODE: pg_sys::LOCKMODE = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;

impl Drop for SessionLock {
    fn drop(&mut self) {
        // SAFETY: taken by this session.
        unsafe { pg_sys::LockRelease(&self.0, MODE, true) };
    }
}
