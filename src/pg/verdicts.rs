//! What one look at staging thinks of transactions. Each is asked about once; rows of the same transaction share the answer.

use std::collections::HashMap;

use pgrx::pg_sys;
use pgrx::pg_sys::TransactionId;

use super::heap_page::Header;

/// Of the transaction that inserted an untouched row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Inserter {
    Visible,
    /// Not yet, not for this snapshot, or rolled back not long ago.
    Invisible,
    /// Rolled back, and no snapshot left that could wonder.
    Undone,
    /// Ours: then each row has its own answer, by the command that inserted it.
    Own,
}

/// Of the transaction that deleted a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Deleter {
    /// Committed, and no snapshot left that could see the row.
    Gone,
    /// Running, or committed while somebody may still see the row.
    Busy,
    /// Rolled back: the row is there as before.
    Undone,
}

pub struct Verdicts {
    table: pg_sys::Oid,
    snapshot: pg_sys::Snapshot,
    /// Rows deleted by older transactions are invisible to every snapshot.
    horizon: TransactionId,
    inserters: Cache<Inserter>,
    deleters: Cache<Deleter>,
}

impl Verdicts {
    /// # Safety
    /// The snapshot must be an MVCC snapshot that is active or registered for as long as this lives; the relation open.
    pub unsafe fn new(snapshot: pg_sys::Snapshot, relation: pg_sys::Relation) -> Verdicts {
        Verdicts {
            // SAFETY: promised by the caller.
            table: unsafe { (*relation).rd_id },
            snapshot,
            // SAFETY: promised by the caller.
            horizon: unsafe { pg_sys::GetOldestNonRemovableTransactionId(relation) },
            inserters: Cache::default(),
            deleters: Cache::default(),
        }
    }

    /// The table that these are about.
    pub fn table(&self) -> pg_sys::Oid {
        self.table
    }

    /// The server's own answer, which also leaves its hints in the row.
    ///
    /// # Safety
    /// The tuple must lie in the buffer, and that be pinned and locked.
    pub unsafe fn is_visible(&self, tuple: &mut pg_sys::HeapTupleData, buffer: pg_sys::Buffer) -> bool {
        // SAFETY: promised by the caller.
        unsafe { pg_sys::HeapTupleSatisfiesVisibility(tuple, self.snapshot, buffer) }
    }

    /// # Safety
    /// As for `is_visible`; the row must be untouched.
    #[inline]
    pub unsafe fn inserter(&mut self, tuple: &mut pg_sys::HeapTupleData, buffer: pg_sys::Buffer) -> Inserter {
        // SAFETY: promised by the caller.
        let xmin = unsafe { (*tuple.t_data).t_choice.t_heap.t_xmin };
        if let Some(known) = self.inserters.get(xmin) {
            return known;
        }
        // SAFETY: asks about one transaction; promised by the caller.
        let found = unsafe {
            if pg_sys::TransactionIdIsCurrentTransactionId(xmin) {
                Inserter::Own
            } else if self.is_visible(tuple, buffer) {
                Inserter::Visible
            } else if self.is_old(xmin) && !pg_sys::TransactionIdDidCommit(xmin) {
                Inserter::Undone
            } else {
                Inserter::Invisible
            }
        };
        self.inserters.put(xmin, found);
        found
    }

    /// Of a row that has a deleter.
    #[inline]
    pub fn deleter(&mut self, header: Header) -> Deleter {
        let xmax = header.xmax();
        if let Some(known) = self.deleters.get(xmax) {
            return known;
        }
        // SAFETY: asks about one transaction. A transaction that is not running any more has said whether it committed.
        let found = unsafe {
            if pg_sys::TransactionIdIsCurrentTransactionId(xmax) || pg_sys::TransactionIdIsInProgress(xmax) {
                Deleter::Busy
            } else if !pg_sys::TransactionIdDidCommit(xmax) {
                Deleter::Undone
            } else if self.is_old(xmax) {
                Deleter::Gone
            } else {
                Deleter::Busy
            }
        };
        self.deleters.put(xmax, found);
        found
    }

    /// Ended before every snapshot that is in use.
    fn is_old(&self, xid: TransactionId) -> bool {
        // SAFETY: compares two numbers, and asks about one transaction.
        unsafe { pg_sys::TransactionIdPrecedes(xid, self.horizon) && !pg_sys::TransactionIdIsInProgress(xid) }
    }
}

/// Neighbours mostly come from the same transaction.
struct Cache<T> {
    last: Option<(TransactionId, T)>,
    all: HashMap<TransactionId, T>,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Cache {
            last: None,
            all: HashMap::new(),
        }
    }
}

impl<T: Copy> Cache<T> {
    #[inline]
    fn get(&mut self, xid: TransactionId) -> Option<T> {
        match self.last {
            Some((known, answer)) if known == xid => Some(answer),
            _ => {
                let answer = *self.all.get(&xid)?;
                self.last = Some((xid, answer));
                Some(answer)
            }
        }
    }

    fn put(&mut self, xid: TransactionId, answer: T) {
        self.all.insert(xid, answer);
        self.last = Some((xid, answer));
    }
}
