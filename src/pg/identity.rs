//! As whom the code runs. Workers connect as the bootstrap superuser, because telemetry_owner may not log in, and become
//! telemetry_owner at once and for good; a task then runs under SECURITY_RESTRICTED_OPERATION, so that nothing that
//! users hung on the tables (triggers, index expressions) can change who it runs as.

use pgrx::pg_sys;
use std::ffi::CString;

use crate::error::Error;

pub const OWNER: &str = "telemetry_owner";

/// The oid of telemetry_owner; refuses a superuser in its place. Needs a transaction.
pub fn owner() -> Result<pg_sys::Oid, Error> {
    let name = CString::new(OWNER).unwrap_or_default();
    // SAFETY: a catalog lookup with a valid C string.
    let oid = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
    if oid == pg_sys::InvalidOid {
        return Err(Error::RoleMissing(OWNER));
    }
    // SAFETY: a catalog lookup.
    if unsafe { pg_sys::superuser_arg(oid) } {
        return Err(Error::OwnerIsSuperuser);
    }
    Ok(oid)
}

/// Makes this worker a session of `role`, also where other sessions look: `pg_stat_activity` and the rights that are
/// needed to signal it. Call it outside a transaction, as a rollback would undo it. Underneath, the worker stays what it
/// connected as; what keeps SQL from going back there is the restriction that every task runs under.
pub fn become_for_good(role: pg_sys::Oid) {
    // SAFETY: this process is a worker that is connected to a database, so all three structures are there; the change count is
    // odd while the entry is being written, which is how readers of the activity know to try again.
    unsafe {
        pg_sys::SetSessionAuthorization(role, false);
        (*pg_sys::MyProc).roleId = role;
        let entry = pg_sys::MyBEEntry;
        let count = &raw mut (*entry).st_changecount;
        count.write_volatile(count.read_volatile() + 1);
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        (&raw mut (*entry).st_userid).write_volatile(role);
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        count.write_volatile(count.read_volatile() + 1);
    }
}

/// Who this session is when it is dropped again.
pub struct Meanwhile(Identity);

impl Meanwhile {
    /// Makes a session act as `role`, restricted, from one transaction to the next. To be called outside of a transaction: each
    /// one that is rolled back then ends as it began.
    pub fn acting_as(role: pg_sys::Oid) -> Meanwhile {
        let before = current();
        let flags = before.flags | pg_sys::SECURITY_RESTRICTED_OPERATION as i32;
        // SAFETY: a role that exists; put back by drop().
        unsafe { pg_sys::SetUserIdAndSecContext(role, flags) };
        Meanwhile(before)
    }
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        // SAFETY: values that were in force before.
        unsafe { pg_sys::SetUserIdAndSecContext(self.0.user, self.0.flags) };
    }
}

/// Runs `body` so that nobody can change the role meanwhile, nor leave a deferred trigger behind that would run as whoever
/// commits. An error leaves the restriction to the rollback, which lifts it.
pub fn restricted<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    switched(current().user, pg_sys::SECURITY_RESTRICTED_OPERATION, body)
}

/// Runs `body` as telemetry_owner, restricted: for functions that everybody with EXECUTE may call and that touch tables on
/// which the caller has no rights. They are not SECURITY DEFINER, because then a member of telemetry_owner could replace
/// them by something else, for a superuser to call.
pub fn as_owner<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    switched(owner()?, pg_sys::SECURITY_RESTRICTED_OPERATION, body)
}

/// Runs `body`, restricted, as a role that may read the statistics of all sessions and owns nothing: for constant queries on
/// catalogs. What it finds is shown to callers who have no such right, so choose with care.
pub fn as_statistics_reader<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let role = pg_sys::Oid::from(pg_sys::ROLE_PG_READ_ALL_STATS);
    switched(role, pg_sys::SECURITY_RESTRICTED_OPERATION, body)
}

/// Runs `body`, restricted, as the role that monitoring is done by: it may read all statistics and our views, and owns nothing.
/// The same words on choosing with care.
pub fn as_monitor<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let role = pg_sys::Oid::from(pg_sys::ROLE_PG_MONITOR);
    switched(role, pg_sys::SECURITY_RESTRICTED_OPERATION, body)
}

/// Runs `body` as `role`, which the caller must be entitled to.
pub fn acting_as<T>(role: pg_sys::Oid, body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    switched(role, pg_sys::SECURITY_LOCAL_USERID_CHANGE, body)
}

fn switched<T>(
    role: pg_sys::Oid,
    restriction: u32,
    body: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let before = current();
    // SAFETY: a role that exists. Put back below; after an error of the server the rollback does it.
    unsafe { pg_sys::SetUserIdAndSecContext(role, before.flags | restriction as i32) };
    let result = body();
    // SAFETY: values that were in force before.
    unsafe { pg_sys::SetUserIdAndSecContext(before.user, before.flags) };
    result
}

/// Whether the current user may act as `role`.
pub fn may_act_as(role: pg_sys::Oid) -> bool {
    // SAFETY: a catalog lookup inside a transaction.
    unsafe { pg_sys::has_privs_of_role(current().user, role) }
}

/// The name of the current user.
pub fn current_name() -> String {
    // SAFETY: the current user exists, or the server makes a name up; a string of this transaction, copied here.
    unsafe {
        let name = pg_sys::GetUserNameFromId(current().user, true);
        if name.is_null() {
            return String::new();
        }
        std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned()
    }
}

struct Identity {
    user: pg_sys::Oid,
    flags: i32,
}

fn current() -> Identity {
    let mut user = pg_sys::InvalidOid;
    let mut flags = 0;
    // SAFETY: both are written.
    unsafe { pg_sys::GetUserIdAndSecContext(&mut user, &mut flags) };
    Identity { user, flags }
}
