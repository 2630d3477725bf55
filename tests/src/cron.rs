//! The real pg_cron, and minutes that do not take a minute.

use std::sync::Arc;

use crate::campaign::announce;
use crate::cluster::{Builder, Cluster};

/// A server, not preloading pg_telemetry, whose pg_cron runs jobs of the database `fleet`.
pub struct Cron {
    pub cluster: Arc<Cluster>,
}

impl Cron {
    /// None, announced, where pg_cron is not installed.
    pub fn start(builder: Builder, in_background_workers: bool) -> Option<Cron> {
        let cluster = builder.create();
        let control = cluster.installation().extension_dir().join("pg_cron.control");
        if !control.exists() {
            announce("SKIPPED: pg_cron: not installed (postgresql-MAJOR-cron)");
            return None;
        }
        cluster.set("shared_preload_libraries", "pg_cron");
        cluster.set("cron.database_name", "fleet");
        cluster.set("cron.host", cluster.socket_dir().display());
        if in_background_workers {
            cluster.set("cron.use_background_workers", "on");
        }
        cluster.start();
        Some(Cron { cluster })
    }

    /// Moves the clock of the server to just before the next full minute.
    pub fn next_minute(&self) {
        self.cluster.clock().set_to_second_of_minute(58);
    }
}
