//! Shared memory: the only statics that all processes see. It is there only when the library is preloaded; everything
//! that looks at it must work without.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgLwLock, pg_shmem_init};

use crate::accounting::ledger::{Account, Ledger};
use crate::guc;
use crate::heat::Heat;
use crate::pg::process;
use crate::worker::board::{Board, Database, Presence, Role};

// SAFETY: plain data without pointers, changed only under the lock.
unsafe impl PGRXSharedMemory for Board {}

// SAFETY: nobody else uses this name.
static BOARD: PgLwLock<Board> = unsafe { PgLwLock::new(c"pg_telemetry") };

// SAFETY: plain data without pointers, changed only under the lock.
unsafe impl PGRXSharedMemory for Ledger {}

// SAFETY: nobody else uses this name.
static LEDGER: PgLwLock<Ledger> = unsafe { PgLwLock::new(c"pg_telemetry ledger") };

// SAFETY: plain data without pointers, changed only under the lock or by atomic operations.
unsafe impl PGRXSharedMemory for Heat {}

// SAFETY: nobody else uses this name.
static HEAT: PgLwLock<Heat> = unsafe { PgLwLock::new(c"pg_telemetry heat") };

static AVAILABLE: AtomicBool = AtomicBool::new(false);

/// Asks for the memory; called while the postmaster loads preloaded libraries.
pub fn request() {
    pg_shmem_init!(BOARD = Board::new());
    pg_shmem_init!(LEDGER = Ledger::new(process::now()));
    pg_shmem_init!(HEAT = Heat::new());
    AVAILABLE.store(true, Ordering::Relaxed);
}

/// Whether the library was preloaded.
pub fn is_available() -> bool {
    AVAILABLE.load(Ordering::Relaxed)
}

thread_local! {
    /// In the place of the board in shared memory, while a session does the work of a worker.
    static OWN_BOARD: RefCell<Option<Box<Board>>> = const { RefCell::new(None) };
}

/// A board that only this process sees; gone when it is dropped.
pub struct OwnBoard(());

impl OwnBoard {
    /// With one database on it, which has the extension.
    pub fn of(database: u32) -> OwnBoard {
        let mut board = Box::new(Board::new());
        board.notice(database);
        board.saw(database, 1, Presence::Installed);
        OWN_BOARD.set(Some(board));
        OwnBoard(())
    }
}

impl Drop for OwnBoard {
    fn drop(&mut self) {
        OWN_BOARD.set(None);
    }
}

/// Looks at the board. None without preload. Nothing that can raise an error may happen under the lock.
pub fn look<T>(body: impl FnOnce(&Board) -> T) -> Option<T> {
    OWN_BOARD.with_borrow(|own| match own {
        Some(board) => Some(body(board)),
        None => is_available().then(|| body(&BOARD.share())),
    })
}

/// Whether this database has workers: none when nothing is preloaded, or they are turned off.
pub fn has_workers() -> bool {
    let known = look(|board| board.database(process::my_database()).is_some());
    known == Some(true) && guc::background_workers()
}

/// Changes the board. None without preload. Nothing that can raise an error may happen under the lock.
pub fn change<T>(body: impl FnOnce(&mut Board) -> T) -> Option<T> {
    OWN_BOARD.with_borrow_mut(|own| match own {
        Some(board) => Some(body(board)),
        None => is_available().then(|| body(&mut BOARD.exclusive())),
    })
}

/// Changes what is said about one database; None if it is not on the board.
pub fn change_database<T>(oid: u32, body: impl FnOnce(&mut Database) -> T) -> Option<T> {
    change(|board| board.database_mut(oid).map(body)).flatten()
}

/// Looks at the ledger. None without preload. Nothing that can raise an error may happen under the lock.
pub fn look_at_ledger<T>(body: impl FnOnce(&Ledger) -> T) -> Option<T> {
    is_available().then(|| body(&LEDGER.share()))
}

/// Changes the account of this database. None without preload, and where more databases are in use than have a place. Nothing that can raise an error may happen under the lock.
pub fn account<T>(body: impl FnOnce(&mut Account) -> T) -> Option<T> {
    let database = process::my_database();
    if !is_available() {
        return None;
    }
    LEDGER.exclusive().account_mut(database).map(body)
}

/// Forgets the accounts of databases that are no more.
pub fn retain_accounts(exists: impl Fn(u32) -> bool) {
    if is_available() {
        LEDGER.exclusive().retain(exists);
    }
}

/// Looks at the counters of attributes, and may count. None without preload. Nothing that can raise an error may happen under the lock.
pub fn look_at_heat<T>(body: impl FnOnce(&Heat) -> T) -> Option<T> {
    is_available().then(|| body(&HEAT.share()))
}

/// Changes the counters of attributes. None without preload. Nothing that can raise an error may happen under the lock.
pub fn change_heat<T>(body: impl FnOnce(&mut Heat) -> T) -> Option<T> {
    is_available().then(|| body(&mut HEAT.exclusive()))
}

/// The extension may have been created in this database: the launcher shall look.
pub fn notice(database: u32) {
    change(|board| board.notice(database));
    wake_launcher();
}

pub fn wake_launcher() {
    if let Some(pid) = look(|board| board.launcher.pid) {
        process::wake(pid);
    }
}

/// The extension is in use in a database of which the launcher does not know that it has it (it was made by COMMIT
/// PREPARED, say): the launcher shall look.
pub fn notice_if_unseen(database: u32) {
    let unseen = look(|board| {
        board
            .database(database)
            .is_none_or(|known| known.presence == Presence::Absent)
    });
    if unseen == Some(true) {
        notice(database);
    }
}

/// A job waits: the janitor of this database shall take it, or the launcher start one.
pub fn wake_for_jobs(database: u32) {
    let janitor = look(|board| {
        board
            .database(database)
            .map_or(0, |found| found.workers[Role::Janitor.index()].pid)
    });
    match janitor {
        Some(pid) if process::is_alive(pid) => process::wake(pid),
        _ => wake_launcher(),
    }
}
