//! Streaming replicas of a cluster; a replica can have replicas.

use std::path::Path;
use std::sync::Arc;

use crate::cluster::{Cluster, PORT};
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
        let standby = self.twin_in(dir);
        standby.start();
        standby
    }

    /// Has this standby stream from the server that listens in that folder; a folder without one stops the receiver.
    pub fn stream_from(&self, host: &Path) {
        let mut session = self.connect("postgres");
        session.exec(&format!(
            "ALTER SYSTEM SET primary_conninfo = 'host={} port={PORT} user=postgres'",
            host.display()
        ));
        session.exec("SELECT pg_reload_conf()");
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

    /// Makes this stopped server, which went its own way, a standby of the one that was promoted.
    pub fn rewind_to(&self, primary: &Cluster) {
        // Before 16 pg_rewind knows the new timeline only by a checkpoint.
        primary.connect("postgres").exec("CHECKPOINT");
        let data = self.data_dir();
        let source = format!(
            "host={} port={PORT} user=postgres",
            primary.socket_dir().display()
        );
        let arguments = [
            "-D",
            data.to_str().expect("a path in UTF-8"),
            "--source-server",
            &source,
        ];
        let conf = std::fs::read_to_string(data.join("postgresql.conf")).expect("our own file");
        self.tool("pg_rewind", arguments.into_iter().chain(["--no-sync"]), "")
            .success();
        // The configuration of the other server came along.
        std::fs::write(data.join("postgresql.conf"), conf).expect("our own file");
        std::fs::write(
            data.join("postgresql.auto.conf"),
            format!("primary_conninfo = '{source}'\n"),
        )
        .expect("our own file");
        std::fs::write(data.join("standby.signal"), "").expect("our own folder");
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
