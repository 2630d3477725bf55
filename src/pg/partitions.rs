//! The partitions of a table that is partitioned by one timestamp, from the relation cache.

use pgrx::pg_sys;

use super::relation::Relation;
use crate::partition::bounds::Period;
use crate::staging::reading::INGESTED_AT;

/// Microseconds between 1970, where our times begin, and 2000, where the server's do.
pub const EPOCH_2000: i64 = 946_684_800_000_000;

/// One partition, its bounds in the server's own microseconds. Open ends are the ends of time.
#[derive(Debug, Clone, Copy)]
pub struct Partition {
    pub oid: pg_sys::Oid,
    pub from: i64,
    pub until: i64,
}

impl Partition {
    /// The bounds in microseconds since 1970.
    pub fn period(&self) -> Period {
        let since_1970 = |time: i64| match time {
            i64::MIN | i64::MAX => time,
            _ => time.saturating_add(EPOCH_2000),
        };
        Period {
            start: since_1970(self.from),
            end: since_1970(self.until),
        }
    }
}

/// The partitions in order. Open ends are the ends of time; partitions being detached are left out. Empty when the table is
/// not partitioned; one for all times, the table itself, when it is in a way that only the server understands. Nothing stays
/// locked: what is read here is looked at again by whoever acts on it, and a lock to the end of a flush would keep old
/// partitions from ever being detached.
pub fn periods(parent: pg_sys::Oid) -> Vec<Period> {
    to_read(parent).iter().map(Partition::period).collect()
}

/// The partitions in order, nothing locked.
pub fn to_read(parent: pg_sys::Oid) -> Vec<Partition> {
    partitions(parent, pg_sys::AccessShareLock, pg_sys::AccessShareLock, None)
}

/// The same, with the lock of somebody who will write into them: as long as it is held none of them is detached.
pub fn to_write(parent: pg_sys::Oid) -> Vec<Partition> {
    partitions(
        parent,
        pg_sys::RowExclusiveLock,
        pg_sys::NoLock,
        Some(INGESTED_AT as i16 + 1),
    )
}

/// `only`: the column that it must be partitioned by.
fn partitions(parent: pg_sys::Oid, lock: u32, unlock: u32, only: Option<i16>) -> Vec<Partition> {
    // SAFETY: the relation stays open and locked while its partition descriptor is read; the arrays have the lengths that
    // the descriptor says: `ndatums` bounds of one key each, and one index more, saying which partition ends there.
    unsafe {
        let relation = pg_sys::table_open(parent, lock as i32);
        let mut found = Vec::new();
        let column = only_column(parent);
        let partitioned = (*(*relation).rd_rel).relkind == pg_sys::RELKIND_PARTITIONED_TABLE as i8;
        if partitioned && column.is_none_or(|column| only.is_some_and(|only| only != column)) {
            found.push(Partition {
                oid: parent,
                from: i64::MIN,
                until: i64::MAX,
            });
        } else if partitioned {
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

/// The partitions of a table by the remainder of the hash of a row: as many as there are remainders. Nothing stays locked.
/// None when it is not partitioned by HASH (first column, second column), or a remainder has no partition.
pub fn by_hash(parent: &Relation) -> Option<Vec<pg_sys::Oid>> {
    if !is_hash_of_two(parent.oid()) {
        return None;
    }
    // SAFETY: the relation is open while its partition descriptor is read; the array has the length that it says.
    unsafe {
        let descriptor = pg_sys::RelationGetPartitionDesc(parent.as_ptr(), true);
        let bounds = (*descriptor).boundinfo;
        if bounds.is_null() || (*bounds).strategy as u8 != b'h' {
            return None;
        }
        let count = usize::try_from((*bounds).nindexes).ok()?;
        (0..count)
            .map(|remainder| {
                let partition = usize::try_from(*(*bounds).indexes.add(remainder)).ok()?;
                Some(*(*descriptor).oids.add(partition))
            })
            .collect()
    }
}

fn is_hash_of_two(parent: pg_sys::Oid) -> bool {
    // SAFETY: as in only_column.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::PARTRELID as i32;
        let row = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(parent));
        if row.is_null() {
            return false;
        }
        let value = |number: i16| pg_sys::SysCacheGetAttr(cache, row, number, &mut false);
        let mut found = value(STRATEGY).value() as u8 == b'h' && value(COUNT).value() as i16 == 2;
        if found {
            let columns = value(COLUMNS).cast_mut_ptr::<pg_sys::int2vector>();
            let first = (&raw const (*columns).values).cast::<i16>();
            found = (*first, *first.add(1)) == (1, 2);
        }
        pg_sys::ReleaseSysCache(row);
        found
    }
}

/// Columns of pg_partitioned_table, which pgrx does not know.
const STRATEGY: i16 = 2;
const COUNT: i16 = 3;
const COLUMNS: i16 = 5;

/// The column by whose ranges a table is partitioned, counted from 1; None when it is partitioned by anything else.
fn only_column(parent: pg_sys::Oid) -> Option<i16> {
    // SAFETY: a catalog lookup inside a transaction; the row is released after use, and has a number for each of its columns.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::PARTRELID as i32;
        let row = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(parent));
        if row.is_null() {
            return None;
        }
        let value = |number: i16| pg_sys::SysCacheGetAttr(cache, row, number, &mut false);
        let by_range = value(STRATEGY).value() as u8 == b'r' && value(COUNT).value() as i16 == 1;
        let columns = value(COLUMNS).cast_mut_ptr::<pg_sys::int2vector>();
        let column = *(&raw const (*columns).values).cast::<i16>();
        pg_sys::ReleaseSysCache(row);
        (by_range && column != 0).then_some(column)
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
