//! Other processes of this server, by process id.

use std::ffi::CStr;

use pgrx::pg_sys;

pub fn my_pid() -> i32 {
    // SAFETY: a constant of this process.
    unsafe { pg_sys::MyProcPid }
}

/// The oid of the database that this process is connected to; 0 for none.
pub fn my_database() -> u32 {
    // SAFETY: a constant of this process.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}

pub fn is_alive(pid: i32) -> bool {
    // SAFETY: looks into the array of processes under its lock.
    pid != 0 && unsafe { !pg_sys::BackendPidGetProc(pid).is_null() }
}

/// Whether it is a background worker of this type, as it is now; a view would say what was when the transaction first looked.
pub fn is_worker(pid: i32, of_type: &CStr) -> bool {
    // SAFETY: looks into the array of workers under its lock; the answer is a static buffer of the server.
    unsafe {
        let found = pg_sys::GetBackgroundWorkerTypeByPid(pid);
        !found.is_null() && CStr::from_ptr(found) == of_type
    }
}

/// Ends the wait of a process, if it is there.
pub fn wake(pid: i32) {
    if pid == 0 {
        return;
    }
    // SAFETY: entries of the array of processes are never freed, and a latch may be set by anybody at any time.
    unsafe {
        let process = pg_sys::BackendPidGetProc(pid);
        if !process.is_null() {
            pg_sys::SetLatch(&raw mut (*process).procLatch);
        }
    }
}

/// Asks a process of this server to end.
pub fn terminate(pid: i32) {
    if is_alive(pid) {
        // SAFETY: a signal to a process that was a server process a moment ago.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
}

/// Cancels what a process of this server does, as pg_cancel_backend does.
pub fn cancel(pid: i32) {
    if is_alive(pid) {
        // SAFETY: a signal to a process that was a server process a moment ago.
        unsafe { libc::kill(pid, libc::SIGINT) };
    }
}

/// The same to a worker of autovacuum whose work can wait: what the server does for whoever waits for its lock.
pub fn cancel_autovacuum(pid: i32) {
    // SAFETY: entries of the array of processes are never freed; the flags of another one are read as the server reads them, and
    // belong to `pid` or, at worst, to one that began in its place a moment ago and is autovacuum all the same.
    let flags = unsafe {
        let process = pg_sys::BackendPidGetProc(pid);
        if process.is_null() {
            return;
        }
        u32::from((&raw const (*process).statusFlags).read_volatile())
    };
    if flags & pg_sys::PROC_IS_AUTOVACUUM != 0 && flags & pg_sys::PROC_VACUUM_FOR_WRAPAROUND == 0 {
        cancel(pid);
    }
}

/// Sessions of clients in this database; workers do not count.
pub fn client_sessions() -> i32 {
    // SAFETY: looks into the array of processes under its lock.
    unsafe { pg_sys::CountDBConnections(pg_sys::MyDatabaseId) }
}

/// When this transaction began: what now() says in SQL.
pub fn transaction_start() -> i64 {
    // SAFETY: reads a variable of this process.
    unsafe { pg_sys::GetCurrentTransactionStartTimestamp() }
}

/// Microseconds since 2000, as everything that is shown as a timestamp.
pub fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// Whether the server counts what happens on tables, and when they were vacuumed.
pub fn counts_statistics() -> bool {
    // SAFETY: reads a setting of this process.
    unsafe { pg_sys::pgstat_track_counts }
}

/// How long this process has been on a CPU.
pub fn time_on_cpu() -> std::time::Duration {
    let mut spent = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: written by the call; it stays nothing if there is no such clock.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut spent) };
    let whole = u64::try_from(spent.tv_sec).unwrap_or(0);
    std::time::Duration::new(whole, u32::try_from(spent.tv_nsec).unwrap_or(0))
}
