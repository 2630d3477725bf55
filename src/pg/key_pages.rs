//! Where rows are found by a key of a few whole numbers: what the pages of a unique b-tree say, read without the server's search. It is a
//! hint, no more. Between the look at a page and the look at the row anything may happen, so whoever asks looks whether there is a
//! row with that key for his snapshot. If there is, it is the one; if not, the server is asked.
//!
//! Keys that come in order lie near each other: the page above the leaves is copied, the leaf stays pinned. A search of the server
//! reads both anew for each key, and compares by calls.

use pgrx::pg_sys;

use super::btree_key::{COLUMNS, Key, Kind, Layout, unpack_place};
use super::btree_page::{PAGE, Page};
use super::compat;

pub struct KeyPages {
    index: pg_sys::Relation,
    table: pg_sys::Relation,
    layout: Layout,
    /// A copy of the page above the leaves, once there is one.
    above: Option<Box<[u8; PAGE]>>,
    /// The leaf of the key before, pinned; 0 for none.
    leaf: pg_sys::Buffer,
    last: Option<Key>,
    /// Pages of the table when the page was copied: it never gets shorter while it is open.
    blocks: u32,
    state: State,
    /// What was found last.
    places: Vec<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody has asked: for one key it does not pay.
    Unasked,
    /// No page was copied yet, or it is out of date.
    New,
    Known,
    /// There is nothing above the only leaf, or nothing that could be read: the server is asked right away.
    Useless,
}

impl KeyPages {
    /// # Safety
    /// The index must be a unique b-tree on columns of these kinds, three at most, in ascending order. It and its table must be open, and locked, as long as
    /// this lives.
    pub unsafe fn new(table: pg_sys::Relation, index: pg_sys::Relation, kinds: &[Kind]) -> KeyPages {
        KeyPages {
            index,
            table,
            layout: Layout::of(kinds),
            above: None,
            leaf: 0,
            last: None,
            blocks: 0,
            state: State::Unasked,
            places: Vec::with_capacity(16),
        }
    }

    /// Where the row with this key may be: how many places there are, of which `known` tells each, the newest mostly last.
    pub fn find(&mut self, values: [i64; COLUMNS]) -> usize {
        self.places.clear();
        if self.look_for(values).is_none() {
            self.places.clear();
        }
        self.places.len()
    }

    pub fn known(&self, number: usize) -> pg_sys::ItemPointerData {
        unpack_place(self.places[number])
    }

    /// None if only the server can say.
    fn look_for(&mut self, values: [i64; COLUMNS]) -> Option<()> {
        match self.state {
            State::Unasked => {
                self.state = State::New;
                return None;
            }
            State::Useless => return None,
            State::New | State::Known => {}
        }
        // The least that there can be with these values.
        let key = Key { values, place: 0 };
        let in_order = self.last.is_some_and(|last| last < key);
        self.last = Some(key);
        if in_order
            && self.leaf != 0
            && let Look::Found(found) = self.look(&key)
        {
            return found;
        }
        let block = self.leaf_of(&key)?;
        // SAFETY: the index is open and locked; a page that was there stays there.
        unsafe { self.leaf = pg_sys::ReleaseAndReadBuffer(self.leaf, self.index, block) };
        match self.look(&key) {
            Look::Found(found) => found,
            Look::Elsewhere => {
                // It was split since the page above was copied.
                self.state = State::New;
                None
            }
        }
    }

    /// The leaf in which the key is, if nothing has changed since the page above was copied.
    fn leaf_of(&mut self, key: &Key) -> Option<u32> {
        let above = self.above.as_deref().map(Page::new);
        let is_below = above.is_some_and(|above| above.holds(key, &self.layout));
        if self.state != State::Known || !is_below {
            self.state = State::Useless;
            self.copy_above(key)?;
            self.state = State::Known;
        }
        let above = Page::new(self.above.as_deref()?);
        Some(above.child(key, &self.layout, 0)?.0)
    }

    fn copy_above(&mut self, key: &Key) -> Option<()> {
        let mut tuple = [0u64; 4];
        let copy = self.above.get_or_insert_with(|| Box::new([0; PAGE]));
        // SAFETY: the index is open and locked; the page is copied under its lock. The tuple is aligned, and large enough for
        // three columns and a header.
        unsafe {
            self.blocks =
                pg_sys::RelationGetNumberOfBlocksInFork(self.table, pg_sys::ForkNumber::MAIN_FORKNUM);
            let start = tuple.as_mut_ptr().cast::<u8>();
            self.layout
                .write(key, 0, std::slice::from_raw_parts_mut(start, self.layout.size()));
            let block = compat::page_above_leaf(self.index, self.table, start.cast())?;
            let buffer = pg_sys::ReadBuffer(self.index, block);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let page = pg_sys::BufferGetPage(buffer);
            copy.copy_from_slice(&*page.cast::<[u8; PAGE]>());
            pg_sys::UnlockReleaseBuffer(buffer);
        }
        let page = Page::new(copy);
        (page.is_in_use(1) && page.reaches(key, &self.layout) == Some(true)).then_some(())
    }

    /// Looks for the key on the leaf that is pinned.
    fn look(&mut self, key: &Key) -> Look {
        // SAFETY: the page is pinned, and locked while it is looked at.
        unsafe {
            pg_sys::LockBuffer(self.leaf, pg_sys::BUFFER_LOCK_SHARE as i32);
            let page = pg_sys::BufferGetPage(self.leaf);
            let page = Page::new(&*page.cast::<[u8; PAGE]>());
            let is_here = page.is_in_use(0) && page.reaches(key, &self.layout) == Some(true);
            let places = &mut self.places;
            let found = is_here.then(|| page.places(key, &self.layout, places)).flatten();
            pg_sys::LockBuffer(self.leaf, pg_sys::BUFFER_LOCK_UNLOCK as i32);
            if !is_here {
                return Look::Elsewhere;
            }
            let blocks = u64::from(self.blocks);
            self.places.retain(|place| place >> 16 < blocks);
            Look::Found(found)
        }
    }
}

enum Look {
    /// All that there is; nothing, if only the server can say.
    Found(Option<()>),
    Elsewhere,
}

impl Drop for KeyPages {
    fn drop(&mut self) {
        // After an error the rollback gives back what is pinned.
        if !std::thread::panicking() && self.leaf != 0 {
            // SAFETY: pinned here, released once.
            unsafe { pg_sys::ReleaseBuffer(self.leaf) }
        }
    }
}
