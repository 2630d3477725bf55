//! The index of a table that has entities by their values, open where it can be read without the executor.

use pgrx::pg_sys;

use super::citus;
use super::compat;
use super::index_read::{ReadIndex, Scalar};
use super::relation::{self, Relation};
use super::value_entries::Kind;
use super::xact;
use crate::error::Error;

/// Columns by which the index is in order: tenant, attribute, value, entity.
pub const KEYS: usize = 4;

const COLLATED: usize = 2;

/// Names of the table's columns that the index must have: those, and the place of the document behind them.
pub struct Names {
    pub keys: [&'static str; KEYS],
    pub place: &'static str,
}

/// The table and its index.
pub struct ValueIndex {
    pub(super) index: ReadIndex,
    pub(super) table: Relation,
    pub(super) kind: Kind,
}

impl ValueIndex {
    /// With values of the kind of `like`. None where only the executor is right.
    pub fn open(oid: pg_sys::Oid, names: &Names, like: &Scalar) -> Option<ValueIndex> {
        // Pages that are read as they are would not tell.
        if compat::snapshots_grow_too_old() {
            return None;
        }
        let table = Relation::open_to_read(oid);
        let plain = table.is_plain_heap()
            && !table.has_children()
            && !xact::is_serializable()
            && !citus::is_distributed(oid);
        if !plain {
            return None;
        }
        let number = |name, kind| table.place(name, kind).map(|place| place as i16 + 1);
        let [tenant, attribute, value, entity] = names.keys;
        let value = number(value, like.kind())?;
        let columns = [
            (number(tenant, pg_sys::INT8OID)?, pg_sys::F_BTINT8CMP),
            (number(attribute, pg_sys::INT4OID)?, pg_sys::F_BTINT4CMP),
            (value, like.order()),
            (number(entity, pg_sys::INT8OID)?, pg_sys::F_BTINT8CMP),
        ];
        let place = number(names.place, pg_sys::INT8OID)?;
        let index = ReadIndex::of(&table, &columns, &[place], false, Some(value))?;
        let by_bytes = index.collation(COLLATED) == pg_sys::C_COLLATION_OID;
        // SAFETY: there may be none, which is said.
        let no_snapshot = unsafe { pg_sys::GetActiveSnapshot().is_null() };
        if matches!(like, Scalar::Text(_)) && !by_bytes || no_snapshot {
            return None;
        }
        Some(ValueIndex {
            index,
            table,
            kind: Kind::of(like),
        })
    }

    /// A page of the index is not what it should be.
    pub(super) fn unreadable(&self) -> Error {
        Error::UnreadableRow(relation::name_of(self.index.oid()))
    }
}
