//! The server that the benchmarks run on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use cluster_tests::{Cluster, Database, Session};

use crate::options::Options;

/// As on a server in use where it matters for the cost of a row. What would come at a random moment is kept away.
const SETTINGS: [(&str, &str); 12] = [
    ("fsync", "on"),
    ("shared_buffers", "512MB"),
    // Enough for the baselines to sort a batch in memory.
    ("work_mem", "64MB"),
    ("jit", "off"),
    ("autovacuum", "off"),
    // Nobody summarises BRIN ranges then, and the server would log that for every new range. Errors come to the client.
    ("log_min_messages", "fatal"),
    // A checkpoint in the middle would be charged to whoever writes next; cases make theirs before they begin.
    ("checkpoint_timeout", "1d"),
    ("max_wal_size", "32GB"),
    // Segments are kept to be used again, as on a server that has run for a while.
    ("min_wal_size", "2GB"),
    // Cases that are about workers turn them on.
    (BACKGROUND_WORKERS, "off"),
    ("pg_telemetry.flush_interval", "100ms"),
    // One a minute, which some case would meet and others not; what they cost is a case of its own.
    ("pg_telemetry.sample_interval", "0"),
];

const BACKGROUND_WORKERS: &str = "pg_telemetry.background_workers";

const GRACE: &str = "pg_telemetry.reclaim_grace";

/// 16 MB each: more than one case writes.
const RECYCLED_SEGMENTS: usize = 64;

pub struct Server {
    cluster: Arc<Cluster>,
    kept: RefCell<HashMap<&'static str, Database>>,
    options: Options,
}

impl Server {
    pub fn start(options: Options) -> Server {
        let builder = Cluster::builder().preload().durable().true_time();
        let builder = SETTINGS
            .iter()
            .fold(builder, |builder, (name, value)| builder.set(name, value));
        let server = Server {
            cluster: builder.start(),
            kept: RefCell::default(),
            options,
        };
        server.fill_wal();
        server
    }

    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    pub fn options(&self) -> Options {
        self.options
    }

    /// A new database, with the extension in it.
    pub fn database(&self, name: &str) -> Database {
        let database = self.cluster.create_database(name);
        database.install();
        database
    }

    /// One that several cases read, filled for the first of them.
    pub fn kept_database(&self, name: &'static str, fill: impl FnOnce(&mut Session)) -> Database {
        let mut kept = self.kept.borrow_mut();
        let database = kept.entry(name).or_insert_with(|| {
            let database = self.database(name);
            fill(&mut database.connect());
            database
        });
        database.clone()
    }

    /// For how long the flush keeps moved rows for those who took a snapshot and may look at staging soon. It is a matter of
    /// seconds, and hundreds of flushes of a benchmark take no longer than that.
    pub fn set_least_grace(&self) {
        // Less would be -1, which waits for every snapshot.
        self.cluster.set_and_reload(GRACE, 0);
    }

    /// Filling a new segment with zeros costs the session that happens to need it more than its rows do. A server that has
    /// run for a while has old segments to use again.
    fn fill_wal(&self) {
        let mut session = self.cluster.connect("postgres");
        for _ in 0..RECYCLED_SEGMENTS {
            session.rows("SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()");
        }
        session.exec("CHECKPOINT");
    }
}

pub fn set_background_workers(cluster: &Cluster, on: bool) {
    cluster.set_and_reload(BACKGROUND_WORKERS, if on { "on" } else { "off" });
}
