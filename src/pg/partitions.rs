//! The bounds of a table that is partitioned by one timestamp, from the relation cache.

use pgrx::pg_sys;

use crate::partition::bounds::Period;

/// Microseconds between 1970, where our times begin, and 2000, where the server's do.
pub const EPOCH_2000: i64 = 946_684_800_000_000;

/// The partitions in order. Open ends are the ends of time; partitions being detached are left out. Empty when the table is
/// not range-partitioned. Takes an ACCESS SHARE lock to the end of the transaction.
pub fn periods(parent: pg_sys::Oid) -> Vec<Period> {
    // SAFETY: the relation stays open and locked while its partition descriptor is read; the arrays have the lengths that
    // the descriptor says: `ndatums` bounds of one key each, and one index more, saying which partition ends there.
    unsafe {
        let relation = pg_sys::table_open(parent, pg_sys::AccessShareLock as i32);
        let mut found = Vec::new();
        let partitioned = (*(*relation).rd_rel).relkind == pg_sys::RELKIND_PARTITIONED_TABLE as i8;
        if partitioned {
            let descriptor = pg_sys::RelationGetPartitionDesc(relation, true);
            let bounds = (*descriptor).boundinfo;
            if !bounds.is_null() && !(*bounds).kind.is_null() {
                let count = usize::try_from((*bounds).ndatums).unwrap_or(0);
                let bound = |index: usize| bound_at(bounds, index);
                for upper in 0..=count {
                    if *(*bounds).indexes.add(upper) < 0 {
                        continue;
                    }
                    found.push(Period {
                        start: if upper == 0 { i64::MIN } else { bound(upper - 1) },
                        end: if upper == count { i64::MAX } else { bound(upper) },
                    });
                }
            }
        }
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        found
    }
}

/// # Safety
/// `index` must be below `ndatums`.
unsafe fn bound_at(bounds: pg_sys::PartitionBoundInfo, index: usize) -> i64 {
    // SAFETY: promised by the caller.
    unsafe {
        match **(*bounds).kind.add(index) {
            pg_sys::PartitionRangeDatumKind::PARTITION_RANGE_DATUM_MINVALUE => i64::MIN,
            pg_sys::PartitionRangeDatumKind::PARTITION_RANGE_DATUM_MAXVALUE => i64::MAX,
            _ => ((**(*bounds).datums.add(index)).value() as i64).saturating_add(EPOCH_2000),
        }
    }
}
