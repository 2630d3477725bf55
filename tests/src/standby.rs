//! Streaming replicas of a cluster; a replica can have replicas.

use std::sync::Arc;

use crate::cluster::Cluster;
use crate::cluster_dir::ClusterDir;
use crate::wait::{SOON, eventually};

impl Cluster {
    /// A running standby that streams from this server.
    pub fn standby(self: &Arc<Cluster>) -> Arc<Cluster> {
        let dir = ClusterDir::create();
        let data = dir.data();
        let data = data.to_str().expect("a path in UTF-8");
        self.tool(
            "pg_basebackup",
            ["-D", data, "-R", "-X", "stream", "-c", "fast", "--no-sync"],
            "",
        )
        .success();
        let standby = Cluster::in_dir(self.installation().clone(), dir);
        standby.start();
        standby
    }

    /// Waits until this standby has replayed what the primary has written so far.
    pub fn catch_up_with(&self, primary: &Cluster) {
        // A record of its own, flushed by its commit: the insert position may lie behind a page header not yet written.
        let record = "SELECT pg_logical_emit_message(true, 'catch up', '')";
        let target = primary.connect("postgres").text(record);
        let mut session = self.connect("postgres");
        let reached = format!("SELECT pg_last_wal_replay_lsn() >= '{target}', pg_last_wal_replay_lsn()");
        eventually(SOON, &format!("the standby replays {target}"), || {
            let row = session.rows(&reached).swap_remove(0);
            if row[0] == "t" { Ok(()) } else { Err(row) }
        });
    }

    /// Makes this standby a primary and waits until it takes writes.
    pub fn promote(&self) {
        let mut session = self.connect("postgres");
        assert!(
            session.is_true("SELECT pg_promote(true, 60)"),
            "not promoted within 60 s"
        );
    }
}
