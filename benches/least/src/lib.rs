//! The smallest flush that moves rows at all: scan, claim, multi_insert. A yardstick for the benchmarks and nothing else: it
//! checks no row, knows no partitions and no index, makes no room, and leaves the table bare for all other cases.

use pgrx::pg_sys;
use pgrx::prelude::*;

/// How a page is laid out is written down once.
#[allow(dead_code)]
#[path = "../../../src/pg/heap_page.rs"]
mod heap_page;

use heap_page::{Page, State, place};

pgrx::pg_module_magic!();

/// Rows that are inserted together.
const MOST: usize = 1000;

/// Room for the rows of one page, in words: all of its bytes, each row rounded up.
const PAGE_WORDS: usize = 2048;
const PAGE_ROWS: usize = 512;

const MAIN: pg_sys::ForkNumber::Type = pg_sys::ForkNumber::MAIN_FORKNUM;

/// Copies of tuples, each at the beginning of a word, with their lengths in bytes.
#[derive(Default)]
struct Rows {
    words: Vec<u64>,
    rows: Vec<(usize, u32)>,
}

/// Moves all visible rows of one table into another one that has the same columns.
#[pg_extern]
fn least_flush(staging: pg_sys::Oid, facts: pg_sys::Oid) -> i64 {
    // SAFETY: both are opened with the lock that changing them takes, and closed before it is given back at the commit.
    unsafe {
        let from = pg_sys::table_open(staging, pg_sys::RowExclusiveLock as i32);
        let to = pg_sys::table_open(facts, pg_sys::RowExclusiveLock as i32);
        let mut rows = Rows::default();
        claim(from, &mut rows);
        insert(to, &mut rows);
        pg_sys::table_close(to, pg_sys::NoLock as i32);
        pg_sys::table_close(from, pg_sys::NoLock as i32);
        rows.rows.len() as i64
    }
}

/// # Safety
/// The relation must be an open, unlogged heap.
unsafe fn claim(relation: pg_sys::Relation, rows: &mut Rows) {
    // SAFETY: the relation is open; each page is locked while it is looked at, and nothing is allocated meanwhile.
    unsafe {
        let snapshot = pg_sys::GetActiveSnapshot();
        let xid = pg_sys::GetCurrentTransactionId();
        let cid = pg_sys::GetCurrentCommandId(true);
        let mut visible = pg_sys::TransactionId::INVALID;
        for block in 0..pg_sys::RelationGetNumberOfBlocksInFork(relation, MAIN) {
            rows.words.reserve(PAGE_WORDS);
            rows.rows.reserve(PAGE_ROWS);
            let buffer = pg_sys::ReadBuffer(relation, block);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_EXCLUSIVE as i32);
            let page = Page::new(pg_sys::BufferGetPage(buffer));
            for number in 1..=page.items() {
                let item = page.item(number);
                if item.state != State::Normal {
                    continue;
                }
                let header = page.tuple(item);
                let xmin = (*header.as_ptr()).t_choice.t_heap.t_xmin;
                if !header.is_untouched() || xmin != visible {
                    let mut tuple = pg_sys::HeapTupleData {
                        t_len: item.length as u32,
                        t_self: place(block, number),
                        t_tableOid: (*relation).rd_id,
                        t_data: header.as_ptr(),
                    };
                    if !pg_sys::HeapTupleSatisfiesVisibility(&mut tuple, snapshot, buffer) {
                        continue;
                    }
                    visible = xmin;
                }
                rows.add(page.bytes(item));
                header.mark_deleted(xid, cid, place(block, number));
            }
            pg_sys::MarkBufferDirty(buffer);
            pg_sys::UnlockReleaseBuffer(buffer);
        }
    }
}

impl Rows {
    fn add(&mut self, tuple: &[u8]) {
        let start = self.words.len();
        self.words.resize(start + tuple.len().div_ceil(8), 0);
        self.rows.push((start, tuple.len() as u32));
        let to = self.words[start..].as_mut_ptr().cast::<u8>();
        // SAFETY: so many words were added just now.
        unsafe { std::ptr::copy_nonoverlapping(tuple.as_ptr(), to, tuple.len()) }
    }
}

/// # Safety
/// The relation must be an open heap without indexes, with the columns of the rows.
unsafe fn insert(relation: pg_sys::Relation, rows: &mut Rows) {
    // SAFETY: the slots and what the server allocates for an insertion live in contexts that are freed as a whole; a slot
    // that says it owns its tuple is not asked to copy it, and nobody clears these slots.
    unsafe {
        let slots_context = context();
        let chunk_context = context();
        let before = pg_sys::MemoryContextSwitchTo(slots_context);
        let descriptor = pg_sys::CreateTupleDescCopy((*relation).rd_att);
        let mut slots: Vec<*mut pg_sys::TupleTableSlot> = (0..MOST.min(rows.rows.len()))
            .map(|_| pg_sys::MakeSingleTupleTableSlot(descriptor, &pg_sys::TTSOpsHeapTuple))
            .collect();
        let mut tuples = vec![pg_sys::HeapTupleData::default(); slots.len()];
        let words = rows.words.as_mut_ptr();
        for chunk in rows.rows.chunks(MOST) {
            for (index, (start, length)) in chunk.iter().enumerate() {
                tuples[index].t_len = *length;
                tuples[index].t_data = words.add(*start).cast();
                let slot = slots[index].cast::<pg_sys::HeapTupleTableSlot>();
                (*slot).tuple = &mut tuples[index];
                (*slot).off = 0;
                (*slot).base.tts_nvalid = 0;
                (*slot).base.tts_flags &= !(pg_sys::TTS_FLAG_EMPTY as u16);
                (*slot).base.tts_flags |= pg_sys::TTS_FLAG_SHOULDFREE as u16;
            }
            pg_sys::MemoryContextSwitchTo(chunk_context);
            pg_sys::heap_multi_insert(
                relation,
                slots.as_mut_ptr(),
                chunk.len() as i32,
                pg_sys::GetCurrentCommandId(true),
                0,
                std::ptr::null_mut(),
            );
            pg_sys::MemoryContextReset(chunk_context);
        }
        pg_sys::MemoryContextSwitchTo(before);
        pg_sys::MemoryContextDelete(chunk_context);
        pg_sys::MemoryContextDelete(slots_context);
    }
}

fn context() -> pg_sys::MemoryContext {
    // SAFETY: a static name; the parent is the current context.
    unsafe {
        pg_sys::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"least flush".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        )
    }
}
