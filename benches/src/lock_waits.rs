//! How long sessions wait for locks on relations, by the server's own records. Waits of less than a millisecond are not recorded, and
//! count as none.

use std::sync::Arc;

use cluster_tests::{Cluster, LogMark};

/// What records waits, and what the server has otherwise.
const SETTINGS: [(&str, &str, &str); 3] = [
    ("log_lock_waits", "on", "off"),
    ("deadlock_timeout", "1ms", "1s"),
    ("log_min_messages", "log", "fatal"),
];

/// Waits from now on.
pub struct LockWaits {
    cluster: Arc<Cluster>,
    log: LogMark,
}

impl LockWaits {
    pub fn record(cluster: &Arc<Cluster>) -> LockWaits {
        for (name, recording, _) in SETTINGS {
            cluster.set(name, recording);
        }
        cluster.reload();
        LockWaits {
            cluster: cluster.clone(),
            log: cluster.log_mark(),
        }
    }

    /// The longest that one of these processes has waited, in milliseconds. Other cases find the server as it was.
    pub fn longest_of(self, pids: &[i32]) -> f64 {
        for (name, _, usual) in SETTINGS {
            self.cluster.set(name, usual);
        }
        self.cluster.reload();
        self.log
            .lines_with("acquired")
            .iter()
            .filter_map(|line| wait(line))
            .filter(|(pid, _)| pids.contains(pid))
            .map(|(_, milliseconds)| milliseconds)
            .fold(0.0, f64::max)
    }
}

/// Who waited for a lock on a relation, and for how long: "process 1 acquired … on relation 2 of database 3 after 4.5 ms".
fn wait(line: &str) -> Option<(i32, f64)> {
    let (_, rest) = line.split_once(" process ")?;
    let (pid, rest) = rest.split_once(" acquired ")?;
    let (what, after) = rest.rsplit_once(" after ")?;
    let milliseconds = after.split(' ').next()?.parse().ok()?;
    let on_relation = what.contains(" on relation ");
    on_relation.then_some((pid.parse().ok()?, milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_writes_about_a_wait_is_understood() {
        let line = "2026-11-21 10:00:00 UTC [7] client backend 00000 a@b LOG:  process 7 acquired RowExclusiveLock on relation 16394 \
                    of database 5 after 12.345 ms";
        assert_eq!(wait(line), Some((7, 12.345)));
        let other = line.replace("relation 16394", "extension of relation 16394");
        assert_eq!(wait(&other), None);
        assert_eq!(wait("LOG:  process 7 still waiting"), None);
    }
}
