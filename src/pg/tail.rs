//! Giving back the empty end of a staging table that grew by a backlog. VACUUM does it in one go, under a lock that nobody
//! gets past meanwhile: 42 ms for 150 MB. Here it goes in steps of some milliseconds, with air for writers in between, and only
//! when nobody uses the table at that moment.

use std::time::{Duration, Instant};

use pgrx::pg_sys;

use super::compat;
use super::heap_page::{Page, State};
use super::relation::Relation;

/// What the lock is worth: 16 MB.
const WORTH: u32 = 2048;

/// Longest time that one step should hold the lock. A step that took less is followed by a larger one.
const HOLD: Duration = Duration::from_millis(3);
const FIRST_STEP: u32 = 256;
const LARGEST_STEP: u32 = 4096;

/// How long writers have the table for themselves between two steps, or until the next try.
const AIR: Duration = Duration::from_millis(2);

/// How long one call may take.
const LIMIT: Duration = Duration::from_millis(60);

/// So many pages there may be in use: sessions go on writing where they wrote last, as long as there is room.
const STRAYS: usize = 16;

/// Whether the table ends in so many empty pages, or nearly so, that it is worth while to give them back.
pub fn is_long(table: pg_sys::Oid) -> bool {
    let relation = Relation::open_to_write(table);
    let blocks = relation.blocks();
    blocks > WORTH
        && (blocks - WORTH..blocks)
            .filter(|block| !is_empty(&relation, *block))
            .nth(STRAYS)
            .is_none()
}

/// Gives back what it can in a short time; how many pages.
pub fn cut(table: pg_sys::Oid) -> u32 {
    let start = Instant::now();
    let mut step = FIRST_STEP;
    let mut cut = 0;
    while start.elapsed() < LIMIT {
        // SAFETY: a lock of this transaction, which is given back below, as VACUUM does: whoever gets the next lock on the table
        // learns of its new size with it. After an error the rollback gives it back.
        let locked = unsafe { pg_sys::ConditionalLockRelationOid(table, pg_sys::AccessExclusiveLock as i32) };
        if locked {
            let since = Instant::now();
            let pages = cut_step(table, step);
            // SAFETY: taken above.
            unsafe { pg_sys::UnlockRelationOid(table, pg_sys::AccessExclusiveLock as i32) };
            cut += pages;
            if pages < step {
                send_writers_to_the_front(table);
                break;
            }
            step = match since.elapsed() {
                held if held > 2 * HOLD => return cut,
                held if held > HOLD / 2 => step,
                _ => (step * 2).min(LARGEST_STEP),
            };
        }
        super::signals::pause(AIR);
    }
    cut
}

/// Has all sessions forget where they wrote last; the map of free space then leads them to pages further to the front.
fn send_writers_to_the_front(table: pg_sys::Oid) {
    let relation = Relation::open_to_write(table);
    // SAFETY: open.
    unsafe { compat::forget_file(relation.as_ptr()) }
}

/// Under the lock.
fn cut_step(table: pg_sys::Oid, most: u32) -> u32 {
    let relation = Relation::open_locked(table);
    let blocks = relation.blocks();
    let pages = empty_pages(&relation, blocks, most);
    if pages > 0 {
        // SAFETY: open and locked against everybody; what is cut off holds nothing.
        unsafe { pg_sys::RelationTruncate(relation.as_ptr(), blocks - pages) };
    }
    pages
}

/// How many pages before `end` hold nothing; looks at no more than `most`.
fn empty_pages(relation: &Relation, end: u32, most: u32) -> u32 {
    let first = end.saturating_sub(most);
    let full = (first..end).rev().find(|block| !is_empty(relation, *block));
    end - full.map_or(first, |block| block + 1)
}

fn is_empty(relation: &Relation, block: u32) -> bool {
    pgrx::check_for_interrupts!();
    let buffer = relation.pin(block);
    // SAFETY: pinned just now; both are given back.
    unsafe {
        pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
        let page = Page::new(pg_sys::BufferGetPage(buffer));
        let empty = (1..=page.items()).all(|number| page.item(number).state == State::Unused);
        pg_sys::UnlockReleaseBuffer(buffer);
        empty
    }
}
