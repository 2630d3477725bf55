//! Servers that all tests of one binary share, each test in a fresh database. For tests that restart nothing.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use crate::cluster::{Builder, Cluster};
use crate::database::Database;

static PLAIN: OnceLock<Arc<Cluster>> = OnceLock::new();
static PRELOADED: OnceLock<Arc<Cluster>> = OnceLock::new();

/// A fresh database on a server without workers: pg_telemetry is not preloaded.
pub fn database() -> Database {
    fresh(&PLAIN, Cluster::builder())
}

/// A fresh database on a server that preloads pg_telemetry.
pub fn database_with_workers() -> Database {
    fresh(&PRELOADED, Cluster::builder().preload())
}

fn fresh(place: &OnceLock<Arc<Cluster>>, builder: Builder) -> Database {
    let cluster = place.get_or_init(|| {
        static AT_EXIT: OnceLock<()> = OnceLock::new();
        // SAFETY: dispose_all takes no argument and does not unwind.
        AT_EXIT.get_or_init(|| unsafe {
            libc::atexit(dispose_all);
        });
        builder.start()
    });
    static COUNT: AtomicU32 = AtomicU32::new(0);
    Database::create(
        cluster.clone(),
        &format!("fresh_{}", COUNT.fetch_add(1, Ordering::Relaxed)),
    )
}

/// Statics are never dropped, so the end of the process has to clean up.
extern "C" fn dispose_all() {
    for cluster in [&PLAIN, &PRELOADED].into_iter().filter_map(OnceLock::get) {
        // An unwinding panic must not leave this function; the servers quit with the process anyway.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cluster.dispose()));
    }
}
