//! Statements that refuse to run inside a transaction block or a function, such as VACUUM.

use std::ffi::CString;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::timeout;
use super::xact::Failure;

/// Runs one utility statement at top level, for at most `limit`. It manages its own transactions.
pub fn run(statement: &str, limit: Duration) -> Result<(), Failure> {
    let Ok(text) = CString::new(statement) else {
        return Ok(());
    };
    // SAFETY: called by a worker between transactions. The statement and its tree live in a context of their own, because
    // the statement commits in the middle and would free them otherwise; VACUUM also expects a portal context to be set.
    unsafe {
        let context = pg_sys::AllocSetContextCreateExtended(
            pg_sys::TopMemoryContext,
            c"pg_telemetry top-level statement".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        let portal_before = std::ptr::replace(&raw mut pg_sys::PortalContext, context);
        let outcome = PgTryBuilder::new(AssertUnwindSafe(|| {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            timeout::start(limit);
            execute(context, &text);
            timeout::stop();
            pg_sys::CommitTransactionCommand();
            Ok(())
        }))
        .catch_others(|caught| {
            timeout::stop();
            pg_sys::AbortOutOfAnyTransaction();
            Err(Failure::from(&caught))
        })
        .execute();
        pg_sys::PortalContext = portal_before;
        pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
        pg_sys::MemoryContextDelete(context);
        outcome
    }
}

/// # Safety
/// Needs a transaction that was just started, and a context that outlives it.
unsafe fn execute(context: pg_sys::MemoryContext, text: &CString) {
    // SAFETY: promised by the caller; the parser returns a list of raw statements.
    unsafe {
        pg_sys::MemoryContextSwitchTo(context);
        let statements = pg_sys::pg_parse_query(text.as_ptr());
        if statements.is_null() {
            return;
        }
        for index in 0..(*statements).length {
            let raw = (*(*statements).elements.add(index as usize))
                .ptr_value
                .cast::<pg_sys::RawStmt>();
            let planned =
                pg_sys::palloc0(std::mem::size_of::<pg_sys::PlannedStmt>()).cast::<pg_sys::PlannedStmt>();
            (*planned).type_ = pg_sys::NodeTag::T_PlannedStmt;
            (*planned).commandType = pg_sys::CmdType::CMD_UTILITY;
            (*planned).canSetTag = true;
            (*planned).utilityStmt = (*raw).stmt;
            (*planned).stmt_location = (*raw).stmt_location;
            (*planned).stmt_len = (*raw).stmt_len;
            // As the server itself does it: ALTER TABLE looks at one, VACUUM must not have any.
            if pg_sys::PlannedStmtRequiresSnapshot(planned) {
                pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            }
            pg_sys::ProcessUtility(
                planned,
                text.as_ptr(),
                false,
                pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                pg_sys::CreateDestReceiver(pg_sys::CommandDest::DestNone),
                std::ptr::null_mut(),
            );
            // One that commits in the middle has taken it away.
            if pg_sys::ActiveSnapshotSet() {
                pg_sys::PopActiveSnapshot();
            }
        }
    }
}
