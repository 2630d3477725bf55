//! Telling standbys that rows go, before they do.

use pgrx::pg_sys;
use pgrx::pg_sys::TransactionId;

use super::compat;

/// B-tree writes this record when it uses a page again. It changes no page: all that replay does with it is to wait for, or to
/// cancel, queries with a snapshot that misses what committed up to here. No other record does only that.
const REUSE_PAGE: u8 = 0xD0;

/// Rows that were deleted by this transaction, or by earlier ones, are about to be cleared away from a logged table.
pub fn log(relation: pg_sys::Relation, block: u32, newest: TransactionId) {
    // SAFETY: the relation is open; the record is copied into WAL before this returns.
    unsafe {
        if pg_sys::wal_level < pg_sys::WalLevel::WAL_LEVEL_REPLICA as i32 {
            return;
        }
        let next = pg_sys::ReadNextFullTransactionId().value;
        let age = (next as u32).wrapping_sub(newest.into_inner());
        let record = compat::conflict_record(relation, block, next - u64::from(age));
        pg_sys::XLogBeginInsert();
        compat::register_wal_data(&record);
        pg_sys::XLogInsert(pg_sys::RmgrIds::RM_BTREE_ID as pg_sys::RmgrId, REUSE_PAGE);
    }
}
