//! A partition grows by all the pages that a batch needs at once. Up to version 15 the server adds them one by one, writing a page of
//! zeros for each, which the checkpointer overwrites: half the price of a large flush. From 16 on it does by itself what is done
//! here: the file system sets the room aside, and nothing is written but the last page.
//!
//! Why this is safe. All of it happens under the lock for extensions. Room is set aside before anything else, behind the end of
//! the file, so that a full disk is met here, changes nothing, and leaves the rest to the server. Then each new page gets its buffer
//! of zeros: nobody can have such a page, since nobody looks behind the end. Only then does the file grow, by the server's own
//! `smgrextend` of the last page, which also has the file synchronised at the next checkpoint; what lies before that page
//! reads as zeros, buffers or not. From there on these are pages like those that the server leaves when it extends for several that wait:
//! new ones, known to the free space map, that whoever takes one initialises. After a crash they are the same, or not there.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::relation::Relation;
use crate::staging::batch::{Batch, Row};

/// Fewer pages cost more to prepare than they save.
const LEAST: u32 = 16;

/// Grows a relation by what rows need, if that is worth while; never by more.
pub fn make_room(relation: &Relation, batch: &Batch, rows: &[Row]) {
    let bytes: usize = rows.iter().map(|row| in_page(batch.tuple(row).len())).sum();
    let wanted = u32::try_from(bytes / page_room(relation)).unwrap_or(u32::MAX);
    let pointer = relation.as_ptr();
    if wanted < LEAST || has_room(pointer, wanted) {
        return;
    }
    // SAFETY: open and locked; the lock for extensions is given back below, or at the end of the transaction after an error.
    let new = unsafe {
        pg_sys::LockRelationForExtension(pointer, pg_sys::ExclusiveLock as i32);
        let new = grow(pointer, wanted);
        pg_sys::UnlockRelationForExtension(pointer, pg_sys::ExclusiveLock as i32);
        new
    };
    let Some((first, end)) = new else {
        return;
    };
    for block in first..end {
        // SAFETY: open; a page that has nothing but its header when it is initialised.
        unsafe { pg_sys::RecordPageWithFreeSpace(pointer, block, PAGE - HEADER) };
    }
    // SAFETY: open; makes the room of these pages known to searches.
    unsafe { pg_sys::FreeSpaceMapVacuumRange(pointer, first, end) };
}

/// Whether there is room already, such as VACUUM makes of what was undone: that is used first.
///
/// Pages that are new count if there are as many as are wanted, left by a flush that failed. If there are fewer, another flusher made
/// them for itself and is at them now; what it leaves, if it fails as well, is not more than it wanted. One that succeeds
/// leaves none: rows take at least as many pages as are made for them.
fn has_room(relation: pg_sys::Relation, wanted: u32) -> bool {
    // The map counts in steps of a 256th of a page.
    let nearly_all = PAGE - PAGE / 16;
    // SAFETY: open; looks into the free space map and asks for the length of the file.
    let (free, end) = unsafe {
        (
            pg_sys::GetPageWithFreeSpace(relation, nearly_all),
            pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM),
        )
    };
    free < end && (!is_new(relation, free) || is_new(relation, end.saturating_sub(wanted)))
}

/// Whether nobody has written to a page of the relation yet.
fn is_new(relation: pg_sys::Relation, block: u32) -> bool {
    // SAFETY: open; the page is there, and looked at under its lock.
    unsafe {
        let buffer = pg_sys::ReadBuffer(relation, block);
        pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
        let page = pg_sys::BufferGetPage(buffer).cast::<pg_sys::PageHeaderData>();
        let new = (*page).pd_upper == 0;
        pg_sys::UnlockReleaseBuffer(buffer);
        new
    }
}

/// What a tuple takes of a page, with its line pointer.
fn in_page(length: usize) -> usize {
    length.next_multiple_of(size_of::<u64>()) + size_of::<pg_sys::ItemIdData>()
}

/// Bytes of a page for tuples and their line pointers, as far as INSERT fills it.
fn page_room(relation: &Relation) -> usize {
    // SAFETY: open; the options, where there are any, are those of a heap.
    let fillfactor = unsafe {
        let options = (*relation.as_ptr()).rd_options.cast::<pg_sys::StdRdOptions>();
        if options.is_null() {
            100
        } else {
            (*options).fillfactor
        }
    };
    (PAGE - HEADER) * usize::try_from(fillfactor).unwrap_or(100) / 100
}

const PAGE: usize = pg_sys::BLCKSZ as usize;
const HEADER: usize = std::mem::offset_of!(pg_sys::PageHeaderData, pd_linp);

#[repr(align(4096))]
struct Zeros([std::ffi::c_char; PAGE]);

/// The new pages, from and up to; none where the file system does not set room aside.
///
/// # Safety
/// The relation must be open, and its lock for extensions held.
unsafe fn grow(relation: pg_sys::Relation, wanted: u32) -> Option<(u32, u32)> {
    // SAFETY: promised by the caller; buffers are pinned and locked when they are given back.
    unsafe {
        let storage = pg_sys::smgropen((*relation).rd_node, (*relation).rd_backend);
        let first = pg_sys::smgrnblocks(storage, pg_sys::ForkNumber::MAIN_FORKNUM);
        let in_segment = first % pg_sys::RELSEG_SIZE;
        // The server opens segments.
        let count = wanted.min(pg_sys::RELSEG_SIZE - in_segment);
        if in_segment == 0 || count < LEAST || !set_aside(&*relation, first, count) {
            return None;
        }
        for block in first..first + count {
            let buffer = pg_sys::ReadBufferExtended(
                relation,
                pg_sys::ForkNumber::MAIN_FORKNUM,
                block,
                pg_sys::ReadBufferMode::RBM_ZERO_AND_LOCK,
                std::ptr::null_mut(),
            );
            pg_sys::UnlockReleaseBuffer(buffer);
        }
        let mut zeros = Zeros([0; PAGE]);
        pg_sys::smgrextend(
            storage,
            pg_sys::ForkNumber::MAIN_FORKNUM,
            first + count - 1,
            zeros.0.as_mut_ptr(),
            false,
        );
        Some((first, first + count))
    }
}

/// Has the file system keep room behind the end of a segment, whose size stays.
fn set_aside(relation: &pg_sys::RelationData, first: u32, count: u32) -> bool {
    let node = relation.rd_node;
    let segment = first / pg_sys::RELSEG_SIZE;
    let at = u64::from(first % pg_sys::RELSEG_SIZE) * PAGE as u64;
    let length = u64::from(count) * PAGE as u64;
    // SAFETY: the path is a string in the current memory context, which goes at its end; the file is closed here, or with the
    // transaction.
    unsafe {
        let path = pg_sys::GetRelationPath(
            node.dbNode,
            node.spcNode,
            node.relNode,
            relation.rd_backend,
            pg_sys::ForkNumber::MAIN_FORKNUM,
        );
        let mut path = CStr::from_ptr(path).to_owned().into_bytes();
        if segment > 0 {
            path.extend(format!(".{segment}").into_bytes());
        }
        path.push(0);
        let file = pg_sys::OpenTransientFile(path.as_ptr().cast(), libc::O_RDWR);
        if file < 0 {
            return false;
        }
        let (Ok(at), Ok(length)) = (at.try_into(), length.try_into()) else {
            return false;
        };
        let done = libc::fallocate(file, libc::FALLOC_FL_KEEP_SIZE, at, length) == 0;
        pg_sys::CloseTransientFile(file);
        done
    }
}
