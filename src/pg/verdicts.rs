//! What one look at staging thinks of transactions. Each is asked about once; rows of the same transaction share the answer.

use std::collections::HashMap;

use pgrx::pg_sys;
use pgrx::pg_sys::TransactionId;

use super::heap_page::Header;
use super::horizon::Horizon;
use super::past;
use crate::guc;

/// Of the transaction that inserted an untouched row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Inserter {
    Visible,
    /// Not yet, or not for this snapshot.
    Invisible,
    /// Rolled back.
    Undone,
    /// Ours: then each row has its own answer, by the command that inserted it.
    Own,
}

/// Of the transaction that deleted a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Deleter {
    /// Committed, and nobody left who would look for the row.
    Gone,
    /// Somebody else, who is at work now.
    Runs,
    /// Ourselves, or committed while somebody may still look for the row.
    Busy,
    /// Rolled back: the row is there as before.
    Undone,
}

pub struct Verdicts {
    table: pg_sys::Oid,
    logged: bool,
    snapshot: pg_sys::Snapshot,
    /// Rows deleted by older transactions are invisible to every snapshot.
    horizon: TransactionId,
    /// Which other rows nobody looks for, looked up when there are such; None within: every snapshot counts.
    local: Option<Option<Horizon>>,
    inserters: Cache<Inserter>,
    deleters: Cache<Deleter>,
    met_somebody: bool,
}

impl Verdicts {
    /// # Safety
    /// The snapshot must be an MVCC snapshot that is active or registered for as long as this lives; the relation open.
    pub unsafe fn new(snapshot: pg_sys::Snapshot, relation: pg_sys::Relation) -> Verdicts {
        if let Some(grace) = guc::reclaim_grace() {
            // SAFETY: promised by the caller.
            unsafe { past::remember(snapshot, grace) };
        }
        // SAFETY: promised by the caller.
        let (table, persistence, horizon) = unsafe {
            (
                (*relation).rd_id,
                (*(*relation).rd_rel).relpersistence,
                pg_sys::GetOldestNonRemovableTransactionId(relation),
            )
        };
        Verdicts {
            table,
            logged: persistence == pg_sys::RELPERSISTENCE_PERMANENT as i8,
            snapshot,
            horizon,
            local: None,
            inserters: Cache::default(),
            deleters: Cache::default(),
            met_somebody: false,
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
            } else if !pg_sys::TransactionIdIsInProgress(xmin) && !pg_sys::TransactionIdDidCommit(xmin) {
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
            self.met_somebody |= known == Deleter::Runs;
            return known;
        }
        // SAFETY: asks about one transaction. A transaction that is not running any more has said whether it committed.
        let found = unsafe {
            if pg_sys::TransactionIdIsCurrentTransactionId(xmax) {
                Deleter::Busy
            } else if pg_sys::TransactionIdIsInProgress(xmax) {
                Deleter::Runs
            } else if !pg_sys::TransactionIdDidCommit(xmax) {
                Deleter::Undone
            } else if pg_sys::TransactionIdPrecedes(xmax, self.horizon) || self.nobody_looks(xmax) {
                Deleter::Gone
            } else {
                Deleter::Busy
            }
        };
        self.met_somebody |= found == Deleter::Runs;
        self.deleters.put(xmax, found);
        found
    }

    /// Whether there was, since it was asked last, a row that somebody else is deleting.
    pub fn met_somebody(&mut self) -> bool {
        std::mem::take(&mut self.met_somebody)
    }

    /// Of a row that is locked, or that several have touched: whether one of them still runs and is not us.
    pub fn is_held_by_others(&self, header: Header) -> bool {
        let runs = |xid: TransactionId| {
            // SAFETY: asks about one transaction.
            unsafe {
                pg_sys::TransactionIdIsInProgress(xid) && !pg_sys::TransactionIdIsCurrentTransactionId(xid)
            }
        };
        if !header.has(pg_sys::HEAP_XMAX_IS_MULTI) {
            return runs(header.xmax());
        }
        let mut members = std::ptr::null_mut();
        // SAFETY: a number from a row that is there; the list has as many as it says and is freed here.
        unsafe {
            let count = pg_sys::GetMultiXactIdMembers(
                header.xmax().into_inner().into(),
                &mut members,
                false,
                header.has(pg_sys::HEAP_XMAX_LOCK_ONLY),
            );
            let held = (0..usize::try_from(count).unwrap_or(0)).any(|index| runs((*members.add(index)).xid));
            if !members.is_null() {
                pg_sys::pfree(members.cast());
            }
            held
        }
    }

    /// Committed, and whoever has a snapshot that misses it does not look at this table.
    fn nobody_looks(&mut self, xid: TransactionId) -> bool {
        // SAFETY: the snapshot is there as long as this; it is asked first, so that all that is looked up later is later than it.
        if unsafe { pg_sys::XidInMVCCSnapshot(xid, self.snapshot) } {
            return false;
        }
        self.local
            .get_or_insert_with(|| Horizon::of(self.table, self.logged))
            .as_ref()
            .is_some_and(|local| local.has_passed(xid))
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
