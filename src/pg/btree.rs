//! Putting many entries into a b-tree at once, in the order of their keys: a leaf is looked for once, and takes all that belong
//! there. Why that is sound is in README.md, under «Several entries a leaf».

use pgrx::pg_sys;

use super::btree_key::{COLUMNS, Key, Kind, Layout};
use super::btree_page::{Leaf, MOST_TUPLES, PAGE, Page};
use super::compat;
use super::fault;
use super::relation::Relation;
use super::{settings, xact};

/// For fewer it does not pay to look for the pages above the leaves.
const LEAST: usize = 16;

/// The first support function of the operator classes of b-tree compares.
const ORDER: u16 = 1;

/// WAL: one entry comes to a leaf.
const INSERT_LEAF: u8 = 0x00;

/// What a record of WAL takes before the bytes of its change: its own header, and that of a block.
const RECORD: usize = 48;

/// An index that is plain enough.
pub struct Tree {
    index: pg_sys::Relation,
    layout: Layout,
    /// One record may tell all that comes to a leaf, whose replay knows nothing of b-trees.
    one_record: bool,
}

impl Tree {
    /// `has_included`: each entry comes with what is in one more column. None where only the server knows how. The index is open and locked, and takes entries of rows that never lack a value in
    /// its columns.
    ///
    /// # Safety
    /// It must be an index of the b-tree kind, and stay open as long as this lives.
    pub unsafe fn of(index: pg_sys::Relation, has_included: bool) -> Option<Tree> {
        // SAFETY: open; all of it is what the server keeps of an open index.
        unsafe {
            let class = (*index).rd_rel;
            let keys = i32::from((*(*index).rd_index).indnkeyatts);
            let columns = usize::try_from(keys).ok()?;
            let included = (*(*index).rd_att).natts - keys;
            let plain = (*class).relpersistence as u8 == pg_sys::RELPERSISTENCE_PERMANENT
                && included == i32::from(has_included)
                && columns <= COLUMNS
                // With less, what is new in this transaction has no WAL.
                && pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_REPLICA as i32
                && !xact::is_serializable();
            if !plain {
                return None;
            }
            let mut kinds = Vec::with_capacity(columns);
            for column in 0..columns {
                if *(*index).rd_indoption.add(column) != 0 {
                    return None;
                }
                let order = pg_sys::index_getprocid(index, column as i16 + 1, ORDER);
                let kept = compat::column((*index).rd_att, column as i32);
                kinds.push(match (order.to_u32(), (*kept).attlen, (*kept).attbyval) {
                    (pg_sys::F_BTINT8CMP | pg_sys::F_TIMESTAMPTZ_CMP, 8, true) => Kind::Wide,
                    (pg_sys::F_BTFLOAT8CMP, 8, true) => Kind::Double,
                    (pg_sys::F_BTINT4CMP, 4, true) => Kind::Small,
                    _ => return None,
                });
            }
            let mut layout = Layout::of(&kinds);
            if has_included {
                let kept = compat::column((*index).rd_att, keys);
                if !matches!(((*kept).attlen, (*kept).attbyval), (8, true)) {
                    return None;
                }
                layout = layout.with_included();
            }
            Some(Tree {
                index,
                layout,
                one_record: !settings::has_replay_verified(),
            })
        }
    }

    /// Puts in entries that come in order, each with what is included of it if the index has such a column; `by_server` those, by
    /// their number, that want more than a place on a leaf. The transaction must have an id: it keeps pages that leave the tree
    /// meanwhile from being used for something else.
    pub fn insert(
        &self,
        table: &Relation,
        entries: &[Key],
        included: &[i64],
        mut by_server: impl FnMut(usize),
    ) {
        if entries.len() < LEAST {
            (0..entries.len()).for_each(by_server);
            return;
        }
        let mut above = Above::new();
        let mut filling = Filling::new(self.layout.size());
        let mut next = 0;
        while let Some(first) = entries.get(next) {
            pgrx::check_for_interrupts!();
            fault::point("before_index_leaf");
            let leaf = above.leaf_of(self, table, first);
            let included = included.get(next..).unwrap_or_default();
            let mut done = leaf.map_or(0, |leaf| {
                self.fill(leaf, &entries[next..], included, &mut filling)
            });
            if done == 0 {
                // The leaf is full, or has been split since, or there is none.
                above.forget();
                by_server(next);
                done = 1;
            }
            next += done;
        }
    }

    /// Puts those entries into a leaf that belong there, as many as it has room for; returns how many.
    fn fill(&self, block: u32, entries: &[Key], included: &[i64], filling: &mut Filling) -> usize {
        // SAFETY: the index is open and locked; the page is pinned, and locked while it is looked at.
        unsafe {
            let buffer = pg_sys::ReadBuffer(self.index, block);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_EXCLUSIVE as i32);
            let page = pg_sys::BufferGetPage(buffer);
            let mut leaf = Leaf::new(&mut *page.cast::<[u8; PAGE]>());
            filling.plan(leaf.page(), &self.layout, entries, included);
            let count = filling.positions.len();
            if count > 0 {
                self.add(buffer, &mut leaf, filling);
            }
            pg_sys::UnlockReleaseBuffer(buffer);
            count
        }
    }

    /// # Safety
    /// The page must be locked exclusively, and have room.
    unsafe fn add(&self, buffer: pg_sys::Buffer, leaf: &mut Leaf, filling: &mut Filling) {
        let size = self.layout.size();
        let count = filling.positions.len();
        let first = filling.positions[0];
        let one_by_one = count * (RECORD + size);
        let at_once = self.one_record && RECORD + leaf.length_of_changes(first, count, size) < one_by_one;
        // SAFETY: promised by the caller. In between nothing can fail; if it did, the server would stop and replay what it
        // has in WAL.
        unsafe {
            pg_sys::CritSectionCount += 1;
            if at_once {
                leaf.add(&filling.positions, &filling.tuples);
                leaf.describe(first, count, size, &mut filling.changes);
                pg_sys::MarkBufferDirty(buffer);
                pg_sys::XLogBeginInsert();
                pg_sys::XLogRegisterBuffer(0, buffer, pg_sys::REGBUF_STANDARD as u8);
                compat::register_wal_block_data(0, &filling.changes);
                let end = pg_sys::XLogInsert(pg_sys::RmgrIds::RM_GENERIC_ID as pg_sys::RmgrId, 0);
                leaf.set_lsn(end);
            } else {
                // Each record after its own change and before the next: one of them may carry the page as it is then.
                for (which, tuple) in filling.tuples.chunks_exact(size).enumerate() {
                    let position = filling.positions[which] + which as u16;
                    leaf.add(&[position], tuple);
                    pg_sys::MarkBufferDirty(buffer);
                    // The server reads these bytes when the record is inserted, not before.
                    let about = position.to_ne_bytes();
                    pg_sys::XLogBeginInsert();
                    compat::register_wal_data(&about);
                    pg_sys::XLogRegisterBuffer(0, buffer, pg_sys::REGBUF_STANDARD as u8);
                    compat::register_wal_block_data(0, tuple);
                    let end = pg_sys::XLogInsert(pg_sys::RmgrIds::RM_BTREE_ID as pg_sys::RmgrId, INSERT_LEAF);
                    leaf.set_lsn(end);
                }
            }
            pg_sys::CritSectionCount -= 1;
        }
    }
}

/// What one leaf is to take.
struct Filling {
    size: usize,
    positions: Vec<u16>,
    tuples: Vec<u8>,
    changes: Vec<u8>,
}

impl Filling {
    /// With room for whatever fits on a page, so that nothing is allocated under its lock.
    fn new(size: usize) -> Filling {
        Filling {
            size,
            positions: Vec::with_capacity(MOST_TUPLES),
            tuples: Vec::with_capacity(PAGE),
            changes: Vec::with_capacity(2 * PAGE),
        }
    }

    /// Takes entries from the beginning as long as they belong here and nothing but their place is to be found.
    fn plan(&mut self, leaf: Page, layout: &Layout, entries: &[Key], included: &[i64]) {
        self.positions.clear();
        self.tuples.clear();
        if !leaf.is_leaf_to_fill() {
            return;
        }
        let mut room = leaf.room();
        let taken_by_one = self.size + size_of::<pg_sys::ItemIdData>();
        let mut from = 0;
        for (which, key) in entries.iter().enumerate() {
            if room < taken_by_one || leaf.reaches(key, layout) != Some(true) {
                return;
            }
            let Some(position) = leaf.position(key, layout, from) else {
                return;
            };
            let start = self.tuples.len();
            self.tuples.resize(start + self.size, 0);
            let included = included.get(which).copied().unwrap_or_default();
            layout.write(key, included, &mut self.tuples[start..]);
            self.positions.push(position);
            room -= taken_by_one;
            from = position;
        }
    }
}

/// A copy of a page above the leaves, from which the leaf of one entry after the other is read.
struct Above {
    copy: Box<[u8; PAGE]>,
    known: bool,
    /// The item of the last entry: those of later ones do not come before it.
    from: u16,
}

impl Above {
    fn new() -> Above {
        Above {
            copy: Box::new([0; PAGE]),
            known: false,
            from: 0,
        }
    }

    fn forget(&mut self) {
        self.known = false;
    }

    /// The leaf to which an entry belongs, or one to the left of it. None if there is none below another page.
    fn leaf_of(&mut self, tree: &Tree, table: &Relation, key: &Key) -> Option<u32> {
        if !self.known || Page::new(&self.copy).reaches(key, &tree.layout) != Some(true) {
            self.find(tree, table, key)?;
        }
        let (block, item) = Page::new(&self.copy).child(key, &tree.layout, self.from)?;
        self.from = item + 1;
        Some(block)
    }

    fn find(&mut self, tree: &Tree, table: &Relation, key: &Key) -> Option<()> {
        self.known = false;
        self.from = 0;
        let mut tuple = [0u64; PAGE / 64];
        // SAFETY: the index is open and locked; the page is copied under its lock. The tuple is aligned, and large enough for
        // the columns that a tree has here.
        unsafe {
            let start = tuple.as_mut_ptr().cast::<u8>();
            tree.layout
                .write(key, 0, std::slice::from_raw_parts_mut(start, tree.layout.size()));
            let block = compat::page_above_leaf(tree.index, table.as_ptr(), start.cast())?;
            let buffer = pg_sys::ReadBuffer(tree.index, block);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let page = pg_sys::BufferGetPage(buffer);
            self.copy.copy_from_slice(&*page.cast::<[u8; PAGE]>());
            pg_sys::UnlockReleaseBuffer(buffer);
        }
        let page = Page::new(&self.copy);
        self.known = page.is_in_use(1) && page.reaches(key, &tree.layout) == Some(true);
        self.known.then_some(())
    }
}
