//! Taking rows out of a staging table: one visit a page, no executor. Under the lock of the page its visible rows are copied
//! out and marked as deleted, all at once; what became invisible to every snapshot since the last visit is cleared away
//! on the way. Whatever is not plain goes through the server's heap_delete, which never waits here.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::pg_sys;
use pgrx::pg_sys::TransactionId;

use super::citus;
use super::conflict;
use super::detoast;
use super::fault;
use super::heap_page::{Page, place};
use super::horizon::precedes;
use super::layout;
use super::page_plan::{self, Found, Plan, Rooms, Work};
use super::relation::Relation;
use super::single;
use super::verdicts::Verdicts;
use super::{settings, xact};
use crate::staging::batch::Batch;
use crate::staging::tour::Tour;

/// Rows that a page can hold, and some more: line pointers may be left over from rows that are gone.
const PAGE_ROWS: usize = 512;

/// The trigger that keeps users from changing staged rows lets the flush pass.
const OWN_TRIGGER: &std::ffi::CStr = c"staging_refuses_change";

thread_local! {
    /// Where the last batch found enough, by table. Only a place to begin: each look goes round all pages.
    static STOPPED_AT: RefCell<HashMap<pg_sys::Oid, u32>> = RefCell::default();
}

/// How the rows of a page are marked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Marking {
    /// All at once; a crash empties the table anyway.
    Bulk,
    /// All at once, and the changed bytes of the page go into WAL as one record.
    BulkLogged,
    /// One by one by the server, since somebody reads our deletions from WAL.
    Single,
}

/// A staging table that can be read and marked page by page with the same result as DELETE.
pub struct Staging {
    relation: Relation,
    marking: Marking,
    rooms: Rooms,
}

impl Staging {
    /// None where only the executor is right. The lock is the one that DELETE takes.
    pub fn open(oid: pg_sys::Oid) -> Option<Staging> {
        let relation = Relation::open_to_write(oid);
        let plain = !xact::is_serializable()
            && relation.is_plain_heap()
            && !relation.has_index()
            && !relation.has_rules()
            && !relation.has_row_security()
            && !relation.has_trigger(pg_sys::TRIGGER_TYPE_DELETE, Some(OWN_TRIGGER))
            && relation.may(pg_sys::ACL_SELECT | pg_sys::ACL_DELETE)
            && !citus::is_distributed(oid)
            && layout::is_reading(&relation);
        if !plain {
            return None;
        }
        // Replay that is verified compares whole pages, hint bits included, unless the record is one of the heap's own.
        let marking = if relation.is_unlogged() {
            Marking::Bulk
        } else if settings::writes_logical_wal() || settings::has_replay_verified() {
            Marking::Single
        } else {
            Marking::BulkLogged
        };
        // Where replay is verified, making room is left to VACUUM.
        let rooms = match marking {
            Marking::Bulk => Rooms::Any,
            _ if settings::has_replay_verified() => Rooms::None,
            _ => Rooms::WholePages,
        };
        Some(Staging {
            relation,
            marking,
            rooms,
        })
    }

    /// Without pages there is nothing to look at.
    pub fn has_pages(&self) -> bool {
        self.relation.blocks() > 0
    }

    /// Whether there may be rows to take for the active snapshot, or moved ones to clear away. Ends at the first; rows that
    /// stay cost it far less than they cost the executor. With it, unless there is such work, how many rows others have locked.
    pub fn work(&self) -> (Work, i64) {
        // SAFETY: the caller has an active snapshot for as long as this runs, and the relation is open.
        let mut verdicts = unsafe { Verdicts::new(pg_sys::GetActiveSnapshot(), self.relation.as_ptr()) };
        let (mut found, mut locked) = (Work::None, 0);
        let mut tour = self.tour();
        while let Some(block) = tour.next() {
            pgrx::check_for_interrupts!();
            let buffer = self.relation.pin(block);
            // SAFETY: pinned just now; both are given back.
            let here = unsafe {
                pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
                let page = Page::new(pg_sys::BufferGetPage(buffer));
                let work = page_plan::work(&mut verdicts, (buffer, page, block), self.rooms, &mut locked);
                pg_sys::UnlockReleaseBuffer(buffer);
                work
            };
            found = found.max(here);
            if found == Work::Now {
                break;
            }
            if verdicts.met_somebody() {
                tour.leap();
            }
        }
        (found, locked)
    }

    /// Every page once, from where the last batch of this process stopped: the pages before hold what it took, and to look
    /// at them again for each batch would cost the square of the backlog.
    fn tour(&self) -> Tour {
        let known = STOPPED_AT.with_borrow(|stopped| stopped.get(&self.relation.oid()).copied());
        Tour::new(self.relation.blocks(), known.unwrap_or(0))
    }

    fn stop_at(&self, block: u32) {
        STOPPED_AT.with_borrow_mut(|stopped| stopped.insert(self.relation.oid(), block));
    }

    /// Takes the rows that the active snapshot sees and that have a place to go to, until the batch is full.
    pub fn claim(&self, batch: &mut Batch) {
        let blocks = self.relation.blocks();
        if blocks == 0 {
            return;
        }
        if self.marking == Marking::Single {
            self.relation.check_replica_identity();
        }
        // SAFETY: the caller has an active snapshot for as long as this runs, and the relation is open.
        let verdicts = unsafe { Verdicts::new(pg_sys::GetActiveSnapshot(), self.relation.as_ptr()) };
        let mut claim = Claim {
            staging: self,
            batch,
            verdicts,
            deleter: None,
            plan: Plan::default(),
            reclaimed: None,
            announced: None,
        };
        let mut stopped = 0;
        let mut tour = self.tour();
        while let Some(block) = tour.next() {
            pgrx::check_for_interrupts!();
            if claim.batch.room() == 0 {
                stopped = block;
                break;
            }
            claim.visit(block);
            if claim.verdicts.met_somebody() && claim.plan.finds() == 0 {
                tour.leap();
            }
        }
        self.stop_at(stopped);
        if let Some((first, last)) = claim.reclaimed {
            // SAFETY: open; makes the room of these pages known to searches.
            unsafe { pg_sys::FreeSpaceMapVacuumRange(self.relation.as_ptr(), first, last + 1) }
        }
    }
}

/// As whom rows are deleted. Known from the first row on: a look that finds nothing takes no transaction id.
#[derive(Clone, Copy)]
struct Mark {
    xid: TransactionId,
    cid: pg_sys::CommandId,
}

impl Mark {
    fn new() -> Mark {
        // SAFETY: inside a transaction that may write; the second call is what every deletion of the server makes first.
        unsafe {
            pg_sys::MultiXactIdSetOldestMember();
            Mark {
                xid: pg_sys::GetCurrentTransactionId(),
                cid: pg_sys::GetCurrentCommandId(true),
            }
        }
    }
}

struct Claim<'a> {
    staging: &'a Staging,
    batch: &'a mut Batch,
    verdicts: Verdicts,
    deleter: Option<Mark>,
    plan: Plan,
    /// First and last page that got room.
    reclaimed: Option<(u32, u32)>,
    /// Up to which deleter standbys know that its rows go.
    announced: Option<TransactionId>,
}

impl Claim<'_> {
    fn visit(&mut self, block: u32) {
        // Nothing is allocated for rows under the lock.
        self.batch.reserve(PAGE_ROWS, pg_sys::BLCKSZ as usize);
        let buffer = self.staging.relation.pin(block);
        let page = self.lock_and_look(buffer, block);
        let space = self.change(buffer, block, page);
        // SAFETY: locked above; the pin stays for the rows that the server has to delete.
        unsafe { pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32) };
        if let Some(space) = space {
            self.note_room(block, space);
        }
        for index in 0..self.plan.single.len() {
            // Values that were kept outside the page come in whole: a page of them may be any size.
            if self.batch.room() == 0 {
                break;
            }
            self.delete_one(buffer, block, self.plan.single[index]);
        }
        for time in &self.plan.waiting {
            self.batch.leave(*time, 1);
        }
        self.batch.waiting.locked += self.plan.locked;
        self.batch.waiting.held_back += self.plan.held_back;
        // SAFETY: pinned above.
        unsafe { pg_sys::ReleaseBuffer(buffer) };
        fault::point("page_claimed");
    }

    /// Locks the page and makes the plan.
    fn lock_and_look(&mut self, buffer: pg_sys::Buffer, block: u32) -> Page {
        loop {
            // SAFETY: pinned by the caller.
            let page = unsafe {
                pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_EXCLUSIVE as i32);
                Page::new(pg_sys::BufferGetPage(buffer))
            };
            self.plan
                .make(&mut self.verdicts, self.batch, (buffer, page, block));
            if self.plan.finds() > 0 && self.deleter.is_none() {
                // Getting a transaction id may take a while; not while others wait for the page.
                // SAFETY: locked just now.
                unsafe { pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32) };
                self.deleter = Some(Mark::new());
                continue;
            }
            // The server's deletion keeps the visibility map right, and knows how to write what others decode.
            if page.is_all_visible() || self.staging.marking == Marking::Single {
                self.plan.single.append(&mut self.plan.take);
            }
            return page;
        }
    }

    /// Copies and marks what is plain, clears away what is dead; the free space of the page where it changed.
    fn change(&mut self, buffer: pg_sys::Buffer, block: u32, page: Page) -> Option<usize> {
        for found in &self.plan.take {
            let bytes = page.bytes(page.item(found.number));
            self.batch.add(bytes, found.ingested_at, found.leaf);
        }
        match self.staging.marking {
            Marking::Bulk => self.change_in_place(buffer, block, page),
            _ if self.plan.is_all_dead() => self.empty_logged(buffer, block),
            _ => {
                self.mark_logged(buffer, block);
                None
            }
        }
    }

    fn change_in_place(&mut self, buffer: pg_sys::Buffer, block: u32, page: Page) -> Option<usize> {
        // SAFETY: locked by the caller. Nobody else has a pin, so nobody looks at tuples that are moved or taken away.
        let reclaim = !self.plan.dead.is_empty() && unsafe { pg_sys::IsBufferCleanupOK(buffer) };
        if self.plan.take.is_empty() && !reclaim {
            return None;
        }
        // SAFETY: in between nothing can fail but by corruption, and half a change must not stay: the server stops then.
        unsafe {
            pg_sys::CritSectionCount += 1;
            if let Some(mark) = self.deleter.filter(|_| !self.plan.take.is_empty()) {
                self.mark(block, page, mark);
                page.set_prunable(mark.xid);
            }
            if reclaim && self.plan.is_all_dead() {
                page.empty();
            } else if reclaim {
                for number in &self.plan.dead {
                    page.free_item(*number);
                }
                pg_sys::PageRepairFragmentation(page.as_ptr());
                pg_sys::PageTruncateLinePointerArray(page.as_ptr());
                if !self.plan.leftover && self.plan.take.is_empty() {
                    page.set_pruned();
                }
            }
            pg_sys::MarkBufferDirty(buffer);
            pg_sys::CritSectionCount -= 1;
        }
        self.count_deleted();
        reclaim.then(|| self.count_cleared(page))
    }

    fn mark_logged(&mut self, buffer: pg_sys::Buffer, block: u32) {
        let Some(mark) = self.deleter.filter(|_| !self.plan.take.is_empty()) else {
            return;
        };
        self.log_change(buffer, |copy| self.mark(block, copy, mark));
        self.count_deleted();
    }

    /// Only pages on which nothing is left are cleared: replay moves no row then, and needs no more than the lock that it
    /// takes, although readers of a standby may have the page pinned. What is dead beside living rows waits for them to go.
    fn empty_logged(&mut self, buffer: pg_sys::Buffer, block: u32) -> Option<usize> {
        // SAFETY: locked by the caller.
        if self.staging.rooms != Rooms::WholePages || !unsafe { pg_sys::IsBufferCleanupOK(buffer) } {
            return None;
        }
        let is_news = |newest: &TransactionId| self.announced.is_none_or(|known| precedes(known, *newest));
        if let Some(newest) = self.plan.newest.filter(is_news) {
            conflict::log(self.staging.relation.as_ptr(), block, newest);
            self.announced = Some(newest);
        }
        self.log_change(buffer, Page::empty);
        // SAFETY: locked by the caller.
        Some(self.count_cleared(unsafe { Page::new(pg_sys::BufferGetPage(buffer)) }))
    }

    /// Changes a page of a logged table.
    fn log_change(&self, buffer: pg_sys::Buffer, change: impl FnOnce(Page)) {
        // SAFETY: the buffer is locked by the caller. The copy that is changed here replaces the page, and the bytes that
        // differ are logged, in one critical section of the server.
        unsafe {
            let state = pg_sys::GenericXLogStart(self.staging.relation.as_ptr());
            change(Page::new(pg_sys::GenericXLogRegisterBuffer(state, buffer, 0)));
            pg_sys::GenericXLogFinish(state);
        }
    }

    /// The server counts dead rows for autovacuum, which need not come for these.
    fn count_cleared(&self, page: Page) -> usize {
        // SAFETY: open; the page is still locked.
        unsafe {
            let dead = i32::try_from(self.plan.dead.len()).unwrap_or(i32::MAX);
            pg_sys::pgstat_update_heap_dead_tuples(self.staging.relation.as_ptr(), dead);
            pg_sys::PageGetHeapFreeSpace(page.as_ptr())
        }
    }

    fn mark(&self, block: u32, page: Page, mark: Mark) {
        for found in &self.plan.take {
            let header = page.tuple(page.item(found.number));
            header.mark_deleted(mark.xid, mark.cid, place(block, found.number));
        }
    }

    /// The server counts deletions for autovacuum; marking all at once must not hide them.
    fn count_deleted(&self) {
        let deleted = self.plan.take.len();
        if deleted == 0 {
            return;
        }
        let relation = self.staging.relation.as_ptr();
        // SAFETY: open. The first is counted by the server, which thereby sets up the counters, unless counting is off.
        unsafe {
            pg_sys::pgstat_count_heap_delete(relation);
            let counters = (*relation).pgstat_info;
            if !counters.is_null() && !(*counters).trans.is_null() {
                (*(*counters).trans).tuples_deleted += deleted as i64 - 1;
            }
        }
    }

    fn note_room(&mut self, block: u32, space: usize) {
        // SAFETY: open; no lock is held.
        unsafe { pg_sys::RecordPageWithFreeSpace(self.staging.relation.as_ptr(), block, space) };
        let (first, last) = self.reclaimed.unwrap_or((block, block));
        self.reclaimed = Some((first.min(block), last.max(block)));
    }

    /// Has the server delete one row, and takes it if nobody else holds it.
    fn delete_one(&mut self, buffer: pg_sys::Buffer, block: u32, found: Found) {
        let Some(mark) = self.deleter else {
            return;
        };
        let relation = self.staging.relation.as_ptr();
        if !single::delete(relation, place(block, found.number), mark.cid) {
            return;
        }
        // SAFETY: pinned; the lock is for the header, the rest of a tuple never changes.
        let bytes = unsafe {
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let page = Page::new(pg_sys::BufferGetPage(buffer));
            let bytes = page.bytes(page.item(found.number)).to_vec();
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32);
            bytes
        };
        // SAFETY: a tuple of this relation.
        unsafe {
            detoast::with_values_inside(&bytes, (*relation).rd_att, |bytes| {
                self.batch.add(bytes, found.ingested_at, found.leaf);
            });
        }
    }
}
