//! Places at which a test can have something go wrong. Without the feature `fault-points` there are none: nothing is called,
//! nothing is compiled in, and the setting that arms them is unknown.
//!
//! `pg_telemetry.fault_points` is a list like `claimed=error:53100, before_index=sleep:30@2`: the place, what happens there, and
//! at which passage (the first and all later ones unless it says so).

#[cfg(feature = "fault-points")]
pub use armed::{point, register};

/// A place that was not compiled in.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub fn point(_place: &str) {}

#[cfg(feature = "fault-points")]
mod armed {
    use std::cell::RefCell;
    use std::collections::HashMap;
    use std::ffi::CString;
    use std::time::{Duration, Instant};

    use pgrx::prelude::*;
    use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
    use pgrx::{direct_function_call, pg_sys};

    static ARMED: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

    thread_local! {
        /// How often each place was passed since the setting has its value.
        static PASSED: RefCell<(String, HashMap<String, u64>)> = RefCell::default();
    }

    pub fn register() {
        GucRegistry::define_string_guc(
            c"pg_telemetry.fault_points",
            c"Places at which something goes wrong, for tests.",
            c"",
            &ARMED,
            GucContext::Userset,
            GucFlags::default(),
        );
    }

    pub fn point(place: &str) {
        let Some(armed) = ARMED.get().and_then(|armed| armed.into_string().ok()) else {
            return;
        };
        let passage = PASSED.with_borrow_mut(|(setting, passed)| {
            if *setting != armed {
                *setting = armed.clone();
                passed.clear();
            }
            let count = passed.entry(place.to_owned()).or_default();
            *count += 1;
            *count
        });
        for fault in armed.split(',') {
            let Some((name, action)) = fault.trim().split_once('=') else {
                continue;
            };
            let (action, only) = match action.split_once('@') {
                Some((action, number)) => (action, number.parse().ok()),
                None => (action, None),
            };
            if name == place && only.is_none_or(|number: u64| number == passage) {
                act(place, action);
            }
        }
    }

    fn act(place: &str, action: &str) {
        match action.split_once(':').unwrap_or((action, "")) {
            ("error", sqlstate) => {
                let code = PgSqlErrorCode::from(pack(sqlstate));
                ereport!(ERROR, code, format!("fault at {place}"));
            }
            ("sleep", seconds) => sleep(seconds.parse().unwrap_or(1.0)),
            ("wait", key) => wait_for_lock(key.parse().unwrap_or(0)),
            ("crash", _) => {
                // SAFETY: a signal to this process, which it does not survive.
                unsafe {
                    libc::kill(libc::getpid(), libc::SIGKILL);
                }
                sleep(60.0);
            }
            _ => {
                let code = PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE;
                ereport!(ERROR, code, format!("unknown action at a fault point: {action}"));
            }
        }
    }

    /// In short steps, so that a cancel is noticed.
    fn sleep(seconds: f64) {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        while Instant::now() < end {
            crate::pg::signals::pause(Duration::from_millis(5));
        }
    }

    /// Until whoever holds the advisory lock gives it back.
    fn wait_for_lock(key: i64) {
        // SAFETY: functions of the server that take one bigint.
        unsafe {
            direct_function_call::<()>(pg_sys::pg_advisory_lock_shared_int8, &[key.into_datum()]);
            direct_function_call::<bool>(pg_sys::pg_advisory_unlock_shared_int8, &[key.into_datum()]);
        }
    }

    fn pack(sqlstate: &str) -> i32 {
        let sixbit = |byte: u8| i32::from(byte.wrapping_sub(b'0')) & 0x3f;
        let parts = sqlstate.bytes().take(5).enumerate();
        parts.fold(0, |packed, (place, byte)| packed | sixbit(byte) << (6 * place))
    }
}
