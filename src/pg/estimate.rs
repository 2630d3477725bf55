//! What the planner expects of a query, without running it. EXPLAIN would say the same, but not within a query that only reads.

use std::ffi::CString;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;

use super::stream::parameters;

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Estimate {
    pub rows: f64,
    /// In the planner's units.
    pub cost: f64,
}

pub fn estimate(text: &str, arguments: &[DatumWithOid]) -> Option<Estimate> {
    let text = CString::new(text).ok()?;
    // SAFETY: inside a transaction with a snapshot; one plain SELECT of our own is parsed, analysed and planned as the server does it,
    // and all of it lies in the current context. Each list has one element.
    unsafe {
        let parameters = parameters(arguments);
        let parsed = pg_sys::pg_parse_query(text.as_ptr());
        let statement = only(parsed)?.cast::<pg_sys::RawStmt>();
        let queries = pg_sys::pg_analyze_and_rewrite_withcb(
            statement,
            text.as_ptr(),
            (*parameters).parserSetup,
            (*parameters).parserSetupArg,
            std::ptr::null_mut(),
        );
        let query = only(queries)?.cast::<pg_sys::Query>();
        let plan = (*pg_sys::pg_plan_query(query, text.as_ptr(), 0, parameters)).planTree;
        (!plan.is_null()).then(|| Estimate {
            rows: (*plan).plan_rows,
            cost: (*plan).total_cost,
        })
    }
}

/// # Safety
/// A list of the server's, or none.
unsafe fn only(list: *mut pg_sys::List) -> Option<*mut std::ffi::c_void> {
    // SAFETY: promised by the caller.
    unsafe { (!list.is_null() && (*list).length > 0).then(|| (*(*list).elements).ptr_value) }
}
