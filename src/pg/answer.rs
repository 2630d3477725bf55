//! What a function that returns rows answers with, collected where the server reads it: beyond work_mem it lies on disk.

use pgrx::pg_sys;

use super::stream::Row;

pub struct Answer {
    result: *mut pg_sys::ReturnSetInfo,
}

impl Answer {
    /// # Safety
    /// To be called with what the server gave to a function that is declared to return a set of rows.
    pub unsafe fn begin(info: pg_sys::FunctionCallInfo) -> Answer {
        // SAFETY: promised by the caller. Refuses callers that take no set.
        unsafe {
            pg_sys::InitMaterializedSRF(info, 0);
            Answer {
                result: (*info).resultinfo.cast(),
            }
        }
    }

    /// Adds a row of a query, whose columns must be those of the function.
    pub fn add(&mut self, row: &Row) {
        // SAFETY: made by `begin`; the row is copied.
        unsafe { pg_sys::tuplestore_puttupleslot((*self.result).setResult, row.slot()) }
    }

    /// Adds a row by its values, of the types that the function is declared with; they are copied.
    pub fn add_values<const COLUMNS: usize>(&mut self, values: [Option<pg_sys::Datum>; COLUMNS]) {
        let mut nulls = values.map(|value| value.is_none());
        let mut datums = values.map(|value| value.unwrap_or(pg_sys::Datum::null()));
        // SAFETY: made by `begin`.
        unsafe {
            let descriptor = (*self.result).setDesc;
            if usize::try_from((*descriptor).natts) == Ok(COLUMNS) {
                let store = (*self.result).setResult;
                pg_sys::tuplestore_putvalues(store, descriptor, datums.as_mut_ptr(), nulls.as_mut_ptr());
            }
        }
    }
}
