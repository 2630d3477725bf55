//! Whether a table has the eight columns of a reading, laid out as `staging::reading` reads them.

use pgrx::pg_sys;

use super::compat;
use super::relation::Relation;

/// What the columns must be.
const COLUMNS: [(&str, pg_sys::Oid); 8] = [
    ("tenant_id", pg_sys::INT8OID),
    ("entity_id", pg_sys::INT8OID),
    ("ingested_at", pg_sys::TIMESTAMPTZOID),
    ("observed_at", pg_sys::TIMESTAMPTZOID),
    ("value_num", pg_sys::FLOAT8OID),
    ("value_int", pg_sys::INT8OID),
    ("attribute_id", pg_sys::INT4OID),
    ("value_text", pg_sys::TEXTOID),
];

/// Columns that a good reading fills in any case.
const ALWAYS_SET: [bool; 8] = [true, true, true, false, false, false, true, false];

/// The eight columns and nothing else; nothing computed, nothing that was dropped or added with a default.
pub fn is_reading(relation: &Relation) -> bool {
    // SAFETY: open, so its descriptor is there.
    unsafe {
        let descriptor = (*relation.as_ptr()).rd_att;
        if (*descriptor).natts != COLUMNS.len() as i32 {
            return false;
        }
        COLUMNS.iter().enumerate().all(|(index, (name, type_oid))| {
            let column = &*compat::column(descriptor, index as i32);
            !column.attisdropped
                && !column.atthasmissing
                && column.attgenerated == 0
                && column.atttypid == *type_oid
                && column.atttypmod == -1
                && std::ffi::CStr::from_ptr(column.attname.data.as_ptr()).to_bytes() == name.as_bytes()
        })
    }
}

/// No constraint could refuse a reading that the judge let pass.
pub fn takes_every_reading(relation: &Relation) -> bool {
    // SAFETY: open, so its descriptor is there.
    unsafe {
        let descriptor = (*relation.as_ptr()).rd_att;
        let constraints = (*descriptor).constr;
        let unchecked = constraints.is_null() || (*constraints).num_check == 0;
        unchecked
            && (0..COLUMNS.len())
                .all(|index| ALWAYS_SET[index] || !(*compat::column(descriptor, index as i32)).attnotnull)
    }
}

/// Whether a column has a value in every row.
pub fn is_never_null(relation: &Relation, column: usize) -> bool {
    // SAFETY: open, so its descriptor is there; the index is one of its columns.
    unsafe { (*compat::column((*relation.as_ptr()).rd_att, column as i32)).attnotnull }
}
