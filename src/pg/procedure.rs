//! Procedures that are called at top level and hold no snapshot while they run.

use pgrx::datum::{FromDatum, IntoDatum};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;

use crate::error::Error;

/// One CALL of a procedure, whose only INOUT argument, if it has any, is a boolean.
pub struct Call {
    info: pg_sys::FunctionCallInfo,
}

impl Call {
    /// # Safety
    /// To be called with what the server gave to the procedure, before anything else.
    pub unsafe fn new(info: pg_sys::FunctionCallInfo) -> Call {
        Call { info }
    }

    /// None for NULL, and for an argument that is not of this type.
    pub fn argument<T: FromDatum + IntoDatum>(&self, index: u16) -> Option<T> {
        // SAFETY: the number of arguments and their types are looked at first; CALL says what it passes.
        unsafe {
            let kind = pg_sys::get_fn_expr_argtype((*self.info).flinfo, i32::from(index));
            if i32::from((*self.info).nargs) <= i32::from(index) || kind != T::type_oid() {
                return None;
            }
            let argument = (*self.info).args.as_ptr().add(usize::from(index));
            T::from_datum((*argument).value, (*argument).isnull)
        }
    }

    /// Whether this is not at top level: in a transaction block or called by a function.
    fn is_atomic(&self) -> bool {
        // SAFETY: the context of a CALL is a CallContext; other callers have none or another node.
        unsafe {
            let context = (*self.info).context;
            context.is_null()
                || (*context).type_ != pg_sys::NodeTag::T_CallContext
                || (*context.cast::<pg_sys::CallContext>()).atomic
        }
    }

    /// Ends the transaction that the CALL began, which has done nothing yet, and with it its snapshots; the server begins the
    /// next one, which has none until somebody asks for one.
    pub fn let_go_of_snapshots(&self, procedure: &'static str) -> Result<(), Error> {
        if self.is_atomic() {
            return Err(Error::NotAtTopLevel(procedure));
        }
        // SAFETY: at top level, as procedural languages do it for COMMIT.
        unsafe {
            pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32);
            pg_sys::SPI_commit();
            pg_sys::SPI_finish();
        }
        Ok(())
    }

    /// Runs `body` outside of any transaction: it begins and ends its own, as a worker does, and may run statements that refuse to
    /// be part of one. It must not raise an error. Nobody else's procedure may have called: what that holds would be lost.
    pub fn outside_of_transactions<T>(
        &self,
        procedure: &'static str,
        body: impl FnOnce() -> T,
    ) -> Result<T, Error> {
        // SAFETY: looks at the stack of this process.
        if unsafe { pg_sys::SPI_inside_nonatomic_context() } {
            return Err(Error::NotAtTopLevel(procedure));
        }
        self.let_go_of_snapshots(procedure)?;
        // SAFETY: at top level. The server is prepared for a statement that ends its transaction and begins another one, as VACUUM
        // does; the portal of the CALL and its memory outlive both.
        unsafe {
            let context = pg_sys::CurrentMemoryContext;
            pg_sys::CommitTransactionCommand();
            let value = body();
            pg_sys::StartTransactionCommand();
            pg_sys::MemoryContextSwitchTo(context);
            Ok(value)
        }
    }

    /// What CALL shows: one row with the argument.
    pub fn result(&self, value: bool) -> pg_sys::Datum {
        // SAFETY: the descriptor has the one column that the procedure is declared with.
        unsafe {
            // Catalogs are read, which takes a snapshot of their own.
            let mut descriptor = std::ptr::null_mut();
            pg_sys::get_call_result_type(self.info, std::ptr::null_mut(), &mut descriptor);
            let mut values = [pg_sys::Datum::from(value)];
            let mut nulls = [false];
            let tuple = pg_sys::heap_form_tuple(
                pg_sys::BlessTupleDesc(descriptor),
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            pg_sys::HeapTupleHeaderGetDatum((*tuple).t_data)
        }
    }
}

/// Raises what a procedure refused.
pub fn report<T>(result: Result<T, Error>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => {
            ErrorReport::from(error).report(pgrx::PgLogLevel::ERROR);
            unreachable!("an error does not return")
        }
    }
}

/// Defines what the server calls, and what tells it how.
macro_rules! declare {
    ($name:ident, $about:ident, $body:expr) => {
        $crate::pg::procedure::declare!(
            $name,
            $about,
            bool,
            $crate::pg::procedure::Call::result,
            $body
        );
    };
    // Without an INOUT argument CALL shows nothing.
    (void $name:ident, $about:ident, $body:expr) => {
        $crate::pg::procedure::declare!(
            $name,
            $about,
            (),
            |_, ()| pgrx::pg_sys::Datum::null(),
            $body
        );
    };
    ($name:ident, $about:ident, $value:ty, $shown:expr, $body:expr) => {
        #[unsafe(no_mangle)]
        #[pgrx::pg_guard]
        pub unsafe extern "C-unwind" fn $name(info: pgrx::pg_sys::FunctionCallInfo) -> pgrx::pg_sys::Datum {
            // SAFETY: the server called with this.
            let call = unsafe { $crate::pg::procedure::Call::new(info) };
            let body: fn(&$crate::pg::procedure::Call) -> Result<$value, $crate::error::Error> = $body;
            let value = $crate::pg::procedure::report(body(&call));
            let shown: fn(&$crate::pg::procedure::Call, $value) -> pgrx::pg_sys::Datum = $shown;
            shown(&call, value)
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn $about() -> *const pgrx::pg_sys::Pg_finfo_record {
            static VERSION: pgrx::pg_sys::Pg_finfo_record = pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &raw const VERSION
        }
    };
}
pub(crate) use declare;
