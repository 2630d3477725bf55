//! The entities that have certain values, many at once, from the pages of an index by value. They are candidates: what the pages say
//! is not what a snapshot sees, though nothing that it sees is missing (README.md, «Lists of entities»).

use pgrx::pg_sys;

use super::btree_page::{PAGE, Page, unpack_place};
use super::compat;
use super::value_entries::{Entries, Kind, Stretch};
use super::value_index::{COLUMNS, Opened};
use crate::error::Error;

/// Of a tuple without some of its last columns: so many it has.
const IS_CUT: u16 = 0x2000;

/// Aligned as the page it is a copy of.
#[repr(C, align(8))]
struct Copied([u8; PAGE]);

pub struct ValuePages<'a> {
    opened: Opened,
    kind: Kind,
    snapshot: pg_sys::Snapshot,
    page: Box<Copied>,
    stretch: Option<Stretch<'a>>,
    next: Next,
    rows: Rows,
}

enum Next {
    /// The first page of the stretch.
    First,
    /// This one, to the right of the one before.
    Right(u32),
    Nothing,
}

/// What is pinned while rows are looked at; 0 for none.
#[derive(Default)]
struct Rows {
    /// Of the map that says which pages everybody sees whole.
    map: pg_sys::Buffer,
    page: pg_sys::Buffer,
}

impl Rows {
    fn let_go(&mut self) {
        for buffer in [&mut self.map, &mut self.page] {
            if *buffer != 0 {
                // SAFETY: pinned by us, given back once.
                unsafe { pg_sys::ReleaseBuffer(std::mem::take(buffer)) }
            }
        }
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        // After an error the rollback gives back what is pinned.
        if !std::thread::panicking() {
            self.let_go();
        }
    }
}

impl<'a> ValuePages<'a> {
    /// As long as this lives the snapshot that is active now must stay in force.
    pub fn of(opened: Opened) -> ValuePages<'a> {
        ValuePages {
            kind: opened.kind,
            // SAFETY: whoever opened it has seen that there is one.
            snapshot: unsafe { pg_sys::GetActiveSnapshot() },
            opened,
            page: Box::new(Copied([0; PAGE])),
            stretch: None,
            next: Next::Nothing,
            rows: Rows::default(),
        }
    }

    /// To the beginning of a stretch.
    pub fn seek(&mut self, stretch: Stretch<'a>) {
        self.stretch = Some(stretch);
        self.next = Next::First;
    }

    /// Within a stretch of one value: on to the entities behind this one.
    pub fn skip(&mut self, after: i64) {
        if let Some(stretch) = &mut self.stretch {
            stretch.after = Some(after);
            self.next = Next::First;
        }
    }

    /// Hands over the candidates of the next page that has any, with the places of their rows, in the order of the index, perhaps
    /// some more than once. False: there are no more in the stretch.
    pub fn read(&mut self, mut each: impl FnMut(i64, u64)) -> Result<bool, Error> {
        let mut any = false;
        while !any && self.copy_next()? {
            let Some(stretch) = &self.stretch else {
                break;
            };
            let page = Page::new(&self.page.0);
            let mut more = true;
            if !page.is_leaving() {
                let entries = Entries {
                    page,
                    kind: self.kind,
                    stretch,
                    // On a standby somebody may still see what nobody sees on the primary.
                    // SAFETY: a flag of this transaction.
                    with_dead: unsafe { pg_sys::TransactionStartedDuringRecovery() },
                };
                let read = page.is_in_use(0).then(|| {
                    entries.each(|entity, place| {
                        any = true;
                        each(entity, place);
                    })
                });
                more = read.flatten().ok_or_else(|| self.opened.unreadable())?;
            }
            self.next = page.right().filter(|_| more).map_or(Next::Nothing, Next::Right);
        }
        Ok(any)
    }

    /// Copies the next page under its lock. False: there is none.
    fn copy_next(&mut self) -> Result<bool, Error> {
        pgrx::check_for_interrupts!();
        let index = self.opened.index.as_ptr();
        // SAFETY: the index is open and locked. A page that was there when one beside it was read is there until the snapshot goes,
        // even if it has left the tree. It is copied under its lock.
        unsafe {
            let buffer = match self.next {
                Next::Nothing => return Ok(false),
                Next::First => self.descend(),
                Next::Right(block) => {
                    let buffer = pg_sys::ReadBuffer(index, block);
                    pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
                    buffer
                }
            };
            if buffer == 0 {
                self.next = Next::Nothing;
                return Ok(false);
            }
            let page = pg_sys::BufferGetPage(buffer);
            self.page.0.copy_from_slice(&*page.cast::<[u8; PAGE]>());
            pg_sys::UnlockReleaseBuffer(buffer);
        }
        Ok(true)
    }

    /// The page where the stretch begins, pinned and locked; 0 if the index is empty.
    fn descend(&self) -> pg_sys::Buffer {
        let Some(stretch) = &self.stretch else {
            return 0;
        };
        let null = pg_sys::Datum::null();
        let mut values = [
            pg_sys::Datum::from(stretch.tenant_id),
            pg_sys::Datum::from(stretch.attribute_id),
            null,
            null,
        ];
        let mut known = 2;
        if let Some(low) = &stretch.low {
            values[known] = low.datum();
            known += 1;
            if let Some(after) = stretch.after.filter(|_| stretch.is_one_value()) {
                values[known] = pg_sys::Datum::from(after);
                known += 1;
            }
        }
        let mut nulls = [true; COLUMNS];
        nulls[..known].fill(false);
        let (index, table) = (self.opened.index.as_ptr(), self.opened.table.as_ptr());
        // SAFETY: index and table are open and locked. The tuple is made for the index, and then says that it has only the columns
        // that are known, as the server does with tuples above the leaves.
        unsafe {
            let tuple = pg_sys::index_form_tuple((*index).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
            (*tuple).t_info |= IS_CUT;
            (*tuple).t_tid.ip_posid = known as u16;
            let leaf = compat::descend(index, table, tuple).leaf;
            pg_sys::pfree(tuple.cast());
            leaf
        }
    }

    /// Whether the snapshot may see the row of a candidate. One that it sees has kept its place since.
    pub fn may_be_seen(&mut self, place: u64) -> bool {
        let table = self.opened.table.as_ptr();
        let block = (place >> 16) as u32;
        let mut place = unpack_place(place);
        // SAFETY: the table is open and locked, so it has not become shorter since the entry was read. The row is looked at under the
        // lock of its page.
        unsafe {
            let status = pg_sys::visibilitymap_get_status(table, block, &mut self.rows.map);
            if u32::from(status) & pg_sys::VISIBILITYMAP_ALL_VISIBLE != 0 {
                return true;
            }
            self.rows.page = pg_sys::ReleaseAndReadBuffer(self.rows.page, table, block);
            pg_sys::LockBuffer(self.rows.page, pg_sys::BUFFER_LOCK_SHARE as i32);
            let mut tuple = pg_sys::HeapTupleData::default();
            let is_seen = pg_sys::heap_hot_search_buffer(
                &mut place,
                table,
                self.rows.page,
                self.snapshot,
                &mut tuple,
                std::ptr::null_mut(),
                true,
            );
            pg_sys::LockBuffer(self.rows.page, pg_sys::BUFFER_LOCK_UNLOCK as i32);
            is_seen
        }
    }

    /// Gives back what `may_be_seen` holds.
    pub fn let_go(&mut self) {
        self.rows.let_go();
    }
}
