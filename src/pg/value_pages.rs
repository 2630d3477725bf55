//! The entities that have certain values, many at once, from the pages of an index by value. They are candidates: what the pages say
//! is not what a snapshot sees, though nothing that it sees is missing (README.md, «Lists of entities»).

use pgrx::pg_sys;

use super::btree_page::{PAGE, Page};
use super::compat::{self, Descent};
use super::index_read::Scalar;
use super::value_entries::{Entries, Entry, Stretch};
use super::value_index::{KEYS, ValueIndex};
use crate::error::Error;

/// Of a tuple without some of its last columns: so many it has.
const IS_CUT: u16 = 0x2000;

/// About so many entries are on a leaf, and so many pages below one that is above the leaves.
const ENTRIES: usize = 120;
const PAGES_BELOW: usize = 200;

/// About so many entries a stretch has that begins and ends on the same leaf.
const ON_ONE_PAGE: usize = 8;

pub struct ValuePages<'a> {
    opened: ValueIndex,
    page: Box<[u8; PAGE]>,
    stretch: Option<Stretch<'a>>,
    next: Next,
}

enum Next {
    /// The first page of the stretch.
    First,
    /// This one, to the right of the one before.
    Right(u32),
    Nothing,
}

impl<'a> ValuePages<'a> {
    /// As long as this lives the snapshot that is active now must stay in force.
    pub fn of(opened: ValueIndex) -> ValuePages<'a> {
        ValuePages {
            opened,
            page: Box::new([0; PAGE]),
            stretch: None,
            next: Next::Nothing,
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

    /// Adds the candidates of the next page that has any, in the order of the index, perhaps some more than once. False: there are
    /// no more in the stretch.
    pub fn read(&mut self, found: &mut Vec<Entry>) -> Result<bool, Error> {
        let before = found.len();
        while found.len() == before && self.copy_next()? {
            let Some(stretch) = &self.stretch else {
                break;
            };
            let page = Page::new(&self.page);
            let mut more = true;
            if !page.is_leaving() {
                let entries = Entries {
                    page,
                    kind: self.opened.kind,
                    stretch,
                    // On a standby somebody may still see what nobody sees on the primary.
                    // SAFETY: a flag of this transaction.
                    with_dead: unsafe { pg_sys::TransactionStartedDuringRecovery() },
                };
                let read = page.is_in_use(0).then(|| entries.add_to(found));
                more = read.flatten().ok_or_else(|| self.opened.unreadable())?;
            }
            self.next = page.right().filter(|_| more).map_or(Next::Nothing, Next::Right);
        }
        Ok(found.len() > before)
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
            Page::new(&*page.cast::<[u8; PAGE]>()).copy_to(&mut self.page);
            pg_sys::UnlockReleaseBuffer(buffer);
        }
        Ok(true)
    }

    /// The page where the stretch begins, pinned and locked; 0 if the index is empty.
    fn descend(&self) -> pg_sys::Buffer {
        let Some(stretch) = &self.stretch else {
            return 0;
        };
        self.to(stretch.tenant_id, stretch.attribute_id, beginning(stretch))
            .leaf
    }

    /// About how many entries a stretch has, by the pages above the leaves.
    pub fn estimate(&self, stretch: &Stretch) -> usize {
        let way = |attribute_id, value| {
            let Descent { leaf, way, .. } = self.to(stretch.tenant_id, attribute_id, value);
            if leaf != 0 {
                // SAFETY: it came pinned and locked.
                unsafe { pg_sys::UnlockReleaseBuffer(leaf) }
            }
            way
        };
        let id = stretch.attribute_id;
        let start = way(id, beginning(stretch));
        let end = match &stretch.high {
            Some((high, is_included)) => way(id, Some((high, is_included.then_some(i64::MAX)))),
            None => way(id.saturating_add(1), None),
        };
        if !start.is_empty() && start.first() == end.first() {
            return ON_ONE_PAGE;
        }
        let mut pages = 1;
        let mut below = 1;
        for ((left, first), (right, last)) in start.iter().zip(&end) {
            pages = usize::from(last.saturating_sub(*first))
                .saturating_mul(below)
                .max(pages);
            if left == right {
                break;
            }
            below *= PAGES_BELOW;
            pages = below;
        }
        pages.saturating_mul(ENTRIES)
    }

    /// To the first entry that is not less than these, as far as they are known.
    fn to(&self, tenant_id: i64, attribute_id: i32, value: Option<(&Scalar, Option<i64>)>) -> Descent {
        let entity = value.and_then(|(_, entity)| entity);
        let values: [_; KEYS + 1] = [
            Some(pg_sys::Datum::from(tenant_id)),
            Some(pg_sys::Datum::from(attribute_id)),
            value.map(|(value, _)| value.datum()),
            entity.map(pg_sys::Datum::from),
            // What is included is never compared.
            None,
        ];
        let known = values.iter().flatten().count() as u16;
        let mut nulls = values.map(|value| value.is_none());
        let mut values = values.map(|value| value.unwrap_or(pg_sys::Datum::null()));
        let (index, table) = (self.opened.index.as_ptr(), self.opened.table.as_ptr());
        // SAFETY: index and table are open and locked. The tuple is made for the index, and then says that it has only the columns
        // that are known, as the server does with tuples above the leaves.
        unsafe {
            let tuple = pg_sys::index_form_tuple((*index).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
            (*tuple).t_info |= IS_CUT;
            (*tuple).t_tid.ip_posid = known;
            let found = compat::descend(index, table, tuple);
            pg_sys::pfree(tuple.cast());
            if let Some((Scalar::Text(_), _)) = value {
                pg_sys::pfree(values[2].cast_mut_ptr());
            }
            found
        }
    }
}

/// The least value and, of one value alone, where entities are in order, the one that they are behind.
fn beginning<'s>(stretch: &'s Stretch) -> Option<(&'s Scalar<'s>, Option<i64>)> {
    let after = stretch.after.filter(|_| stretch.is_one_value());
    stretch.low.as_ref().map(|low| (low, after))
}
