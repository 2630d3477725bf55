//! pg_telemetry: the data path of a telemetry platform inside PostgreSQL. The modules are the features.

use pgrx::prelude::*;

mod accounting;
mod alert;
mod argument;
mod error;
mod fact_index;
mod find;
mod guc;
mod heat;
mod hot;
mod ingest;
mod installed;
mod monitor;
mod partition;
mod pg;
mod promotion;
mod registry;
mod rejected;
mod replication;
mod setup;
mod shmem;
mod sql;
mod staging;
mod version;
mod worker;

pgrx::pg_module_magic!();

/// Called when the library is loaded: by the postmaster if it is preloaded, else by the first session that uses it.
#[allow(non_snake_case)]
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    guc::register();
    pg::backtrace::keep_out_of_errors();
    // pg_upgrade starts servers that nobody may write to.
    if pg::loading::is_preload() && !pg::loading::is_upgrade() {
        shmem::request();
        worker::register();
    }
}
