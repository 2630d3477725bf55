//! What one look at a page of staging finds there is to do.

use pgrx::pg_sys;

use super::heap_page::{Header, Item, Page, State, place};
use super::horizon::precedes;
use super::verdicts::{Deleter, Inserter, Verdicts};
use crate::staging::batch::{Batch, NO_LEAF};
use crate::staging::route::Route;
use pgrx::pg_sys::TransactionId;

#[derive(Clone, Copy)]
pub struct Found {
    pub number: u16,
    pub leaf: u32,
    pub ingested_at: i64,
}

/// What is to be done on a page.
#[derive(Default)]
pub struct Plan {
    /// To be marked, all at once.
    pub take: Vec<Found>,
    /// To be deleted by the server, one by one.
    pub single: Vec<Found>,
    /// To be cleared away.
    pub dead: Vec<u16>,
    /// Times of rows for which there is no partition yet.
    pub waiting: Vec<i64>,
    /// Rows that other transactions have locked.
    pub locked: i64,
    /// Rows that are to stay where they are.
    pub held_back: i64,
    /// There are deleted rows that somebody may still look for.
    pub leftover: bool,
    /// There is something that is neither dead nor to be taken.
    kept: bool,
    /// Of the transactions that deleted what is to be cleared away, the newest.
    pub newest: Option<TransactionId>,
}

impl Plan {
    /// Looks at a page whose lock is held, for at most as many rows as there is room for.
    pub fn make(&mut self, verdicts: &mut Verdicts, batch: &mut Batch, at: (pg_sys::Buffer, Page, u32)) {
        self.clear();
        let room = batch.room();
        for number in 1..=at.1.items() {
            if self.finds() >= room {
                self.kept = true;
                break;
            }
            self.look(verdicts, batch, at, number);
        }
    }

    /// Rows to be taken.
    pub fn finds(&self) -> usize {
        self.take.len() + self.single.len()
    }

    /// Nothing but dead rows: the page can be emptied as it is.
    pub fn is_all_dead(&self) -> bool {
        !self.dead.is_empty() && self.finds() == 0 && !self.kept
    }

    fn clear(&mut self) {
        self.take.clear();
        self.single.clear();
        self.dead.clear();
        self.waiting.clear();
        self.locked = 0;
        self.held_back = 0;
        self.leftover = false;
        self.kept = false;
        self.newest = None;
    }

    #[inline]
    fn look(
        &mut self,
        verdicts: &mut Verdicts,
        batch: &mut Batch,
        at: (pg_sys::Buffer, Page, u32),
        number: u16,
    ) {
        let (_, page, _) = at;
        let item = page.item(number);
        let kind = match item.state {
            State::Normal => kind(verdicts, at, number, item),
            State::Dead => return self.dead.push(number),
            State::Unused => return,
            State::Redirect => Kind::Leave,
        };
        let list = match kind {
            Kind::Plain => &mut self.take,
            Kind::Single => &mut self.single,
            Kind::Dead => {
                self.note_newest(page.tuple(item));
                return self.dead.push(number);
            }
            Kind::Leave | Kind::Locked => {
                self.locked += i64::from(matches!(kind, Kind::Locked));
                self.kept = true;
                return;
            }
            Kind::Leftover => {
                self.leftover = true;
                self.kept = true;
                return;
            }
        };
        if batch.keeps(at.2, number) {
            self.held_back += 1;
            self.kept = true;
            return;
        }
        let Some((route, ingested_at)) = batch.route(page.bytes(item)) else {
            self.kept = true;
            return;
        };
        let leaf = match route {
            Route::Leaf(leaf) => leaf,
            Route::Refused => NO_LEAF,
            Route::Waits => {
                self.kept = true;
                return self.waiting.push(ingested_at);
            }
        };
        list.push(Found {
            number,
            leaf,
            ingested_at,
        });
    }
}

impl Plan {
    fn note_newest(&mut self, header: Header) {
        if header.is_untouched() || !header.has_deleter() {
            return;
        }
        let xid = header.xmax();
        if self.newest != Some(xid) && self.newest.is_none_or(|newest| precedes(newest, xid)) {
            self.newest = Some(xid);
        }
    }
}

/// What there is to do on a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Nothing, until somebody commits something.
    None,
    /// Moved rows wait for somebody who may look for them.
    Later,
    /// Rows that could be taken, or room that can be made.
    Now,
}

/// Also counts, up to where it ends, the rows that other transactions have locked.
pub fn work(
    verdicts: &mut Verdicts,
    at: (pg_sys::Buffer, Page, u32),
    rooms: Rooms,
    locked: &mut i64,
) -> Work {
    let page = at.1;
    let (mut dead, mut kept, mut waits) = (false, false, false);
    for number in 1..=page.items() {
        let item = page.item(number);
        match item.state {
            State::Unused => {}
            State::Dead => dead = true,
            State::Redirect => kept = true,
            State::Normal => match kind(verdicts, at, number, item) {
                Kind::Plain | Kind::Single => return Work::Now,
                Kind::Dead => dead = true,
                Kind::Leave => kept = true,
                Kind::Locked => {
                    kept = true;
                    *locked += 1;
                }
                Kind::Leftover => waits = true,
            },
        }
    }
    match rooms {
        Rooms::Any if dead => Work::Now,
        Rooms::WholePages if dead && !kept && !waits => Work::Now,
        _ if waits => Work::Later,
        _ => Work::None,
    }
}

/// Where dead rows can be cleared away.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rooms {
    Any,
    /// On pages that hold nothing else.
    WholePages,
    None,
}

enum Kind {
    Plain,
    Single,
    Dead,
    Leave,
    /// By somebody else, without being deleted.
    Locked,
    Leftover,
}

#[inline]
fn kind(verdicts: &mut Verdicts, at: (pg_sys::Buffer, Page, u32), number: u16, item: Item) -> Kind {
    let (buffer, page, block) = at;
    let header = page.tuple(item);
    let mut tuple = pg_sys::HeapTupleData {
        t_len: item.length as u32,
        t_self: place(block, number),
        t_tableOid: verdicts.table(),
        t_data: header.as_ptr(),
    };
    if !header.is_untouched()
        && let Some(kind) = kind_of_touched(verdicts, buffer, header, &mut tuple)
    {
        return kind;
    }
    if header.is_undone() {
        return dead_unless_chained(header);
    }
    if !header.is_frozen() {
        // SAFETY: the tuple lies in the locked buffer.
        match unsafe { verdicts.inserter(&mut tuple, buffer) } {
            Inserter::Visible => {}
            Inserter::Invisible => return Kind::Leave,
            Inserter::Undone => return dead_unless_chained(header),
            Inserter::Own => return single_if_visible(verdicts, buffer, &mut tuple),
        }
    }
    if header.is_chained() || header.has(pg_sys::HEAP_HASEXTERNAL) {
        return Kind::Single;
    }
    Kind::Plain
}

/// Somebody deleted, updated or locked it. None when it turns out that this was rolled back.
fn kind_of_touched(
    verdicts: &mut Verdicts,
    buffer: pg_sys::Buffer,
    header: Header,
    tuple: &mut pg_sys::HeapTupleData,
) -> Option<Kind> {
    if !header.has_deleter() {
        // Somebody works with it: to try would cost a transaction id each time.
        if verdicts.is_held_by_others(header) {
            return Some(Kind::Locked);
        }
        return Some(single_if_visible(verdicts, buffer, tuple));
    }
    match verdicts.deleter(header) {
        Deleter::Gone => Some(dead_unless_chained(header)),
        Deleter::Runs | Deleter::Busy => Some(Kind::Leftover),
        Deleter::Undone => {
            let kind = single_if_visible(verdicts, buffer, tuple);
            // The look has left its hint there, unless the snapshot is older than the end of the deleter.
            (!header.is_untouched()).then_some(kind)
        }
    }
}

fn single_if_visible(verdicts: &Verdicts, buffer: pg_sys::Buffer, tuple: &mut pg_sys::HeapTupleData) -> Kind {
    // SAFETY: the tuple lies in the locked buffer.
    if unsafe { verdicts.is_visible(tuple, buffer) } {
        Kind::Single
    } else {
        Kind::Leave
    }
}

/// A version in a chain is left to VACUUM, which knows what hangs on it.
fn dead_unless_chained(header: Header) -> Kind {
    if header.is_chained() {
        Kind::Leftover
    } else {
        Kind::Dead
    }
}
