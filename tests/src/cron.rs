//! The real pg_cron, and minutes that do not take a minute.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::campaign::announce;
use crate::cluster::{Builder, Cluster};

/// A server, not preloading pg_telemetry, whose pg_cron runs jobs of the database `fleet`.
pub struct Cron {
    pub cluster: Arc<Cluster>,
    ahead: i64,
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
        cluster.clock();
        cluster.start();
        Some(Cron { cluster, ahead: 0 })
    }

    /// Moves the clock of the server to just before the next full minute.
    pub fn next_minute(&mut self) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs() as i64);
        let second = (now + self.ahead) % 60;
        if second < 58 {
            self.ahead += 58 - second;
            self.cluster.clock().set_ahead(self.ahead);
        }
    }
}
