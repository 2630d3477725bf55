//! Slots in which heap_multi_insert takes its tuples. They are made once and filled by hand: the server's own way would copy
//! each tuple and count a reference for each.

use pgrx::pg_sys;

use super::memory::Scratch;
use super::relation::Relation;
use crate::staging::batch::{Batch, Row};

/// Rows that are inserted together. From version 16 on the server lets a table grow by what one call needs.
pub const MOST: usize = 5000;

pub struct Slots {
    /// Where the first one lies, as the server makes it.
    _memory: Scratch,
    first: *mut pg_sys::HeapTupleTableSlot,
    copies: Vec<pg_sys::HeapTupleTableSlot>,
    /// The copies, as the server takes them.
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    tuples: Vec<pg_sys::HeapTupleData>,
}

impl Slots {
    /// For tables that have the eight columns of `like`.
    pub fn like(like: pg_sys::Oid) -> Slots {
        Slots::of(&Relation::open_to_write(like))
    }

    pub fn of(relation: &Relation) -> Slots {
        let memory = Scratch::new();
        // SAFETY: open; the copy of the descriptor is not counted by anybody, so a slot of it costs nothing to drop.
        let first = memory.within(|| unsafe {
            let descriptor = pg_sys::CreateTupleDescCopy((*relation.as_ptr()).rd_att);
            pg_sys::MakeSingleTupleTableSlot(descriptor, &pg_sys::TTSOpsHeapTuple).cast()
        });
        Slots {
            _memory: memory,
            first,
            copies: Vec::new(),
            slots: Vec::new(),
            tuples: Vec::new(),
        }
    }

    /// Nobody looks at the values of a slot that holds a tuple, so all copies may share their place. To have the server make each
    /// took a good part of a small flush.
    fn have(&mut self, count: usize) {
        if self.copies.len() < count {
            // SAFETY: made in `of`; lives as long as self.
            self.copies.resize(count, unsafe { *self.first });
            self.slots = self
                .copies
                .iter_mut()
                .map(|copy| (&raw mut *copy).cast())
                .collect();
        }
    }

    /// Puts each row into a slot, without copying it: until the next call the batch stays as it is.
    fn fill(&mut self, batch: &mut Batch, rows: &[Row]) {
        self.tuples.clear();
        self.tuples.reserve(rows.len());
        for row in rows {
            let bytes = batch.tuple_mut(row);
            self.tuples.push(pg_sys::HeapTupleData {
                t_len: bytes.len() as u32,
                t_data: bytes.as_mut_ptr().cast(),
                ..Default::default()
            });
        }
        self.fill_slots();
    }

    /// With the tuples that are there.
    fn fill_slots(&mut self) {
        self.have(self.tuples.len());
        for (slot, tuple) in self.slots.iter().zip(&mut self.tuples) {
            // SAFETY: copies of a slot for heap tuples. A slot that says it owns its tuple is not asked to copy it;
            // nobody clears or drops these slots, their context goes as a whole, so nothing is freed that is not theirs.
            unsafe {
                let slot = slot.cast::<pg_sys::HeapTupleTableSlot>();
                (*slot).tuple = tuple;
                (*slot).off = 0;
                (*slot).base.tts_nvalid = 0;
                (*slot).base.tts_flags &= !(pg_sys::TTS_FLAG_EMPTY as u16);
                (*slot).base.tts_flags |= pg_sys::TTS_FLAG_SHOULDFREE as u16;
            }
        }
    }

    /// Inserts rows into a heap, at most MOST of them. What the server allocates for them lies in `scratch`.
    pub fn insert(&mut self, relation: &Relation, batch: &mut Batch, rows: &[Row], scratch: &Scratch) {
        self.fill(batch, rows);
        self.insert_all(relation, scratch);
    }

    /// The same with tuples that the server has formed; their places are only told by `places`.
    pub fn insert_formed(&mut self, relation: &Relation, tuples: &[pg_sys::HeapTuple], scratch: &Scratch) {
        self.tuples.clear();
        // SAFETY: formed by the caller a moment ago.
        self.tuples.extend(tuples.iter().map(|tuple| unsafe { **tuple }));
        self.fill_slots();
        self.insert_all(relation, scratch);
    }

    fn insert_all(&mut self, relation: &Relation, scratch: &Scratch) {
        pgrx::check_for_interrupts!();
        // SAFETY: open and locked; the slots hold one tuple each.
        scratch.within(|| unsafe {
            pg_sys::heap_multi_insert(
                relation.as_ptr(),
                self.slots.as_mut_ptr(),
                self.tuples.len() as i32,
                pg_sys::GetCurrentCommandId(true),
                0,
                std::ptr::null_mut(),
            );
        });
    }

    /// Where the first so many rows were put.
    pub fn places(&self, count: usize) -> impl Iterator<Item = pg_sys::ItemPointerData> {
        self.slots[..count].iter().map(|slot| {
            // SAFETY: filled by heap_multi_insert.
            unsafe { (**slot).tts_tid }
        })
    }
}
