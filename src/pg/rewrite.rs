//! The rows of a table written anew, without the room that deleted ones left behind, for every snapshot to see.

use pgrx::pg_sys;

use super::memory::Scratch;
use super::relation::Relation;

/// Rows and bytes that are inserted together.
const ROWS: usize = 500;
const BYTES: u32 = 1 << 20;

/// Pages that were added and never used. VACUUM says of none of them that it is visible to all.
const MOST_UNUSED: usize = 64;

unsafe extern "C-unwind" {
    // Exported by the server, but not bound by pgrx.
    fn make_new_heap(
        old: pg_sys::Oid,
        tablespace: pg_sys::Oid,
        access_method: pg_sys::Oid,
        persistence: i8,
        lock: i32,
    ) -> pg_sys::Oid;
}

/// What a table looks like whose rows every snapshot sees, all of them, and in which nothing lies that some snapshot sees and
/// others do not. VACUUM notes that for each page, and whoever changes a page takes it back; so as long as no VACUUM runs, the
/// same number of such pages says that nothing was changed.
pub struct Settled {
    blocks: u32,
    visible: u32,
    unused: Vec<u32>,
}

impl Settled {
    /// None while the rows are not the same for everybody.
    pub fn of(relation: &Relation) -> Option<Settled> {
        let blocks = relation.blocks();
        let visible = visible_pages(relation);
        let mut settled = Settled {
            blocks,
            visible,
            unused: Vec::new(),
        };
        let missing = usize::try_from(blocks.checked_sub(visible)?).ok()?;
        if missing > MOST_UNUSED {
            return None;
        }
        if missing > 0 {
            settled.unused = (0..blocks)
                .filter(|block| !is_visible(relation, *block))
                .collect();
        }
        settled.still_holds(relation).then_some(settled)
    }

    /// Whether nothing was changed since, if VACUUM was kept away.
    pub fn still_holds(&self, relation: &Relation) -> bool {
        relation.blocks() == self.blocks
            && visible_pages(relation) == self.visible
            && self.unused.iter().all(|block| is_unused(relation, *block))
    }
}

fn visible_pages(relation: &Relation) -> u32 {
    let mut visible = 0;
    // SAFETY: open, with storage.
    unsafe { pg_sys::visibilitymap_count(relation.as_ptr(), &mut visible, std::ptr::null_mut()) };
    visible
}

fn is_visible(relation: &Relation, block: u32) -> bool {
    let mut map = pg_sys::InvalidBuffer as pg_sys::Buffer;
    // SAFETY: open; the page of the map is released below.
    unsafe {
        let bits = pg_sys::visibilitymap_get_status(relation.as_ptr(), block, &mut map);
        if map != pg_sys::InvalidBuffer as pg_sys::Buffer {
            pg_sys::ReleaseBuffer(map);
        }
        u32::from(bits) & pg_sys::VISIBILITYMAP_ALL_VISIBLE != 0
    }
}

/// A page that was never given a header.
fn is_unused(relation: &Relation, block: u32) -> bool {
    let buffer = relation.pin(block);
    // SAFETY: pinned just now; both are given back.
    unsafe {
        pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
        let header = pg_sys::BufferGetPage(buffer).cast::<pg_sys::PageHeaderData>();
        let unused = (*header).pd_upper == 0;
        pg_sys::UnlockReleaseBuffer(buffer);
        unused
    }
}

/// An empty table with the columns, the storage parameters and the place of another one, which must be locked. The server
/// knows of it what it is for: logical decoding passes over what is written into it.
pub fn empty_twin(relation: &Relation) -> pg_sys::Oid {
    // SAFETY: open and locked, so its entry stays; the guard turns errors into what Rust can carry.
    unsafe {
        let class = *(*relation.as_ptr()).rd_rel;
        let twin = pg_sys::ffi::pg_guard_ffi_boundary(|| {
            make_new_heap(
                relation.oid(),
                class.reltablespace,
                class.relam,
                class.relpersistence,
                pg_sys::ShareUpdateExclusiveLock as i32,
            )
        });
        pg_sys::CommandCounterIncrement();
        twin
    }
}

/// Copies all rows that the current snapshot sees, in the order in which they lie: that of time, by which BRIN finds them. They
/// count as having been there always. Returns how many.
pub fn copy_rows(from: &Relation, to: &Relation) -> u64 {
    let scratch = Scratch::new();
    let mut slots = Slots::like(from);
    let mut copied = 0;
    // SAFETY: both are open and locked, the second one by its maker alone; the snapshot is that of the caller and outlives the
    // scan.
    unsafe {
        let flags = pg_sys::ScanOptions::SO_TYPE_SEQSCAN
            | pg_sys::ScanOptions::SO_ALLOW_STRAT
            | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE;
        let scan = pg_sys::heap_beginscan(
            from.as_ptr(),
            pg_sys::GetActiveSnapshot(),
            0,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            flags,
        );
        let ring = pg_sys::GetBulkInsertState();
        loop {
            pgrx::check_for_interrupts!();
            let rows = scratch.within(|| slots.fill(scan));
            if rows == 0 {
                break;
            }
            scratch.within(|| {
                pg_sys::heap_multi_insert(
                    to.as_ptr(),
                    slots.slots.as_mut_ptr(),
                    rows as i32,
                    pg_sys::GetCurrentCommandId(true),
                    (pg_sys::HEAP_INSERT_FROZEN | pg_sys::HEAP_INSERT_SKIP_FSM) as i32,
                    ring,
                );
            });
            slots.clear(rows);
            scratch.reset();
            copied += rows as u64;
        }
        pg_sys::FreeBulkInsertState(ring);
        pg_sys::heap_endscan(scan);
    }
    copied
}

struct Slots {
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    /// In which they lie.
    _memory: Scratch,
}

impl Slots {
    fn like(relation: &Relation) -> Slots {
        let memory = Scratch::new();
        // SAFETY: open; the copy of the descriptor is not counted by anybody and lives as long as the slots.
        let slots = memory.within(|| unsafe {
            let descriptor = pg_sys::CreateTupleDescCopy((*relation.as_ptr()).rd_att);
            (0..ROWS)
                .map(|_| pg_sys::MakeSingleTupleTableSlot(descriptor, &pg_sys::TTSOpsHeapTuple))
                .collect()
        });
        Slots {
            slots,
            _memory: memory,
        }
    }

    /// Copies of the next rows; how many.
    ///
    /// # Safety
    /// The scan must be one of a heap with the descriptor of the slots.
    unsafe fn fill(&mut self, scan: pg_sys::TableScanDesc) -> usize {
        let mut bytes = 0;
        let mut rows = 0;
        // SAFETY: promised by the caller; a copy belongs to its slot.
        unsafe {
            while rows < ROWS && bytes < BYTES {
                let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
                if tuple.is_null() {
                    break;
                }
                bytes += (*tuple).t_len;
                pg_sys::ExecStoreHeapTuple(pg_sys::heap_copytuple(tuple), self.slots[rows], true);
                rows += 1;
            }
        }
        rows
    }

    fn clear(&mut self, rows: usize) {
        for slot in &self.slots[..rows] {
            // SAFETY: filled above.
            unsafe {
                if let Some(clear) = (*(**slot).tts_ops).clear {
                    clear(*slot);
                }
            }
        }
    }
}
