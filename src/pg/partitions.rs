//! The partitions of a table that is partitioned by one timestamp, from the relation cache.

use pgrx::pg_sys;

use crate::partition::bounds::Period;

/// Microseconds between 1970, where our times begin, and 2000, where the server's do.
pub const EPOCH_2000: i64 = 946_684_800_000_000;

/// One partition, its bounds in the server's own microseconds. Open ends are the ends of time.
#[derive(Debug, Clone, Copy)]
pub struct Partition {
    pub oid: pg_sys::Oid,
    pub from: i64,
    pub until: i64,
}

/// The partitions in order. Open ends are the ends of time; partitions being detached are left out. Empty when the table is
/// not range-partitioned. Nothing stays locked: what is read here is looked at again by whoever acts on it, and a lock to the
/// end of a flush would keep old partitions from ever being detached.
pub fn periods(parent: pg_sys::Oid) -> Vec<Period> {
    let since_1970 = |time: i64| match time {
        i64::MIN | i64::MAX => time,
        _ => time.saturating_add(EPOCH_2000),
    };
    to_read(parent)
        .into_iter()
        .map(|partition| Period {
            start: since_1970(partition.from),
            end: since_1970(partition.until),
        })
        .collect()
}

/// The partitions in order, nothing locked.
pub fn to_read(parent: pg_sys::Oid) -> Vec<Partition> {
    partitions(parent, pg_sys::AccessShareLock, pg_sys::AccessShareLock)
}

/// The same, with the lock of somebody who will write into them: as long as it is held none of them is detached.
pub fn to_write(parent: pg_sys::Oid) -> Vec<Partition> {
    partitions(parent, pg_sys::RowExclusiveLock, pg_sys::NoLock)
}

fn partitions(parent: pg_sys::Oid, lock: u32, unlock: u32) -> Vec<Partition> {
    // SAFETY: the relation stays open and locked while its partition descriptor is read; the arrays have the lengths that
    // the descriptor says: `ndatums` bounds of one key each, and one index more, saying which partition ends there.
    unsafe {
        let relation = pg_sys::table_open(parent, lock as i32);
        let mut found = Vec::new();
        let partitioned = (*(*relation).rd_rel).relkind == pg_sys::RELKIND_PARTITIONED_TABLE as i8;
        if partitioned {
            let descriptor = pg_sys::RelationGetPartitionDesc(relation, true);
            let bounds = (*descriptor).boundinfo;
            if !bounds.is_null() && !(*bounds).kind.is_null() {
                let count = usize::try_from((*bounds).ndatums).unwrap_or(0);
                let bound = |index: usize| bound_at(bounds, index);
                for upper in 0..=count {
                    let Ok(partition) = usize::try_from(*(*bounds).indexes.add(upper)) else {
                        continue;
                    };
                    found.push(Partition {
                        oid: *(*descriptor).oids.add(partition),
                        from: if upper == 0 { i64::MIN } else { bound(upper - 1) },
                        until: if upper == count { i64::MAX } else { bound(upper) },
                    });
                }
            }
        }
        pg_sys::table_close(relation, unlock as i32);
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
            _ => (**(*bounds).datums.add(index)).value() as i64,
        }
    }
}
