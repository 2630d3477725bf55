//! Settings of the server that a worker depends on.

use pgrx::pg_sys;
use pgrx::prelude::*;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::error::Error;
use crate::partition::step::Step;
use std::ffi::{CStr, CString, c_char, c_void};
use std::time::Duration;

/// Unknown settings under this prefix are refused from now on.
pub fn reserve_prefix(prefix: &'static CStr) {
    // SAFETY: a static C string.
    unsafe { pg_sys::MarkGUCPrefixReserved(prefix.as_ptr()) }
}

/// Defines a setting whose text must be a step of partitions.
pub fn define_partition_interval(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
) {
    // SAFETY: the hook is guarded, and looks at the new value only.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            name,
            short,
            long,
            setting,
            GucContext::Sighup,
            GucFlags::default(),
            Some(check_partition_interval),
            None,
            None,
        );
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check_partition_interval(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: the server passes the new value, NULL or a C string; what it is told about it is never freed.
    unsafe {
        let valid = !(*value).is_null() && Step::parse(&CStr::from_ptr(*value).to_string_lossy()).is_some();
        if !valid {
            pg_sys::GUC_check_errdetail_string =
                c"It must divide a day or a year evenly, and be 10 minutes or longer."
                    .as_ptr()
                    .cast_mut();
            pg_sys::GUC_check_errhint_string =
                c"For example hour, day, week, month, 15 minutes, 6 hours, 3 months."
                    .as_ptr()
                    .cast_mut();
        }
        valid
    }
}

/// What a worker must not take from the configuration of somebody else's sessions: a default like these in
/// postgresql.conf or ALTER ROLE would make it slower, stop it, or change what its SQL means.
const PINNED: &[(&CStr, &CStr)] = &[
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"TimeZone", c"UTC"),
    (c"DateStyle", c"ISO, YMD"),
    (c"IntervalStyle", c"postgres"),
    (c"default_transaction_isolation", c"read committed"),
    (c"default_transaction_read_only", c"off"),
    (c"default_transaction_deferrable", c"off"),
    (c"default_tablespace", c""),
    (c"default_table_access_method", c"heap"),
    (c"statement_timeout", c"0"),
    (c"idle_in_transaction_session_timeout", c"0"),
    (c"standard_conforming_strings", c"on"),
    (c"row_security", c"on"),
    (c"session_replication_role", c"origin"),
    // A standby that is away must not stop the flush: whoever wrote the row has waited for it already, where it matters.
    (c"synchronous_commit", c"local"),
    (c"check_function_bodies", c"on"),
    (c"jit", c"off"),
    (c"max_parallel_workers_per_gather", c"0"),
];

/// Pins them for the life of this worker.
pub fn pin() {
    for (name, value) in PINNED {
        set(name, value);
    }
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    set(c"transaction_timeout", c"0");
}

/// What was in force before; put back when it is dropped.
pub struct Pinned(Vec<(&'static CStr, CString)>);

impl Pinned {
    /// Pins them in a session that does the work of a worker for a while. To be called outside of a transaction.
    pub fn for_a_while() -> Pinned {
        let mut names: Vec<&CStr> = PINNED.iter().map(|(name, _)| *name).collect();
        names.push(c"lock_timeout");
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        names.push(c"transaction_timeout");
        let before = names.into_iter().filter_map(|name| {
            // SAFETY: a valid C string; what comes back is copied before the next call.
            let value = unsafe { pg_sys::GetConfigOption(name.as_ptr(), true, false) };
            // SAFETY: a C string, unless it is NULL.
            (!value.is_null()).then(|| (name, unsafe { CStr::from_ptr(value) }.to_owned()))
        });
        let before = Pinned(before.collect());
        pin();
        before
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        for (name, value) in &self.0 {
            set(name, value);
        }
    }
}

/// How long a worker waits for a lock.
pub fn set_lock_timeout(timeout: Duration) {
    if let Ok(value) = CString::new(timeout.as_millis().to_string()) {
        set(c"lock_timeout", &value);
    }
}

/// Whatever `body` sets, by way of a trigger of a user above all, is undone after it: a worker lives long and must not carry a
/// planted search_path into its next task. An error leaves that to the rollback.
pub fn undone_after<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // SAFETY: inside a transaction; the level is left below unless the transaction is rolled back.
    let level = unsafe { pg_sys::NewGUCNestLevel() };
    let value = body()?;
    // SAFETY: the level that was entered above; false rolls its changes back.
    unsafe { pg_sys::AtEOXact_GUC(false, level) };
    Ok(value)
}

/// Has the planner take an index wherever there is one for the query, and one that is in order rather than a sort.
pub fn with_index_scans<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    undone_after(|| {
        for name in [c"enable_seqscan", c"enable_bitmapscan", c"enable_sort"] {
            // SAFETY: valid C strings; undone with the level.
            unsafe {
                pg_sys::set_config_option(
                    name.as_ptr(),
                    c"off".as_ptr(),
                    pg_sys::GucContext::PGC_USERSET,
                    pg_sys::GucSource::PGC_S_SESSION,
                    pg_sys::GucAction::GUC_ACTION_SAVE,
                    true,
                    0,
                    false,
                );
            }
        }
        body()
    })
}

fn set(name: &CStr, value: &CStr) {
    // SAFETY: valid C strings, copied by the server; a session-level source outranks files, roles and databases.
    unsafe {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
        );
    }
}

/// Whether deletions go into WAL in a way that others can decode.
pub fn writes_logical_wal() -> bool {
    // SAFETY: a setting that is fixed at the start of the server.
    unsafe { pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_LOGICAL as i32 }
}

/// Until it is undone: where an index is made ('' for the database's own place), by this process alone.
pub fn set_for_index(tablespace: &str) {
    if let Ok(tablespace) = CString::new(tablespace) {
        set(c"default_tablespace", &tablespace);
    }
    set(c"max_parallel_maintenance_workers", c"0");
}

/// The commit of this transaction does not wait for the disk. Set at its end: what is set in the middle is undone before.
pub fn commit_at_once() {
    pgrx::register_xact_callback(pgrx::PgXactCallbackEvent::PreCommit, || {
        set_locally(c"synchronous_commit", c"off");
    });
}

/// Whether standbys compare each page that they replay with that of the primary, hint bits included unless the record is one of
/// the kind of the table or index.
pub fn has_replay_verified() -> bool {
    // SAFETY: a setting of the server, a string that ends.
    unsafe {
        let kinds = pg_sys::wal_consistency_checking_string;
        !kinds.is_null() && *kinds != 0
    }
}

/// The commit of this transaction waits at least for the local disk, whatever synchronous_commit is by then.
pub fn commit_to_local_disk() {
    // SAFETY: sets a flag of this transaction.
    unsafe { pg_sys::ForceSyncCommit() }
}

/// Until the end of the transaction.
fn set_locally(name: &CStr, value: &CStr) {
    // SAFETY: valid C strings, copied by the server; the action is undone at the end of the transaction.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_LOCAL,
            true,
            0,
            false,
        );
    }
}

/// Whether dumps are being restored in this session: pg_dump sets row_security = off, and hardly anybody else does.
pub fn is_restore_session() -> bool {
    // SAFETY: reads a setting of this process.
    unsafe { !pg_sys::row_security }
}
