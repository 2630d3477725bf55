//! Open relations, and what can be asked of them.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::compat;

/// The name of a relation, or its number if it is gone.
pub fn name_of(oid: pg_sys::Oid) -> String {
    // SAFETY: a catalog lookup inside a transaction; the name is a copy that is ours.
    unsafe {
        let name = pg_sys::get_rel_name(oid);
        if name.is_null() {
            return oid.to_u32().to_string();
        }
        let copy = CStr::from_ptr(name).to_string_lossy().into_owned();
        pg_sys::pfree(name.cast());
        copy
    }
}

/// An open relation. Its lock stays to the end of the transaction.
pub struct Relation {
    pointer: pg_sys::Relation,
}

impl Relation {
    /// Waits for the lock; what others changed meanwhile is seen then.
    pub fn open_to_write(oid: pg_sys::Oid) -> Relation {
        // SAFETY: raises an error if there is no such relation.
        let pointer = unsafe { pg_sys::table_open(oid, pg_sys::RowExclusiveLock as i32) };
        Relation { pointer }
    }

    /// Opens what this transaction has locked already.
    pub fn open_locked(oid: pg_sys::Oid) -> Relation {
        // SAFETY: raises an error if there is no such relation.
        let pointer = unsafe { pg_sys::table_open(oid, pg_sys::NoLock as i32) };
        Relation { pointer }
    }

    /// As a query does, which nothing but ACCESS EXCLUSIVE stops.
    pub fn open_to_read(oid: pg_sys::Oid) -> Relation {
        // SAFETY: as above.
        let pointer = unsafe { pg_sys::table_open(oid, pg_sys::AccessShareLock as i32) };
        Relation { pointer }
    }

    pub fn as_ptr(&self) -> pg_sys::Relation {
        self.pointer
    }

    pub fn oid(&self) -> pg_sys::Oid {
        // SAFETY: open.
        unsafe { (*self.pointer).rd_id }
    }

    fn class(&self) -> &pg_sys::FormData_pg_class {
        // SAFETY: open; the entry stays as it is while it is.
        unsafe { &*(*self.pointer).rd_rel }
    }

    /// An ordinary table whose storage is the server's own heap, shared with other sessions.
    pub fn is_plain_heap(&self) -> bool {
        let class = self.class();
        class.relkind == pg_sys::RELKIND_RELATION as i8
            && class.relam == pg_sys::HEAP_TABLE_AM_OID
            && class.relpersistence != pg_sys::RELPERSISTENCE_TEMP as i8
    }

    pub fn is_partitioned(&self) -> bool {
        self.class().relkind == pg_sys::RELKIND_PARTITIONED_TABLE as i8
    }

    /// Still one: DETACH may have come in between.
    pub fn is_partition(&self) -> bool {
        self.class().relispartition
    }

    pub fn is_unlogged(&self) -> bool {
        self.class().relpersistence == pg_sys::RELPERSISTENCE_UNLOGGED as i8
    }

    pub fn has_index(&self) -> bool {
        self.class().relhasindex
    }

    /// How many columns it has or had.
    pub fn columns(&self) -> usize {
        // SAFETY: open, so its descriptor is there.
        usize::try_from(unsafe { (*(*self.pointer).rd_att).natts }).unwrap_or(0)
    }

    /// The place of a column, counted from 0, if it has one of that name and type.
    pub fn place(&self, name: &str, kind: pg_sys::Oid) -> Option<usize> {
        (0..self.columns()).find(|place| {
            // SAFETY: open, so its descriptor is there, with as many columns as it says.
            unsafe {
                let column = &*compat::column((*self.pointer).rd_att, *place as i32);
                !column.attisdropped
                    && column.atttypid == kind
                    && CStr::from_ptr(column.attname.data.as_ptr()).to_bytes() == name.as_bytes()
            }
        })
    }

    /// It may have children whose rows count as its own.
    pub fn has_children(&self) -> bool {
        self.class().relhassubclass
    }

    pub fn has_rules(&self) -> bool {
        self.class().relhasrules
    }

    /// Row-level security applies to the current user.
    pub fn has_row_security(&self) -> bool {
        // SAFETY: a catalog lookup inside a transaction.
        let enabled = unsafe { pg_sys::check_enable_rls(self.oid(), pg_sys::InvalidOid, true) };
        enabled == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32
    }

    /// Whether the current user holds all of these rights.
    pub fn may(&self, rights: u32) -> bool {
        // Each on its own: asked together, one would be enough for the server's default.
        (0..u32::BITS)
            .map(|bit| 1 << bit)
            .filter(|right| rights & right != 0)
            .all(|right| {
                // SAFETY: a catalog lookup inside a transaction.
                let answer = unsafe {
                    pg_sys::pg_class_aclcheck(self.oid(), pg_sys::GetUserId(), right as pg_sys::AclMode)
                };
                answer == pg_sys::AclResult::ACLCHECK_OK
            })
    }

    /// Any trigger that fires for one of these events (`TRIGGER_TYPE_*`), `except` left aside.
    pub fn has_trigger(&self, events: u32, except: Option<&CStr>) -> bool {
        // SAFETY: open; the descriptor has as many triggers as it says, each with a name.
        unsafe {
            let descriptor = (*self.pointer).trigdesc;
            if descriptor.is_null() {
                return false;
            }
            let count = usize::try_from((*descriptor).numtriggers).unwrap_or(0);
            (0..count).any(|index| {
                let trigger = (*descriptor).triggers.add(index);
                let fires = (*trigger).tgtype as u16 & events as u16 != 0;
                fires && except.is_none_or(|name| CStr::from_ptr((*trigger).tgname) != name)
            })
        }
    }

    /// Raises the server's error where DELETE would, because nobody who gets the deletions could tell which rows are meant.
    pub fn check_replica_identity(&self) {
        // SAFETY: open.
        unsafe { pg_sys::CheckCmdReplicaIdentity(self.pointer, pg_sys::CmdType::CMD_DELETE) }
    }

    /// Raises the server's error where UPDATE would.
    pub fn check_update_identity(&self) {
        // SAFETY: open.
        unsafe { pg_sys::CheckCmdReplicaIdentity(self.pointer, pg_sys::CmdType::CMD_UPDATE) }
    }

    /// Its indexes.
    pub fn indexes(&self) -> Vec<pg_sys::Oid> {
        // SAFETY: open; the list is a copy.
        unsafe {
            let list = pg_sys::RelationGetIndexList(self.pointer);
            let found = pgrx::PgList::<pg_sys::Oid>::from_pg(list);
            let oids = found.iter_oid().collect();
            pg_sys::list_free(found.into_pg());
            oids
        }
    }

    /// Pins a page, which must be there: a table never shrinks while somebody has a lock on it.
    pub fn pin(&self, block: u32) -> pg_sys::Buffer {
        // SAFETY: open; raises an error if there is no such page.
        unsafe {
            pg_sys::ReadBufferExtended(
                self.pointer,
                pg_sys::ForkNumber::MAIN_FORKNUM,
                block,
                pg_sys::ReadBufferMode::RBM_NORMAL,
                std::ptr::null_mut(),
            )
        }
    }

    pub fn blocks(&self) -> u32 {
        // SAFETY: open, with storage.
        unsafe { pg_sys::RelationGetNumberOfBlocksInFork(self.pointer, pg_sys::ForkNumber::MAIN_FORKNUM) }
    }
}

/// Whether a table has pages, as far as that can be said at once: not of one that somebody has locked.
pub fn is_seen_to_have_pages(oid: pg_sys::Oid) -> bool {
    pages_at_once(oid).is_some_and(|pages| pages > 0)
}

/// Whether a table has none, as far as that can be said at once. Then no snapshot that was taken before sees a row in it.
pub fn is_seen_to_be_empty(oid: pg_sys::Oid) -> bool {
    pages_at_once(oid) == Some(0)
}

/// None of what is no table with storage, and of one that somebody has locked.
fn pages_at_once(oid: pg_sys::Oid) -> Option<u32> {
    const LOCK: i32 = pg_sys::AccessShareLock as i32;
    // SAFETY: locked before it is opened; whoever is not a table with storage is not asked for its size.
    unsafe {
        if !pg_sys::ConditionalLockRelationOid(oid, LOCK) {
            return None;
        }
        let relation = pg_sys::try_relation_open(oid, pg_sys::NoLock as i32);
        if relation.is_null() {
            pg_sys::UnlockRelationOid(oid, LOCK);
            return None;
        }
        let is_stored = (*(*relation).rd_rel).relkind == pg_sys::RELKIND_RELATION as i8;
        let pages = is_stored
            .then(|| pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM));
        pg_sys::relation_close(relation, LOCK);
        pages
    }
}

impl Drop for Relation {
    fn drop(&mut self) {
        // After an error the rollback closes it, and nothing of the server may be called on the way there.
        if !std::thread::panicking() {
            // SAFETY: opened here, closed once.
            unsafe { pg_sys::table_close(self.pointer, pg_sys::NoLock as i32) }
        }
    }
}
