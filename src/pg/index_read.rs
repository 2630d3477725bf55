//! An index that is open to be read, and whether it is one that can be read without the planner.

use pgrx::pg_sys;

use super::relation::Relation;

/// The first support function of the operator classes of b-tree compares.
const ORDER: u16 = 1;

/// A column of an index: the table's column, and the function that orders its values.
pub type Column = (i16, u32);

/// An open index of a table that stays open. Its lock stays to the end of the transaction.
pub struct ReadIndex {
    pointer: pg_sys::Relation,
}

impl ReadIndex {
    /// The first of a table's indexes that has these columns and no others, in ascending order, of all rows, or of those in which
    /// the column `where_set` has a value. Those in `included` come behind them, and order nothing.
    pub fn of(
        table: &Relation,
        columns: &[Column],
        included: &[i16],
        unique: bool,
        where_set: Option<i16>,
    ) -> Option<ReadIndex> {
        table.indexes().into_iter().find_map(|oid| {
            // SAFETY: an index of an open table.
            let pointer = unsafe { pg_sys::index_open(oid, pg_sys::AccessShareLock as i32) };
            let index = ReadIndex { pointer };
            index.has(columns, included, unique, where_set).then_some(index)
        })
    }

    pub fn as_ptr(&self) -> pg_sys::Relation {
        self.pointer
    }

    pub fn oid(&self) -> pg_sys::Oid {
        // SAFETY: open.
        unsafe { (*self.pointer).rd_id }
    }

    fn has(&self, columns: &[Column], included: &[i16], unique: bool, where_set: Option<i16>) -> bool {
        // SAFETY: open; the arrays have as many places as the index has key columns.
        unsafe {
            let index = (*self.pointer).rd_index;
            let count = columns.len() as i32;
            // One that does not know of older versions of rows is for younger snapshots only.
            let usable = (*(*self.pointer).rd_rel).relam == pg_sys::BTREE_AM_OID
                && (*index).indisvalid
                && (*index).indislive
                && !(*index).indcheckxmin
                && i32::from((*index).indnkeyatts) == count
                && (*(*self.pointer).rd_att).natts == count + included.len() as i32;
            if !usable || unique && !((*index).indisunique && (*index).indimmediate) {
                return false;
            }
            let numbers = (&raw const (*index).indkey.values).cast::<i16>();
            let same = columns.iter().enumerate().all(|(place, (number, order))| {
                *numbers.add(place) == *number
                    && *(*self.pointer).rd_indoption.add(place) == 0
                    && pg_sys::index_getprocid(self.pointer, place as i16 + 1, ORDER).to_u32() == *order
            });
            let behind = numbers.add(columns.len());
            let same = same
                && included
                    .iter()
                    .enumerate()
                    .all(|(place, number)| *behind.add(place) == *number);
            same && self.is_of_rows_with(where_set)
        }
    }

    fn is_of_rows_with(&self, set: Option<i16>) -> bool {
        // SAFETY: open; the condition is a copy, a list of expressions.
        unsafe {
            let conditions = pg_sys::RelationGetIndexPredicate(self.pointer);
            if conditions.is_null() {
                return set.is_none();
            }
            let conditions = pgrx::PgList::<pg_sys::Node>::from_pg(conditions);
            let (Some(set), Some(condition)) = (set, conditions.head()) else {
                return false;
            };
            if conditions.len() != 1 || !pgrx::is_a(condition, pg_sys::NodeTag::T_NullTest) {
                return false;
            }
            let test = condition.cast::<pg_sys::NullTest>();
            let of = (*test).arg.cast::<pg_sys::Node>();
            (*test).nulltesttype == pg_sys::NullTestType::IS_NOT_NULL
                && pgrx::is_a(of, pg_sys::NodeTag::T_Var)
                && (*of.cast::<pg_sys::Var>()).varattno == set
        }
    }

    /// The collation of a column, counted from 0.
    pub fn collation(&self, column: usize) -> pg_sys::Oid {
        // SAFETY: open; whoever asks has looked whether it has that column.
        unsafe { *(*self.pointer).rd_indcollation.add(column) }
    }
}

impl Drop for ReadIndex {
    fn drop(&mut self) {
        // After an error the rollback closes it.
        if !std::thread::panicking() {
            // SAFETY: opened here, closed once; the lock stays.
            unsafe { pg_sys::index_close(self.pointer, pg_sys::NoLock as i32) }
        }
    }
}

/// What a column is compared with.
#[derive(Debug, Clone, Copy)]
pub enum Scalar<'a> {
    Number(f64),
    Whole(i64),
    /// Of a column of four bytes.
    Small(i32),
    Text(&'a str),
}

impl Scalar<'_> {
    /// The type of its column.
    pub fn kind(&self) -> pg_sys::Oid {
        match self {
            Scalar::Number(_) => pg_sys::FLOAT8OID,
            Scalar::Whole(_) => pg_sys::INT8OID,
            Scalar::Small(_) => pg_sys::INT4OID,
            Scalar::Text(_) => pg_sys::TEXTOID,
        }
    }

    /// The function that orders values of this kind.
    pub fn order(&self) -> u32 {
        match self {
            Scalar::Number(_) => pg_sys::F_BTFLOAT8CMP,
            Scalar::Whole(_) => pg_sys::F_BTINT8CMP,
            Scalar::Small(_) => pg_sys::F_BTINT4CMP,
            Scalar::Text(_) => pg_sys::F_BTTEXTCMP,
        }
    }

    fn equals(&self) -> u32 {
        match self {
            Scalar::Number(_) => pg_sys::F_FLOAT8EQ,
            Scalar::Whole(_) => pg_sys::F_INT8EQ,
            Scalar::Small(_) => pg_sys::F_INT4EQ,
            Scalar::Text(_) => pg_sys::F_TEXTEQ,
        }
    }

    /// What it points to lies in the current memory context.
    pub(super) fn datum(&self) -> pg_sys::Datum {
        use pgrx::IntoDatum;
        match self {
            Scalar::Number(value) => pg_sys::Datum::from(value.to_bits()),
            Scalar::Whole(value) => pg_sys::Datum::from(*value),
            Scalar::Small(value) => pg_sys::Datum::from(*value),
            Scalar::Text(text) => text.into_datum().unwrap_or(pg_sys::Datum::null()),
        }
    }

    /// That a column, counted from 1, is equal to it. What it points to lies in the current memory context.
    pub fn key(&self, column: i16, collation: pg_sys::Oid) -> pg_sys::ScanKeyData {
        let mut key = pg_sys::ScanKeyData::default();
        // SAFETY: a function of the server that compares two values of this type.
        unsafe {
            pg_sys::ScanKeyEntryInitialize(
                &mut key,
                0,
                column,
                pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
                pg_sys::InvalidOid,
                collation,
                pg_sys::Oid::from(self.equals()),
                self.datum(),
            );
        }
        key
    }
}
