//! A page of a heap, seen through the lock that its caller holds. The server's own accessors are calls through a guard from
//! version 16 on, too dear for every row, so they are written out here.

use pgrx::pg_sys;
use pgrx::pg_sys::TransactionId;

/// Offset of the line pointers.
const HEADER: usize = 24;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    Unused,
    Normal,
    Redirect,
    Dead,
}

/// A line pointer: where a tuple lies in the page.
#[derive(Clone, Copy)]
pub struct Item {
    pub offset: usize,
    pub state: State,
    pub length: usize,
}

impl Item {
    /// Fifteen bits of offset, two of state, fifteen of length, in the order in which C compilers lay out bit fields.
    fn unpack(raw: u32) -> Item {
        let (offset, length) = if cfg!(target_endian = "little") {
            (raw & 0x7fff, raw >> 17)
        } else {
            (raw >> 17, raw & 0x7fff)
        };
        let state = match (raw >> 15) & 3 {
            0 => State::Unused,
            1 => State::Normal,
            2 => State::Redirect,
            _ => State::Dead,
        };
        Item {
            offset: offset as usize,
            state,
            length: length as usize,
        }
    }
}

/// Whoever makes one must hold the content lock of the buffer, exclusively for what changes the page.
#[derive(Clone, Copy)]
pub struct Page {
    start: *mut u8,
}

impl Page {
    /// # Safety
    /// The buffer must be pinned and locked for as long as the page is used, or the page be a copy of it.
    pub unsafe fn new(page: pg_sys::Page) -> Page {
        Page {
            start: page.cast::<u8>(),
        }
    }

    pub fn as_ptr(self) -> pg_sys::Page {
        self.start.cast()
    }

    #[allow(clippy::mut_from_ref)]
    fn header(&self) -> &mut pg_sys::PageHeaderData {
        // SAFETY: every page begins with its header; the borrow ends within the methods here.
        unsafe { &mut *self.start.cast::<pg_sys::PageHeaderData>() }
    }

    /// Line pointers; none in a page that was never used.
    pub fn items(self) -> u16 {
        usize::from(self.header().pd_lower).saturating_sub(HEADER) as u16 / 4
    }

    fn item_at(self, number: u16) -> *mut u32 {
        debug_assert!(number >= 1);
        // SAFETY: line pointers follow the header, four bytes each, and the caller counts to `items`.
        unsafe { self.start.add(HEADER).cast::<u32>().add(usize::from(number) - 1) }
    }

    /// From 1 to `items`.
    #[inline]
    pub fn item(self, number: u16) -> Item {
        // SAFETY: see item_at.
        Item::unpack(unsafe { *self.item_at(number) })
    }

    pub fn free_item(self, number: u16) {
        // SAFETY: see item_at; all zero means unused.
        unsafe { *self.item_at(number) = 0 }
    }

    /// The tuple under a line pointer in state Normal.
    #[inline]
    pub fn tuple(self, item: Item) -> Header {
        // SAFETY: a line pointer in use leads to a tuple within the page.
        let start = unsafe { self.start.add(item.offset).cast() };
        Header { start }
    }

    pub fn bytes<'a>(self, item: Item) -> &'a [u8] {
        // SAFETY: a line pointer in use leads to so many bytes within the page.
        unsafe { std::slice::from_raw_parts(self.start.add(item.offset), item.length) }
    }

    pub fn is_all_visible(self) -> bool {
        self.header().pd_flags & pg_sys::PD_ALL_VISIBLE as u16 != 0
    }

    /// Says from which transaction on a look for dead rows is worth while.
    pub fn set_prunable(self, xid: TransactionId) {
        let known = self.header().pd_prune_xid;
        // SAFETY: compares two numbers.
        if known == TransactionId::INVALID || unsafe { pg_sys::TransactionIdPrecedes(xid, known) } {
            self.header().pd_prune_xid = xid;
        }
    }

    /// Says that the page holds nothing, whatever lies there.
    pub fn empty(self) {
        let header = self.header();
        header.pd_lower = HEADER as u16;
        header.pd_upper = header.pd_special;
        header.pd_flags &= !((pg_sys::PD_PAGE_FULL | pg_sys::PD_HAS_FREE_LINES) as u16);
        header.pd_prune_xid = TransactionId::INVALID;
    }

    /// There is room again, and nothing dead left.
    pub fn set_pruned(self) {
        self.header().pd_prune_xid = TransactionId::INVALID;
        self.header().pd_flags &= !(pg_sys::PD_PAGE_FULL as u16);
    }
}

/// The header of a tuple.
#[derive(Clone, Copy)]
pub struct Header {
    start: *mut pg_sys::HeapTupleHeaderData,
}

const XMIN_BITS: u16 = pg_sys::HEAP_XMIN_FROZEN as u16;

impl Header {
    pub fn as_ptr(self) -> pg_sys::HeapTupleHeader {
        self.start
    }

    #[allow(clippy::mut_from_ref)]
    fn get(&self) -> &mut pg_sys::HeapTupleHeaderData {
        // SAFETY: a tuple of a page that is locked; the borrow ends within the methods here.
        unsafe { &mut *self.start }
    }

    #[inline]
    pub fn infomask(self) -> u16 {
        self.get().t_infomask
    }

    #[inline]
    pub fn infomask2(self) -> u16 {
        self.get().t_infomask2
    }

    #[inline]
    pub fn has(self, bits: u32) -> bool {
        self.infomask() & bits as u16 != 0
    }

    #[inline]
    pub fn xmax(self) -> TransactionId {
        // SAFETY: a tuple on a page holds transaction numbers in this place.
        unsafe { self.get().t_choice.t_heap.t_xmax }
    }

    /// Inserted so long ago that every snapshot sees it.
    #[inline]
    pub fn is_frozen(self) -> bool {
        self.infomask() & XMIN_BITS == XMIN_BITS
    }

    /// Known to come from a transaction that was rolled back.
    #[inline]
    pub fn is_undone(self) -> bool {
        self.infomask() & XMIN_BITS == pg_sys::HEAP_XMIN_INVALID as u16
    }

    /// Part of a chain of versions that share line pointers.
    #[inline]
    pub fn is_chained(self) -> bool {
        let chained = pg_sys::HEAP_HOT_UPDATED | pg_sys::HEAP_ONLY_TUPLE;
        self.infomask2() & chained as u16 != 0 || self.has(pg_sys::HEAP_MOVED)
    }

    /// Nobody deleted or locked it.
    #[inline]
    pub fn is_untouched(self) -> bool {
        self.has(pg_sys::HEAP_XMAX_INVALID)
    }

    /// Deleted or updated by one transaction, as opposed to locked, or touched by several.
    #[inline]
    pub fn has_deleter(self) -> bool {
        !self.has(pg_sys::HEAP_XMAX_IS_MULTI | pg_sys::HEAP_XMAX_LOCK_ONLY)
    }

    /// Deletes an untouched row: what heap_delete writes for such a one.
    #[inline]
    pub fn mark_deleted(self, xid: TransactionId, cid: pg_sys::CommandId, place: pg_sys::ItemPointerData) {
        let gone = pg_sys::HEAP_XMAX_BITS | pg_sys::HEAP_MOVED | pg_sys::HEAP_COMBOCID;
        let header = self.get();
        header.t_infomask &= !(gone as u16);
        header.t_infomask2 &= !(pg_sys::HEAP_HOT_UPDATED as u16);
        header.t_infomask2 |= pg_sys::HEAP_KEYS_UPDATED as u16;
        header.t_choice.t_heap.t_xmax = xid;
        header.t_choice.t_heap.t_field3.t_cid = cid;
        header.t_ctid = place;
    }
}

/// The place of a row.
pub fn place(block: u32, number: u16) -> pg_sys::ItemPointerData {
    pg_sys::ItemPointerData {
        ip_blkid: pg_sys::BlockIdData {
            bi_hi: (block >> 16) as u16,
            bi_lo: block as u16,
        },
        ip_posid: number,
    }
}

pub fn block_of(place: &pg_sys::ItemPointerData) -> u32 {
    u32::from(place.ip_blkid.bi_hi) << 16 | u32::from(place.ip_blkid.bi_lo)
}
