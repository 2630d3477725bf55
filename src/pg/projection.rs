//! One leaf of the projection, read and written row by row without the executor. Only where that is the same.
//!
//! A row is found as it was last committed, or is being written by this transaction, whatever snapshot is in force; one that
//! somebody else is writing is busy. Who does not want to wait never does: the server is asked for a row lock that it can give
//! at once, and a new row goes in speculatively, which nobody waits for, and is taken back if another has the same key.

use std::ffi::c_void;

use pgrx::pg_sys;

use super::btree_key::pack_place;
use super::citus;
use super::compat;
pub use super::entity_rows::Row;
use super::entity_rows::{COLUMNS, KEYS, KINDS, Key, Lookup, Near, PLACES};
use super::layout;
use super::lock;
use super::memory::Scratch;
use super::partitions;
use super::relation::Relation;

const WRITE_TRIGGERS: u32 = pg_sys::TRIGGER_TYPE_INSERT | pg_sys::TRIGGER_TYPE_UPDATE;

/// The number that an unfinished speculative tuple has for its place.
const SPECULATIVE_PLACE: u16 = 0xfffe;

/// The partitioned table, where writing to it is no more than writing to its leaves.
pub struct Projection {
    _parent: Relation,
    leaves: Vec<pg_sys::Oid>,
}

pub enum Opened<T> {
    Open(T),
    /// Only the executor is right.
    Special,
    /// Somebody has locked it.
    Locked,
}

impl Projection {
    /// To write into it; waits for no lock.
    pub fn open(oid: pg_sys::Oid) -> Opened<Projection> {
        if !lock::try_write(oid) {
            return Opened::Locked;
        }
        let parent = Relation::open_locked(oid);
        let plain = parent.is_partitioned()
            && !parent.has_rules()
            && !parent.has_row_security()
            && !parent.has_trigger(WRITE_TRIGGERS, None)
            && parent.may(pg_sys::ACL_SELECT | pg_sys::ACL_INSERT | pg_sys::ACL_UPDATE)
            && !citus::is_distributed(oid);
        match partitions::by_hash(&parent).filter(|_| plain) {
            Some(leaves) => Opened::Open(Projection {
                _parent: parent,
                leaves,
            }),
            None => Opened::Special,
        }
    }

    /// The place of the leaf in which rows with this hash are.
    pub fn leaf_of(&self, hash: u64) -> usize {
        (hash % self.leaves.len() as u64) as usize
    }

    /// Waits for no lock.
    pub fn leaf(&self, place: usize) -> Opened<Leaf> {
        let oid = self.leaves[place];
        if !lock::try_write(oid) {
            return Opened::Locked;
        }
        let relation = Relation::open_locked(oid);
        let plain = relation.is_plain_heap()
            && relation.is_partition()
            && !relation.has_trigger(WRITE_TRIGGERS, None)
            && layout::is_projection(&relation);
        let [key] = relation.indexes()[..] else {
            return Opened::Special;
        };
        match Key::open(key, pg_sys::RowExclusiveLock).filter(|_| plain) {
            Some(key) => Opened::Open(Leaf::new(relation, key)),
            None => Opened::Special,
        }
    }
}

pub enum Found {
    Nothing,
    /// Somebody is writing it.
    Busy,
    Row(Row),
}

/// What is written of an entity; whether it is deleted stays as it is.
pub struct Content<'a> {
    pub as_of: i64,
    /// A jsonb, its length in front.
    pub attrs: &'a [u8],
    pub times: &'a [u8],
}

/// Whether a row could be written at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// An index finds it at this place.
    At(u64),
    Busy,
}

/// A leaf to be written. What looks at the others is dropped first.
pub struct Leaf {
    lookup: Lookup,
    snapshot: Box<pg_sys::SnapshotData>,
    key: Key,
    relation: Relation,
}

impl Leaf {
    fn new(relation: Relation, key: Key) -> Leaf {
        relation.check_update_identity();
        let mut snapshot = Box::<pg_sys::SnapshotData>::default();
        snapshot.snapshot_type = pg_sys::SnapshotType::SNAPSHOT_DIRTY;
        // SAFETY: all three are kept beside it, the snapshot at its place in its box.
        let lookup = unsafe { Lookup::new(&relation, key.open.pointer, &raw mut *snapshot, KINDS, PLACES) };
        Leaf {
            lookup,
            snapshot,
            key,
            relation,
        }
    }

    /// The row of an entity as it was last committed.
    pub fn find(&mut self, tenant_id: i64, entity_id: i64) -> Found {
        let Some(row) = self.lookup.find([tenant_id, entity_id]) else {
            return Found::Nothing;
        };
        // The server notes who is about to insert it or to take it away.
        let nobody = pg_sys::TransactionId::INVALID;
        // SAFETY: our own snapshot, written by the server through a pointer.
        let (inserter, deleter) = unsafe {
            let snapshot = &raw const *self.snapshot;
            (
                (&raw const (*snapshot).xmin).read_volatile(),
                (&raw const (*snapshot).xmax).read_volatile(),
            )
        };
        if inserter != nobody || deleter != nobody {
            return Found::Busy;
        }
        Found::Row(row)
    }

    /// Writes a new version of a row that was found, unless somebody else has locked or written it.
    pub fn update(&mut self, row: &Row, content: &Content, scratch: &Scratch) -> Written {
        if !row.is_free && !self.try_lock(row) {
            return Written::Busy;
        }
        scratch.within(|| self.update_locked(row, content, !row.is_free))
    }

    /// `locked`: by this transaction. Otherwise the server looks whether somebody has.
    fn update_locked(&mut self, row: &Row, content: &Content, locked: bool) -> Written {
        let (mut values, mut nulls) = (row.values, row.nulls);
        fill(content, &mut values, &mut nulls);
        let relation = self.relation.as_ptr();
        let mut place = row.place;
        // SAFETY: open for writing; the values are those of the descriptor. With the lock in hand the server has nothing to
        // wait for.
        unsafe {
            let tuple = pg_sys::heap_form_tuple((*relation).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
            if compat::heap_update(relation, &mut place, tuple, locked) != pg_sys::TM_Result::TM_Ok {
                return Written::Busy;
            }
            let on_chain = u32::from((*(*tuple).t_data).t_infomask2) & pg_sys::HEAP_ONLY_TUPLE != 0;
            if on_chain {
                Written::At(row.root())
            } else {
                self.index(
                    &mut (*tuple).t_self,
                    &values,
                    pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES,
                    true,
                );
                Written::At(pack_place(&(*tuple).t_self))
            }
        }
    }

    fn try_lock(&self, row: &Row) -> bool {
        let mut tuple = pg_sys::HeapTupleData {
            t_self: row.place,
            ..Default::default()
        };
        let mut buffer = 0;
        let mut failure = pg_sys::TM_FailureData::default();
        // SAFETY: open for writing; the place is one of its tuples. The pin that comes back is given up.
        unsafe {
            let outcome = pg_sys::heap_lock_tuple(
                self.relation.as_ptr(),
                &mut tuple,
                pg_sys::GetCurrentCommandId(true),
                pg_sys::LockTupleMode::LockTupleNoKeyExclusive,
                pg_sys::LockWaitPolicy::LockWaitSkip,
                false,
                &mut buffer,
                &mut failure,
            );
            if buffer != 0 {
                pg_sys::ReleaseBuffer(buffer);
            }
            outcome == pg_sys::TM_Result::TM_Ok
        }
    }

    /// Inserts the row of an entity that has none, unless somebody else is doing so.
    pub fn insert(
        &mut self,
        tenant_id: i64,
        entity_id: i64,
        content: &Content,
        scratch: &Scratch,
    ) -> Written {
        scratch.within(|| {
            let mut values = [pg_sys::Datum::from(0); COLUMNS];
            let mut nulls = [true; COLUMNS];
            values[0] = pg_sys::Datum::from(tenant_id);
            values[1] = pg_sys::Datum::from(entity_id);
            nulls[..2].fill(false);
            fill(content, &mut values, &mut nulls);
            let relation = self.relation.as_ptr();
            // SAFETY: open for writing; the values are those of the descriptor. The token is released whichever way it ends.
            unsafe {
                let tuple =
                    pg_sys::heap_form_tuple((*relation).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
                let transaction = pg_sys::GetCurrentTransactionId();
                let token = pg_sys::SpeculativeInsertionLockAcquire(transaction);
                (*(*tuple).t_data).t_ctid = pg_sys::ItemPointerData {
                    ip_blkid: pg_sys::BlockIdData {
                        bi_hi: (token >> 16) as u16,
                        bi_lo: token as u16,
                    },
                    ip_posid: SPECULATIVE_PLACE,
                };
                let command = pg_sys::GetCurrentCommandId(true);
                let options = pg_sys::HEAP_INSERT_SPECULATIVE as i32;
                pg_sys::heap_insert(relation, tuple, command, options, std::ptr::null_mut());
                let mut place = (*tuple).t_self;
                let check = pg_sys::IndexUniqueCheck::UNIQUE_CHECK_PARTIAL;
                let alone = self.index(&mut place, &values, check, false);
                if alone {
                    pg_sys::heap_finish_speculative(relation, &mut place);
                } else {
                    pg_sys::heap_abort_speculative(relation, &mut place);
                }
                pg_sys::SpeculativeInsertionLockRelease(transaction);
                if alone {
                    Written::At(pack_place(&place))
                } else {
                    Written::Busy
                }
            }
        })
    }

    /// # Safety
    /// The place must be that of a tuple with these values, just written by this command.
    unsafe fn index(
        &self,
        place: &mut pg_sys::ItemPointerData,
        values: &[pg_sys::Datum; COLUMNS],
        check: pg_sys::IndexUniqueCheck::Type,
        unchanged: bool,
    ) -> bool {
        let mut keys = [values[0], values[1]];
        // SAFETY: open for writing; as many keys as the index has columns.
        unsafe {
            pg_sys::index_insert(
                self.key.open.pointer,
                keys.as_mut_ptr(),
                [false; KEYS].as_mut_ptr(),
                place,
                self.relation.as_ptr(),
                check,
                unchanged,
                self.key.open.info,
            )
        }
    }
}

/// What is written of an entity, as columns. What it points to lies in the current context, or where the content does.
fn fill(content: &Content, values: &mut [pg_sys::Datum; COLUMNS], nulls: &mut [bool; COLUMNS]) {
    values[2] = pg_sys::Datum::from(content.as_of);
    values[4] = pg_sys::Datum::from(content.attrs.as_ptr());
    // SAFETY: room for the length and the bytes is made in the current context.
    values[5] = unsafe {
        let length = content.times.len() + pg_sys::VARHDRSZ;
        let packed = pg_sys::palloc(length).cast::<pg_sys::varlena>();
        pgrx::varlena::set_varsize_4b(packed, length as i32);
        let data = packed.cast::<u8>().add(pg_sys::VARHDRSZ);
        std::ptr::copy_nonoverlapping(content.times.as_ptr(), data, content.times.len());
        pg_sys::Datum::from(packed.cast::<c_void>())
    };
    nulls[2] = false;
    nulls[4..].fill(false);
}

/// The projection as the active snapshot sees it, with the rights of the current user.
pub struct Reader {
    _parent: Relation,
    leaves: Vec<pg_sys::Oid>,
}

/// A leaf to be read. What looks at the others is dropped first.
pub struct ReadLeaf {
    near: Near,
    /// As soon as something is not where it was.
    lookup: Option<Lookup>,
    snapshot: pg_sys::Snapshot,
    key: Key,
    relation: Relation,
}

impl Reader {
    /// None where only the executor is right: policies, missing rights, a table that somebody changed.
    pub fn open(oid: pg_sys::Oid) -> Option<Reader> {
        let parent = Relation::open_to_read(oid);
        let plain = parent.is_partitioned()
            && !parent.has_rules()
            && !parent.has_row_security()
            && parent.may(pg_sys::ACL_SELECT)
            && !citus::is_distributed(oid);
        let leaves = partitions::by_hash(&parent).filter(|_| plain)?;
        Some(Reader {
            _parent: parent,
            leaves,
        })
    }

    pub fn leaf_of(&self, hash: u64) -> usize {
        (hash % self.leaves.len() as u64) as usize
    }

    pub fn leaf(&self, place: usize) -> Option<ReadLeaf> {
        let relation = Relation::open_to_read(self.leaves[place]);
        let [oid] = relation.indexes()[..] else {
            return None;
        };
        if !relation.is_plain_heap() || !layout::is_projection(&relation) {
            return None;
        }
        // SAFETY: the caller has an active snapshot, as every function that SQL calls; all is kept beside the scan.
        unsafe {
            // A serializable transaction must be seen to have read.
            let serializable = pg_sys::XactIsoLevel >= pg_sys::XACT_SERIALIZABLE as i32;
            let snapshot = pg_sys::GetActiveSnapshot();
            let key = Key::open(oid, pg_sys::AccessShareLock)?;
            if serializable || snapshot.is_null() {
                return None;
            }
            Some(ReadLeaf {
                near: Near::new(&relation, snapshot, KINDS, PLACES),
                lookup: None,
                snapshot,
                key,
                relation,
            })
        }
    }
}

impl ReadLeaf {
    /// `hint`: where an index found it once, 0 if that is not known.
    pub fn find(&mut self, tenant_id: i64, entity_id: i64, hint: u64) -> Option<Row> {
        let key = [tenant_id, entity_id];
        if let Some(row) = self.near.find(hint, key) {
            return Some(row);
        }
        // SAFETY: all of it is kept beside it, and the snapshot is the caller's as before.
        let lookup = self.lookup.get_or_insert_with(|| unsafe {
            Lookup::new(
                &self.relation,
                self.key.open.pointer,
                self.snapshot,
                KINDS,
                PLACES,
            )
        });
        lookup.find(key)
    }
}
