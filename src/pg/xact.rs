//! Transactions that survive their own errors.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use super::sqlstate::{self, Listener};
use super::timeout::Bound;
use super::{compat, signals, timeout};
use crate::error::Error;

/// What went wrong in a transaction that was rolled back.
#[derive(Debug, Clone)]
pub struct Failure {
    pub code: PgSqlErrorCode,
    /// As it was raised; one that a user made up has no other code than that of an internal error.
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl Failure {
    fn raised(caught: &CaughtError, listener: &Listener) -> Self {
        let mut failure = Failure::from(caught);
        failure.sqlstate = sqlstate::unpack(listener.code_of(failure.code));
        failure
    }
}

impl From<&CaughtError> for Failure {
    fn from(caught: &CaughtError) -> Self {
        let (CaughtError::PostgresError(report)
        | CaughtError::ErrorReport(report)
        | CaughtError::RustPanic { ereport: report, .. }) = caught;
        Failure {
            code: report.sql_error_code(),
            sqlstate: sqlstate::unpack(report.sql_error_code() as i32),
            message: report.message().to_owned(),
            detail: report.detail().map(str::to_owned),
            hint: report.hint().map(str::to_owned),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Raised(failure) => *failure,
            error => Failure {
                code: error.sqlstate(),
                sqlstate: sqlstate::unpack(error.sqlstate() as i32),
                message: error.to_string(),
                detail: error.detail(),
                hint: error.hint(),
            },
        }
    }
}

/// Runs `body` in a transaction of its own, for at most `limit`. Any error, of the server or of ours, rolls it back and
/// comes out as a value; the process goes on. `body` takes locks first and a snapshot then, by `with_snapshot`, so that it
/// sees what was committed while it waited.
pub fn attempt<T>(limit: Duration, body: impl FnOnce() -> Result<T, Error>) -> Result<T, Failure> {
    let listener = AssertUnwindSafe(Listener::new());
    PgTryBuilder::new(AssertUnwindSafe(|| {
        begin();
        timeout::start(limit);
        match body() {
            Ok(value) => {
                timeout::stop();
                commit();
                Ok(value)
            }
            Err(error) => {
                abort();
                Err(Failure::from(error))
            }
        }
    }))
    .catch_others(|caught| {
        abort();
        Err(Failure::raised(&caught, &listener))
    })
    .execute()
}

fn begin() {
    // SAFETY: called by workers between transactions.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
    }
}

fn commit() {
    // SAFETY: undoes `begin`.
    unsafe { pg_sys::CommitTransactionCommand() }
}

/// Runs `body` with a snapshot, which SQL needs. An error leaves it to the rollback.
pub fn with_snapshot<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // SAFETY: inside a transaction; popped below unless the transaction is rolled back.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
    let value = body()?;
    // SAFETY: pushed above.
    unsafe { pg_sys::PopActiveSnapshot() };
    Ok(value)
}

/// With one that sees all that is committed now, in a transaction that sees only what was when it began as well.
pub fn with_latest_snapshot<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // SAFETY: inside a transaction; popped below unless the transaction is rolled back. A parallel plan allows no other
    // snapshot than its own.
    unsafe {
        let snapshot = if pg_sys::IsInParallelMode() {
            pg_sys::GetTransactionSnapshot()
        } else {
            pg_sys::GetLatestSnapshot()
        };
        pg_sys::PushActiveSnapshot(snapshot);
    }
    let value = body()?;
    // SAFETY: pushed above.
    unsafe { pg_sys::PopActiveSnapshot() };
    Ok(value)
}

fn abort() {
    timeout::stop();
    // SAFETY: allowed in every state of a transaction; cleans up snapshots, locks and buffers. Out of any: an error inside a
    // subtransaction would otherwise end that one only, and leave the worker in an aborted transaction.
    unsafe { pg_sys::AbortOutOfAnyTransaction() }
}

/// Runs `body` in a subtransaction: its error undoes its own work and comes out as a value. An interrupt undoes it as well
/// and goes on upwards.
pub fn subtransaction<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, Failure> {
    subtransaction_with(body, || true)
}

/// The same for at most `limit`: what takes longer fails, and the transaction goes on. Works in any session.
pub fn bounded<T>(limit: Duration, body: impl FnOnce() -> Result<T, Error>) -> Result<T, Failure> {
    let bound = AssertUnwindSafe(Bound::start(limit));
    // The end of the bound is a cancel like others; that others come in the same moment is left out of account, except
    // for the one that ends a worker.
    let outcome = subtransaction_with(
        || {
            let value = body()?;
            bound.stop();
            Ok(value)
        },
        || !bound.has_passed() || signals::stop_requested(),
    );
    let passed = bound.has_passed();
    outcome.map_err(|failure| {
        if passed && failure.code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED {
            Failure {
                message: format!("took longer than {} ms", limit.as_millis()),
                ..failure
            }
        } else {
            failure
        }
    })
}

fn subtransaction_with<T>(
    body: impl FnOnce() -> Result<T, Error>,
    is_interrupt: impl Fn() -> bool + Copy,
) -> Result<T, Failure> {
    // SAFETY: the pair of calls below restores what it saved, as the server's own procedural languages do.
    let (context, owner) = unsafe {
        let saved = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(saved.0);
        saved
    };
    // SAFETY: the context and the resource owner outlive the subtransaction.
    let leave = move |keep: bool| unsafe {
        if keep {
            pg_sys::ReleaseCurrentSubTransaction();
        } else {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
    };
    let listener = AssertUnwindSafe(Listener::new());
    let is_interrupt = AssertUnwindSafe(is_interrupt);
    PgTryBuilder::new(AssertUnwindSafe(|| match body() {
        Ok(value) => {
            leave(true);
            Ok(value)
        }
        Err(error) => {
            leave(false);
            Err(Failure::from(error))
        }
    }))
    .catch_others(move |caught| {
        let interrupted = matches!(
            &caught,
            CaughtError::PostgresError(report) if report.sql_error_code() == PgSqlErrorCode::ERRCODE_QUERY_CANCELED
        ) && (*is_interrupt)();
        // Left in either case: a session whose error comes up inside a subtransaction cannot end its transaction.
        leave(false);
        if interrupted {
            caught.rethrow();
        }
        Err(Failure::raised(&caught, &listener))
    })
    .execute()
}

/// Whether this transaction may write, as an error that says why not.
pub fn check_writable() -> Result<(), Error> {
    if in_recovery() {
        return Err(Error::InRecovery);
    }
    // SAFETY: a flag of this process.
    if unsafe { pg_sys::XactReadOnly } {
        return Err(Error::ReadOnly);
    }
    Ok(())
}

/// Whether the transaction goes on after this statement.
pub fn is_block() -> bool {
    // SAFETY: reads the state of this process.
    unsafe { pg_sys::IsTransactionBlock() }
}

pub fn in_recovery() -> bool {
    // SAFETY: reads shared memory that exists in every server process.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// Whether each command sees what was committed before it began.
pub fn is_read_committed() -> bool {
    // SAFETY: reads a variable of this process.
    unsafe { pg_sys::XactIsoLevel <= pg_sys::XACT_READ_COMMITTED as i32 }
}

/// Whether the server watches what this transaction reads, and what others may have read of what it writes.
pub fn is_serializable() -> bool {
    // SAFETY: a flag of this process.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_SERIALIZABLE as i32 }
}

/// Whether this transaction has written anything, or is about to.
pub fn has_id() -> bool {
    // SAFETY: reads a variable of this process.
    unsafe { pg_sys::GetTopTransactionIdIfAny() != pg_sys::TransactionId::INVALID }
}

/// The number of this transaction with its epoch, when it has written something.
pub fn full_id() -> Option<u64> {
    // SAFETY: reads variables of this process.
    let id = unsafe { pg_sys::GetTopFullTransactionIdIfAny() }.value;
    (id != 0).then_some(id)
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Committed,
    RolledBack,
    /// On a standby also: it has not been heard of yet.
    Running,
    /// So old that it is recorded no more.
    Forgotten,
}

/// Of a transaction of this timeline, by its number with the epoch. Needs no snapshot.
pub fn fate(id: u64) -> Fate {
    // SAFETY: looks into shared memory. The order matters: a transaction is recorded as committed before it stops running.
    unsafe {
        let next = pg_sys::ReadNextFullTransactionId().value;
        if id >= next {
            return Fate::Running;
        }
        // Further back the short number belongs to another one.
        if next - id >= 1 << 31 {
            return Fate::Forgotten;
        }
        let short = pg_sys::TransactionId::from_inner(id as u32);
        if pg_sys::TransactionIdPrecedes(short, compat::oldest_recorded_transaction()) {
            return Fate::Forgotten;
        }
        if pg_sys::TransactionIdIsInProgress(short) {
            Fate::Running
        } else if pg_sys::TransactionIdDidCommit(short) {
            Fate::Committed
        } else {
            Fate::RolledBack
        }
    }
}

/// How many transactions that wrote something have ended so far. As long as it stays the same, nothing new can be seen.
pub fn completed() -> u64 {
    compat::completed_transactions()
}

/// What this transaction has done up to here becomes visible to what it does from here on.
pub fn next_command() {
    // SAFETY: inside a transaction, between two commands.
    unsafe { pg_sys::CommandCounterIncrement() }
}

/// Runs `body` once this transaction has committed, and not if it rolls back. `body` must not raise an error.
pub fn after_commit(
    body: impl FnOnce() + Send + std::panic::UnwindSafe + std::panic::RefUnwindSafe + 'static,
) {
    pgrx::register_xact_callback(pgrx::PgXactCallbackEvent::Commit, body);
}
