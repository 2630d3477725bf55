//! Rows of a small table, found one by one by a unique key: as the active snapshot sees them, with the rights of the current user.

use pgrx::FromDatum;
use pgrx::pg_sys;

use super::citus;
use super::index_read::{ReadIndex, Scalar};
use super::relation::Relation;
use super::xact;

/// More columns than the tables have that are read in this way.
const MOST_COLUMNS: usize = 32;

/// A column by its name and type.
pub type Column = (&'static str, pg_sys::Oid);

pub struct Keyed<const N: usize> {
    index: ReadIndex,
    table: Relation,
    /// Places of the key's columns, counted from 1.
    key: Vec<i16>,
    /// Places of the columns that are read.
    columns: [usize; N],
}

/// What of a row is read, in the order of the columns that were asked for.
pub struct Values<const N: usize> {
    values: [Option<pg_sys::Datum>; N],
}

impl<const N: usize> Keyed<N> {
    /// None where only the executor is right: policies, missing rights, a table that somebody changed.
    pub fn open(oid: pg_sys::Oid, key: &[(Column, u32)], columns: [Column; N]) -> Option<Keyed<N>> {
        let table = Relation::open_to_read(oid);
        let plain = table.is_plain_heap()
            && table.columns() <= MOST_COLUMNS
            && !table.has_children()
            && !table.has_row_security()
            && table.may(pg_sys::ACL_SELECT)
            && !xact::is_serializable()
            && !citus::is_distributed(oid);
        if !plain {
            return None;
        }
        let place = |(name, kind): &Column| table.place(name, *kind);
        let mut of_index = Vec::with_capacity(key.len());
        for (column, order) in key {
            of_index.push((place(column)? as i16 + 1, *order));
        }
        let mut places = [0; N];
        for (found, column) in places.iter_mut().zip(&columns) {
            *found = place(column)?;
        }
        Some(Keyed {
            index: ReadIndex::of(&table, &of_index, &[], true, None)?,
            table,
            key: of_index.into_iter().map(|(number, _)| number).collect(),
            columns: places,
        })
    }

    /// The row with this key, which has a value for each column of it.
    pub fn find<T>(&self, key: &[Scalar], read: impl FnOnce(&Values<N>) -> T) -> Option<T> {
        let mut keys: Vec<pg_sys::ScanKeyData> = Vec::with_capacity(key.len());
        for (place, (scalar, number)) in key.iter().zip(&self.key).enumerate() {
            keys.push(scalar.key(*number, self.index.collation(place)));
        }
        // SAFETY: table and index are open; the caller's snapshot is in force meanwhile. What is found is read before the
        // scan ends; the arrays have as many places as the table has columns.
        unsafe {
            let snapshot = pg_sys::GetActiveSnapshot();
            if snapshot.is_null() {
                return None;
            }
            let (table, count) = (self.table.as_ptr(), keys.len() as i32);
            let scan =
                pg_sys::systable_beginscan(table, self.index.oid(), true, snapshot, count, keys.as_mut_ptr());
            let tuple = pg_sys::systable_getnext(scan);
            let found = (!tuple.is_null()).then(|| {
                let mut values = [pg_sys::Datum::null(); MOST_COLUMNS];
                let mut nulls = [true; MOST_COLUMNS];
                pg_sys::heap_deform_tuple(tuple, (*table).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
                read(&Values {
                    values: self.columns.map(|place| (!nulls[place]).then_some(values[place])),
                })
            });
            pg_sys::systable_endscan(scan);
            found
        }
    }
}

impl<const N: usize> Values<N> {
    pub fn small(&self, column: usize) -> Option<i32> {
        self.values[column].map(|datum| datum.value() as i32)
    }

    /// False for NULL.
    pub fn boolean(&self, column: usize) -> bool {
        self.values[column].is_some_and(|datum| datum.value() as u8 != 0)
    }

    pub fn text(&self, column: usize) -> Option<String> {
        // SAFETY: whoever asks has named a column of type text.
        unsafe { String::from_datum(self.values[column]?, false) }
    }
}
