//! Whether a table has the eight columns of a reading, laid out as `staging::reading` reads them, or those of a rejected one.

use pgrx::pg_sys;

use super::compat;
use super::relation::Relation;

/// A column: its name and type, and whether every row that we write has a value in it.
type Column = (&'static str, pg_sys::Oid, bool);

/// What the columns of a reading must be; always set in a good one.
const READING: [Column; 8] = [
    ("tenant_id", pg_sys::INT8OID, true),
    ("entity_id", pg_sys::INT8OID, true),
    ("ingested_at", pg_sys::TIMESTAMPTZOID, true),
    ("observed_at", pg_sys::TIMESTAMPTZOID, false),
    ("value_num", pg_sys::FLOAT8OID, false),
    ("value_int", pg_sys::INT8OID, false),
    ("attribute_id", pg_sys::INT4OID, true),
    ("value_text", pg_sys::TEXTOID, false),
];

/// What those of a rejected one must be, in the order in which `staging::rejected` writes them.
const REJECTED: [Column; 12] = [
    ("rejected_at", pg_sys::TIMESTAMPTZOID, true),
    ("tenant_id", pg_sys::INT8OID, false),
    ("entity_id", pg_sys::INT8OID, false),
    ("ingested_at", pg_sys::TIMESTAMPTZOID, false),
    ("observed_at", pg_sys::TIMESTAMPTZOID, false),
    ("value_num", pg_sys::FLOAT8OID, false),
    ("value_int", pg_sys::INT8OID, false),
    ("attribute_id", pg_sys::INT4OID, false),
    ("value_text", pg_sys::TEXTOID, false),
    ("durable", pg_sys::BOOLOID, true),
    ("sqlstate", pg_sys::TEXTOID, true),
    ("reason", pg_sys::TEXTOID, true),
];

/// What those of the projection must be.
const PROJECTION: [Column; 6] = [
    ("tenant_id", pg_sys::INT8OID, true),
    ("entity_id", pg_sys::INT8OID, true),
    ("as_of", pg_sys::TIMESTAMPTZOID, true),
    ("deleted_at", pg_sys::TIMESTAMPTZOID, false),
    ("hot_attrs", pg_sys::JSONBOID, true),
    ("hot_times", pg_sys::BYTEAOID, false),
];

/// What those of the values by which entities are found must be.
const SEARCH: [Column; 7] = [
    ("tenant_id", pg_sys::INT8OID, true),
    ("entity_id", pg_sys::INT8OID, true),
    ("value_num", pg_sys::FLOAT8OID, false),
    ("value_int", pg_sys::INT8OID, false),
    ("document_place", pg_sys::INT8OID, true),
    ("attribute_id", pg_sys::INT4OID, true),
    ("value_text", pg_sys::TEXTOID, false),
];

/// The columns of that table and nothing else, and no constraint that could refuse a row.
pub fn is_search(relation: &Relation) -> bool {
    has_columns(relation, &SEARCH) && takes_all(relation, &SEARCH)
}

/// The columns of the projection and nothing else, and no constraint that could refuse a document.
pub fn is_projection(relation: &Relation) -> bool {
    has_columns(relation, &PROJECTION) && takes_all(relation, &PROJECTION)
}

/// The eight columns of a reading and nothing else.
pub fn is_reading(relation: &Relation) -> bool {
    has_columns(relation, &READING)
}

/// The columns of a rejected reading and nothing else.
pub fn is_rejected(relation: &Relation) -> bool {
    has_columns(relation, &REJECTED)
}

/// These and no others; nothing computed, nothing that was dropped or added with a default.
fn has_columns(relation: &Relation, columns: &[Column]) -> bool {
    // SAFETY: open, so its descriptor is there.
    unsafe {
        let descriptor = (*relation.as_ptr()).rd_att;
        if (*descriptor).natts != columns.len() as i32 {
            return false;
        }
        columns.iter().enumerate().all(|(index, (name, type_oid, _))| {
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
    takes_all(relation, &READING)
}

/// No constraint could refuse a rejected reading, whatever it is.
pub fn takes_every_rejected(relation: &Relation) -> bool {
    takes_all(relation, &REJECTED)
}

fn takes_all(relation: &Relation, columns: &[Column]) -> bool {
    // SAFETY: open, so its descriptor is there.
    unsafe {
        let descriptor = (*relation.as_ptr()).rd_att;
        let constraints = (*descriptor).constr;
        let unchecked = constraints.is_null() || (*constraints).num_check == 0;
        unchecked
            && columns.iter().enumerate().all(|(index, (.., always_set))| {
                *always_set || !(*compat::column(descriptor, index as i32)).attnotnull
            })
    }
}

/// Whether a column has a value in every row.
pub fn is_never_null(relation: &Relation, column: usize) -> bool {
    // SAFETY: open, so its descriptor is there; the index is one of its columns.
    unsafe { (*compat::column((*relation.as_ptr()).rd_att, column as i32)).attnotnull }
}
