//! Rows that are in our hands, as a table that SQL can read: what only the executor may write goes to it this way. And rows
//! that SQL has returned, as tuples.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::detoast;
use crate::staging::reading::Tuple;

/// The name under which a statement finds the rows.
pub const TAKEN: &str = "taken";

const NAME: &CStr = c"taken";

/// The columns of a reading, and why it was refused.
const COLUMNS: [(&CStr, pg_sys::Oid); 10] = [
    (c"tenant_id", pg_sys::INT8OID),
    (c"entity_id", pg_sys::INT8OID),
    (c"ingested_at", pg_sys::TIMESTAMPTZOID),
    (c"observed_at", pg_sys::TIMESTAMPTZOID),
    (c"value_num", pg_sys::FLOAT8OID),
    (c"value_int", pg_sys::INT8OID),
    (c"attribute_id", pg_sys::INT4OID),
    (c"value_text", pg_sys::TEXTOID),
    (c"sqlstate", pg_sys::TEXTOID),
    (c"reason", pg_sys::TEXTOID),
];

/// Collects rows; beyond work_mem they go to disk.
pub struct Taken {
    store: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
    relation: Box<pg_sys::EphemeralNamedRelationData>,
    rows: usize,
}

impl Taken {
    pub fn new() -> Taken {
        // SAFETY: static names; both live in the current context, which outlives the statement that reads them.
        unsafe {
            let descriptor = pg_sys::CreateTemplateTupleDesc(COLUMNS.len() as i32);
            for (index, (name, type_oid)) in COLUMNS.iter().enumerate() {
                let number = index as i16 + 1;
                pg_sys::TupleDescInitEntry(descriptor, number, name.as_ptr(), *type_oid, -1, 0);
            }
            Taken {
                store: pg_sys::tuplestore_begin_heap(false, false, pg_sys::work_mem),
                descriptor,
                relation: Box::default(),
                rows: 0,
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// A row, and perhaps the SQLSTATE and the reason for which it cannot be stored.
    pub fn add(&mut self, tuple: &[u8], why: Option<(&str, &str)>) {
        let mut values = [pg_sys::Datum::from(0); COLUMNS.len()];
        let mut nulls = [true; COLUMNS.len()];
        let Some(reading) = Tuple::new(tuple) else {
            return;
        };
        let mut set = |index: usize, value: Option<pg_sys::Datum>| {
            nulls[index] = value.is_none();
            values[index] = value.unwrap_or(pg_sys::Datum::from(0));
        };
        for column in 0..6 {
            set(column, reading.wide(column).map(pg_sys::Datum::from));
        }
        set(6, reading.attribute_id().map(pg_sys::Datum::from));
        // SAFETY: within the tuple.
        let text = |at| pg_sys::Datum::from(unsafe { tuple.as_ptr().add(at) });
        set(7, reading.text_at().map(text));
        let (sqlstate, reason) = match why {
            Some((sqlstate, reason)) => (own_text(sqlstate), own_text(reason)),
            None => (std::ptr::null_mut(), std::ptr::null_mut()),
        };
        if why.is_some() {
            set(8, Some(pg_sys::Datum::from(sqlstate)));
            set(9, Some(pg_sys::Datum::from(reason)));
        }
        // SAFETY: the row is copied; the arrays are as long as the descriptor says. The texts are ours.
        unsafe {
            pg_sys::tuplestore_putvalues(
                self.store,
                self.descriptor,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            for text in [sqlstate, reason].into_iter().filter(|text| !text.is_null()) {
                pg_sys::pfree(text.cast());
            }
        }
        self.rows += 1;
    }

    /// Makes the rows known to the statements of the SPI connection that is open. Keep this until it is closed.
    pub fn show(&mut self) {
        let metadata = &mut self.relation.md;
        metadata.name = NAME.as_ptr().cast_mut();
        metadata.reliddesc = pg_sys::InvalidOid;
        metadata.tupdesc = self.descriptor;
        metadata.enrtype = pg_sys::EphemeralNameRelationType::ENR_NAMED_TUPLESTORE;
        metadata.enrtuples = self.rows as f64;
        self.relation.reldata = self.store.cast();
        // SAFETY: inside an SPI connection; the box keeps its place.
        unsafe {
            pg_sys::SPI_register_relation(&mut *self.relation);
        }
    }
}

fn own_text(text: &str) -> *mut pg_sys::text {
    // SAFETY: copies so many bytes.
    unsafe { pg_sys::cstring_to_text_with_len(text.as_ptr().cast(), text.len() as i32) }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // After an error the rollback frees it.
        if !std::thread::panicking() {
            // SAFETY: made here, and the statements that read it have ended.
            unsafe { pg_sys::tuplestore_end(self.store) }
        }
    }
}

/// Rows that the last statement of this SPI connection wrote.
pub fn processed() -> i64 {
    // SAFETY: a variable of this process.
    unsafe { pg_sys::SPI_processed as i64 }
}

/// Hands over the tuples that the last statement of this SPI connection returned, values inside.
pub fn returned_tuples(mut take: impl FnMut(&[u8])) {
    // SAFETY: inside an SPI connection; the table lives until the next statement.
    unsafe {
        let table = pg_sys::SPI_tuptable;
        if table.is_null() {
            return;
        }
        for index in 0..(*table).numvals as usize {
            pgrx::check_for_interrupts!();
            let tuple = *(*table).vals.add(index);
            let bytes = std::slice::from_raw_parts((*tuple).t_data.cast::<u8>(), (*tuple).t_len as usize);
            detoast::with_values_inside(bytes, (*table).tupdesc, &mut take);
        }
    }
}
