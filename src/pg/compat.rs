//! What differs between the major versions, and nothing else.

use pgrx::pg_sys;

/// Installs a signal handler of this process.
///
/// # Safety
/// The handler must be safe to run at any point of the process.
pub unsafe fn install_signal_handler(signal: i32, handler: unsafe extern "C-unwind" fn(i32)) {
    #[cfg(not(feature = "pg18"))]
    // SAFETY: a plain signal number and a handler that the caller vouches for.
    unsafe {
        pg_sys::pqsignal(signal, Some(handler));
    }
    #[cfg(feature = "pg18")]
    // SAFETY: as above.
    unsafe {
        pg_sys::pqsignal_be(signal, Some(handler));
    }
}

/// Whether the current user owns the database, directly or as a member.
pub fn owns_database(database: pg_sys::Oid) -> bool {
    #[cfg(feature = "pg15")]
    // SAFETY: a catalog lookup inside a transaction.
    return unsafe { pg_sys::pg_database_ownercheck(database, pg_sys::GetUserId()) };
    #[cfg(not(feature = "pg15"))]
    // SAFETY: as above.
    return unsafe { pg_sys::object_ownercheck(pg_sys::DatabaseRelationId, database, pg_sys::GetUserId()) };
}

/// Whether the current user may use the database as a template: what CREATE DATABASE itself asks for.
pub fn may_copy_database(database: pg_sys::Oid) -> bool {
    owns_database(database) || (may_create_databases() && super::databases::is_template(database))
}

fn may_create_databases() -> bool {
    #[cfg(feature = "pg15")]
    {
        // SAFETY: a catalog lookup inside a transaction; the row is released after use.
        unsafe {
            let role = pg_sys::SearchSysCache1(
                pg_sys::SysCacheIdentifier::AUTHOID as i32,
                pg_sys::Datum::from(pg_sys::GetUserId()),
            );
            if role.is_null() {
                return false;
            }
            let header = (*role).t_data;
            let row = header
                .cast::<u8>()
                .add(usize::from((*header).t_hoff))
                .cast::<pg_sys::FormData_pg_authid>();
            let may = (*row).rolcreatedb;
            pg_sys::ReleaseSysCache(role);
            may
        }
    }
    #[cfg(not(feature = "pg15"))]
    // SAFETY: a catalog lookup inside a transaction.
    return unsafe { pg_sys::have_createdb_privilege() };
}

/// One column of a tuple descriptor.
///
/// # Safety
/// The descriptor must have that column.
pub unsafe fn column(descriptor: pg_sys::TupleDesc, index: i32) -> *const pg_sys::FormData_pg_attribute {
    #[cfg(not(feature = "pg18"))]
    // SAFETY: promised by the caller.
    unsafe {
        (*descriptor).attrs.as_ptr().add(index as usize)
    }
    #[cfg(feature = "pg18")]
    // SAFETY: promised by the caller.
    unsafe {
        pg_sys::TupleDescAttr(descriptor, index)
    }
}

/// What an index may have kept for the insertions of one statement.
///
/// # Safety
/// Both must belong together and be open.
pub unsafe fn end_index_insertions(index: pg_sys::Relation, info: *mut pg_sys::IndexInfo) {
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    // SAFETY: promised by the caller.
    unsafe {
        pg_sys::index_insert_cleanup(index, info);
    }
    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
    let _ = (index, info);
}

/// Begins a scan of an index.
///
/// # Safety
/// Both relations must be open and belong together; the snapshot lives as long as the scan.
pub unsafe fn begin_index_scan(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    keys: i32,
) -> pg_sys::IndexScanDesc {
    #[cfg(not(feature = "pg18"))]
    // SAFETY: promised by the caller.
    unsafe {
        pg_sys::index_beginscan(table, index, snapshot, keys, 0)
    }
    #[cfg(feature = "pg18")]
    // SAFETY: promised by the caller.
    unsafe {
        pg_sys::index_beginscan(table, index, snapshot, std::ptr::null_mut(), keys, 0)
    }
}

/// UPDATE of one tuple by another, as far as the heap is concerned.
///
/// # Safety
/// The relation must be open for writing, the place one of its tuples, and the tuple ours to change.
pub unsafe fn heap_update(
    relation: pg_sys::Relation,
    place: pg_sys::ItemPointer,
    tuple: pg_sys::HeapTuple,
    wait: bool,
) -> pg_sys::TM_Result::Type {
    let mut failure = pg_sys::TM_FailureData::default();
    let mut mode = pg_sys::LockTupleMode::LockTupleNoKeyExclusive;
    // SAFETY: promised by the caller; what comes back is written to places of ours.
    unsafe {
        let command = pg_sys::GetCurrentCommandId(true);
        let none = std::ptr::null_mut();
        #[cfg(feature = "pg15")]
        return pg_sys::heap_update(
            relation,
            place,
            tuple,
            command,
            none,
            wait,
            &mut failure,
            &mut mode,
        );
        #[cfg(not(feature = "pg15"))]
        {
            let mut indexes = pg_sys::TU_UpdateIndexes::TU_None;
            pg_sys::heap_update(
                relation,
                place,
                tuple,
                command,
                none,
                wait,
                &mut failure,
                &mut mode,
                &mut indexes,
            )
        }
    }
}

/// The server's number for its statement timeout, the same in all majors so far.
pub const STATEMENT_TIMEOUT: i32 = 3;

/// Where the numbers begin that the server gives to timeouts of extensions.
#[cfg(any(feature = "pg15", feature = "pg16"))]
pub const FIRST_OWN_TIMEOUT: i32 = 12;
#[cfg(any(feature = "pg17", feature = "pg18"))]
pub const FIRST_OWN_TIMEOUT: i32 = 13;

/// The transaction that a process runs now, as locks name it.
///
/// # Safety
/// It must be one of the array of processes.
pub unsafe fn virtual_id(process: *mut pg_sys::PGPROC) -> (i32, u32) {
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    // SAFETY: promised by the caller; each number is read in one piece.
    unsafe {
        (
            (&raw const (*process).backendId).read_volatile(),
            (&raw const (*process).lxid).read_volatile(),
        )
    }
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    // SAFETY: as above.
    unsafe {
        (
            (&raw const (*process).vxid.procNumber).read_volatile(),
            (&raw const (*process).vxid.lxid).read_volatile(),
        )
    }
}

/// The same, from a list of the server.
pub fn virtual_id_in(id: &pg_sys::VirtualTransactionId) -> (i32, u32) {
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    return (id.backendId, id.localTransactionId);
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    return (id.procNumber, id.localTransactionId);
}

/// One entry of what the processes say about themselves, counted from 1; it lives to the end of the transaction.
///
/// # Safety
/// The number must be one that the server has counted to.
pub unsafe fn activity(number: i32) -> *const pg_sys::PgBackendStatus {
    #[cfg(feature = "pg15")]
    // SAFETY: promised by the caller.
    let entry = unsafe { pg_sys::pgstat_fetch_stat_local_beentry(number) };
    #[cfg(not(feature = "pg15"))]
    // SAFETY: promised by the caller.
    let entry = unsafe { pg_sys::pgstat_get_local_beentry_by_index(number) };
    if entry.is_null() {
        return std::ptr::null();
    }
    // SAFETY: an entry that is there.
    unsafe { &raw const (*entry).backendStatus }
}

/// What B-tree's record for a page that is used again says.
///
/// # Safety
/// The relation must be open.
pub unsafe fn conflict_record(relation: pg_sys::Relation, block: u32, newest: u64) -> Vec<u8> {
    #[cfg(feature = "pg15")]
    // SAFETY: promised by the caller.
    let file = unsafe {
        let file = (*relation).rd_node;
        [file.spcNode, file.dbNode, file.relNode].map(pg_sys::Oid::to_u32)
    };
    #[cfg(not(feature = "pg15"))]
    // SAFETY: promised by the caller.
    let file = unsafe {
        let file = (*relation).rd_locator;
        [
            file.spcOid.to_u32(),
            file.dbOid.to_u32(),
            u32::from(file.relNumber),
        ]
    };
    let mut record: Vec<u8> = file
        .into_iter()
        .chain([block])
        .flat_map(u32::to_ne_bytes)
        .collect();
    record.extend(newest.to_ne_bytes());
    // Not a catalog, as far as decoding on a standby is concerned.
    #[cfg(not(feature = "pg15"))]
    record.push(0);
    record
}

/// Adds bytes to the WAL record that is being made.
///
/// # Safety
/// One must have been begun, and the bytes stay until it is inserted.
pub unsafe fn register_wal_data(bytes: &[u8]) {
    let length = bytes.len() as u32;
    #[cfg(feature = "pg15")]
    // SAFETY: promised by the caller; the server only reads them.
    unsafe {
        pg_sys::XLogRegisterData(bytes.as_ptr().cast_mut().cast(), length as i32);
    }
    #[cfg(any(feature = "pg16", feature = "pg17"))]
    // SAFETY: as above.
    unsafe {
        pg_sys::XLogRegisterData(bytes.as_ptr().cast_mut().cast(), length);
    }
    #[cfg(feature = "pg18")]
    // SAFETY: as above.
    unsafe {
        pg_sys::XLogRegisterData(bytes.as_ptr().cast(), length);
    }
}

/// Adds bytes to the WAL record that is being made, about one of its blocks.
///
/// # Safety
/// One must have been begun and the block registered, and the bytes stay until it is inserted.
pub unsafe fn register_wal_block_data(block: u8, bytes: &[u8]) {
    // SAFETY: promised by the caller; the server only reads them.
    unsafe {
        #[cfg(feature = "pg15")]
        pg_sys::XLogRegisterBufData(block, bytes.as_ptr().cast_mut().cast(), bytes.len() as i32);
        #[cfg(any(feature = "pg16", feature = "pg17"))]
        pg_sys::XLogRegisterBufData(block, bytes.as_ptr().cast_mut().cast(), bytes.len() as u32);
        #[cfg(feature = "pg18")]
        pg_sys::XLogRegisterBufData(block, bytes.as_ptr().cast(), bytes.len() as u32);
    }
}

/// How the server's b-tree remembers the way to a leaf, the lowest page first.
#[repr(C)]
struct Way {
    block: pg_sys::BlockNumber,
    item: pg_sys::OffsetNumber,
    above: *mut Way,
}

unsafe extern "C-unwind" {
    // Exported by the server, but not bound by pgrx. A key begins with whether places are part of it.
    fn _bt_mkscankey(index: pg_sys::Relation, tuple: pg_sys::IndexTuple) -> *mut bool;
    fn _bt_freestack(way: *mut Way);
    #[cfg(feature = "pg15")]
    fn _bt_search(
        index: pg_sys::Relation,
        key: *mut bool,
        leaf: *mut pg_sys::Buffer,
        access: i32,
        snapshot: pg_sys::Snapshot,
    ) -> *mut Way;
    #[cfg(feature = "pg16")]
    fn _bt_search(
        index: pg_sys::Relation,
        table: pg_sys::Relation,
        key: *mut bool,
        leaf: *mut pg_sys::Buffer,
        access: i32,
        snapshot: pg_sys::Snapshot,
    ) -> *mut Way;
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    fn _bt_search(
        index: pg_sys::Relation,
        table: pg_sys::Relation,
        key: *mut bool,
        leaf: *mut pg_sys::Buffer,
        access: i32,
    ) -> *mut Way;
}

/// Where a search in a b-tree has ended.
pub struct Descent {
    /// Pinned, and locked for readers; 0 where the tree is empty.
    pub leaf: pg_sys::Buffer,
    /// The pages that led to it, the lowest first, and which item of each.
    pub way: Vec<(u32, u16)>,
    /// Not so in indexes made before version 12.
    places_are_part_of_keys: bool,
}

/// Goes down a b-tree to the leaf on which what is not less than a tuple begins.
///
/// # Safety
/// The index and its table must be open and locked, and the tuple be one of the index, or what is left of one as on a page above the
/// leaves. Whoever asks gives the leaf back.
pub unsafe fn descend(
    index: pg_sys::Relation,
    table: pg_sys::Relation,
    tuple: pg_sys::IndexTuple,
) -> Descent {
    let access = pg_sys::BUFFER_LOCK_SHARE as i32;
    let mut leaf = pg_sys::InvalidBuffer as pg_sys::Buffer;
    #[cfg(feature = "pg15")]
    let _ = table;
    // SAFETY: promised by the caller. The leaf comes pinned and locked; what the server allocates is freed.
    unsafe {
        let (first, places_are_part_of_keys) = pg_sys::ffi::pg_guard_ffi_boundary(|| {
            let key = _bt_mkscankey(index, tuple);
            #[cfg(feature = "pg15")]
            let way = _bt_search(index, key, &mut leaf, access, std::ptr::null_mut());
            #[cfg(feature = "pg16")]
            let way = _bt_search(index, table, key, &mut leaf, access, std::ptr::null_mut());
            #[cfg(any(feature = "pg17", feature = "pg18"))]
            let way = _bt_search(index, table, key, &mut leaf, access);
            let with_places = *key;
            pg_sys::pfree(key.cast());
            (way, with_places)
        });
        let (mut way, mut step) = (Vec::new(), first);
        while !step.is_null() {
            way.push(((*step).block, (*step).item));
            step = (*step).above;
        }
        if !first.is_null() {
            pg_sys::ffi::pg_guard_ffi_boundary(|| _bt_freestack(first));
        }
        Descent {
            leaf,
            way,
            places_are_part_of_keys,
        }
    }
}

/// The page of a b-tree that led to the leaf for a tuple. None if the leaf is all there is, or if places are not part of the
/// keys.
///
/// # Safety
/// The index and its table must be open and locked, and the tuple be one of the index.
pub unsafe fn page_above_leaf(
    index: pg_sys::Relation,
    table: pg_sys::Relation,
    tuple: pg_sys::IndexTuple,
) -> Option<u32> {
    // SAFETY: promised by the caller; the leaf comes pinned and locked, if there is one.
    unsafe {
        let found = descend(index, table, tuple);
        if found.leaf != pg_sys::InvalidBuffer as pg_sys::Buffer {
            pg_sys::UnlockReleaseBuffer(found.leaf);
        }
        let above = found.way.first().map(|(block, _)| *block);
        above.filter(|_| found.places_are_part_of_keys)
    }
}

/// How a partitioned table is analysed, and as little else as the version can: older ones visit all its partitions as well.
#[cfg(feature = "pg18")]
pub const ANALYZE_PARENT: &str = "ANALYZE ONLY";
#[cfg(not(feature = "pg18"))]
pub const ANALYZE_PARENT: &str = "ANALYZE";

#[cfg(any(feature = "pg15", feature = "pg16"))]
type TransactionVariables = pg_sys::VariableCacheData;
#[cfg(not(any(feature = "pg15", feature = "pg16")))]
type TransactionVariables = pg_sys::TransamVariablesData;

/// What all processes know of transactions: shared memory that exists in every server process.
fn transaction_variables() -> *const TransactionVariables {
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    // SAFETY: a pointer that is set before any session.
    let variables = unsafe { pg_sys::ShmemVariableCache };
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    // SAFETY: as above.
    let variables = unsafe { pg_sys::TransamVariables };
    variables
}

/// Whether rows may be cleared away that a snapshot still sees, for which the server's own reads raise an error. Until 16.
pub fn snapshots_grow_too_old() -> bool {
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    // SAFETY: a setting of the server.
    return unsafe { pg_sys::old_snapshot_threshold } >= 0;
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    return false;
}

/// Transactions with an id that have ended since the server started.
pub fn completed_transactions() -> u64 {
    // SAFETY: a counter that is read in one piece.
    unsafe { (&raw const (*transaction_variables()).xactCompletionCount).read_volatile() }
}

/// Before this transaction the fate of none can be looked up.
pub fn oldest_recorded_transaction() -> pg_sys::TransactionId {
    // SAFETY: a number that is read in one piece.
    unsafe { (&raw const (*transaction_variables()).oldestClogXid).read_volatile() }
}

/// Has all processes forget what they know of the file of a relation, at once.
///
/// # Safety
/// The relation must be open.
pub unsafe fn forget_file(relation: pg_sys::Relation) {
    // SAFETY: promised by the caller; it is no temporary relation.
    unsafe {
        #[cfg(feature = "pg15")]
        pg_sys::CacheInvalidateSmgr(pg_sys::RelFileNodeBackend {
            node: (*relation).rd_node,
            backend: (*relation).rd_backend,
        });
        #[cfg(not(feature = "pg15"))]
        pg_sys::CacheInvalidateSmgr(pg_sys::RelFileLocatorBackend {
            locator: (*relation).rd_locator,
            backend: (*relation).rd_backend,
        });
    }
}

/// Exchanges what two rows of pg_class say of the sizes of their tables.
pub fn swap_sizes(one: &mut pg_sys::FormData_pg_class, other: &mut pg_sys::FormData_pg_class) {
    std::mem::swap(&mut one.relpages, &mut other.relpages);
    std::mem::swap(&mut one.reltuples, &mut other.reltuples);
    std::mem::swap(&mut one.relallvisible, &mut other.relallvisible);
    #[cfg(feature = "pg18")]
    std::mem::swap(&mut one.relallfrozen, &mut other.relallfrozen);
}
