//! What a function that returns rows answers with, collected where the server reads it: beyond work_mem it lies on disk.

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

use super::stream::Row;

/// A function that is declared in SQL to return a set of rows takes this beside its arguments.
pub struct Answer {
    result: *mut pg_sys::ReturnSetInfo,
}

// SAFETY: no argument of SQL, but what the server calls with; it stays as long as the call.
unsafe impl<'fcx> ArgAbi<'fcx> for Answer {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: promised by the caller. Refuses callers that take no set.
        unsafe {
            let info: pg_sys::FunctionCallInfo = ArgAbi::unbox_arg_unchecked(arg);
            // Whoever calls knows the columns; to look them up again would take longer than to find some rows.
            pg_sys::InitMaterializedSRF(info, pg_sys::MAT_SRF_USE_EXPECTED_DESC);
            Answer {
                result: (*info).resultinfo.cast(),
            }
        }
    }

    fn is_virtual_arg() -> bool {
        true
    }
}

// SAFETY: it does not show in SQL.
unsafe impl SqlTranslatable for Answer {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Answer);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::Skip);
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Ok(ReturnsRef::One(SqlMappingRef::Skip));
}

impl Answer {
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
