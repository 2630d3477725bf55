//! How long anybody waits for a lock while the readings of a tenant are deleted and their room is given back, with four writers and
//! four readers. The server's own log says it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster_tests::old_day::OldDay;
use cluster_tests::{Background, Cluster, workers};

use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::server::{Server, set_background_workers};

const WAIT: &str = "longest wait for a lock, ms";
const WAITS: &str = "waits for a lock above 1 ms";
const SECONDS: &str = "seconds";

/// Readings of each of two tenants in the partition: some 30 MB.
const EACH: i64 = 150_000;

const EACH_KIND: usize = 4;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the server writes down: waits of a millisecond and more.
const LOGGED: [(&str, &str); 3] = [
    ("log_min_messages", "warning"),
    ("log_lock_waits", "on"),
    ("deadlock_timeout", "1ms"),
];

pub struct Expiry;

impl Case for Expiry {
    fn name(&self) -> &'static str {
        "expiry_lock_wait"
    }

    fn shows(&self) -> &'static str {
        "a tenant's 150,000 readings deleted and the partition rewritten, 4 writers and 4 readers beside"
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(WAIT, Compare::SideBySide).goal(Bound::AtMost(10.0)),
            Metric::new(WAITS, Compare::SideBySide),
            Metric::new(SECONDS, Compare::SideBySide),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["DELETE and VACUUM FULL"]
    }

    fn rounds(&self, wanted: usize) -> usize {
        wanted.min(3)
    }

    fn warms_up(&self) -> bool {
        false
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let cluster = server.cluster().clone();
        LOGGED
            .iter()
            .for_each(|(name, value)| cluster.set_and_reload(name, value));
        let day = OldDay::in_database(server.database(self.name()), EACH);
        Box::new(Expiries { cluster, day })
    }
}

struct Expiries {
    cluster: Arc<Cluster>,
    day: OldDay,
}

impl Expiries {
    fn refill(&mut self) {
        let there = self
            .day
            .session
            .number("SELECT count(*) FROM entity_values_ts WHERE tenant_id = 1");
        if there == 0 {
            self.day.fill(1);
        }
        self.day.seal();
    }

    /// While others read and write.
    fn measure(&mut self, work: impl FnOnce(&mut OldDay)) -> Sample {
        self.refill();
        let crowd = Crowd::start(&self.day);
        std::thread::sleep(Duration::from_millis(300));
        let log = self.cluster.log_mark();
        let start = Instant::now();
        work(&mut self.day);
        let seconds = start.elapsed().as_secs_f64();
        crowd.stop();
        let waits: Vec<f64> = log
            .lines_with(" acquired ")
            .iter()
            .filter_map(|line| waited(line))
            .collect();
        Sample::default()
            .with(WAIT, waits.iter().copied().fold(0.0, f64::max))
            .with(WAITS, waits.len() as f64)
            .with(SECONDS, seconds)
    }
}

/// "process 4711 acquired AccessShareLock on relation 16412 of database 16384 after 3.214 ms". The janitor's own tries are not in
/// anybody's way.
fn waited(line: &str) -> Option<f64> {
    if !line.contains(" on relation ") || line.contains("pg_telemetry janitor") {
        return None;
    }
    let (_, after) = line.split_once(" after ")?;
    after.split_whitespace().next()?.parse().ok()
}

impl Run for Expiries {
    fn ours(&mut self) -> Sample {
        let sample = self.measure(|day| {
            set_background_workers(&day.cluster, true);
            workers::wait_for_start(&day.cluster, day.database.name());
            day.session.exec("SELECT set_retention('30 days', 1)");
            let start = Instant::now();
            while !(day.state("removed_tenants") == "{1}" && day.state("removed_rows") == "0") {
                assert!(start.elapsed() < PATIENCE, "the workers have not finished");
                day.cluster.reload();
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        set_background_workers(&self.cluster, false);
        workers::wait_for_end(&self.cluster, self.day.database.name());
        self.day.session.exec(
            "DELETE FROM retention_policies; UPDATE partition_state SET removed_tenants = NULL, removed_all_but = NULL",
        );
        sample
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        self.measure(|day| {
            let partition = day.partition.clone();
            day.session
                .exec(&format!("DELETE FROM {partition} WHERE tenant_id = 1"));
            day.session.exec(&format!("VACUUM FULL {partition}"));
        })
    }

    fn verify(&mut self) {
        let rows = self.day.session.rows(&format!(
            "SELECT tenant_id, count(*) FROM {} GROUP BY 1",
            self.day.partition
        ));
        assert_eq!(rows, [["2".to_owned(), EACH.to_string()]]);
        LOGGED.iter().for_each(|(name, _)| {
            self.cluster
                .connect("postgres")
                .exec(&format!("ALTER SYSTEM RESET {name}"))
        });
        self.cluster.set_and_reload("log_min_messages", "fatal");
    }
}

/// Four that write, four that read all of it.
struct Crowd {
    stop: Arc<AtomicBool>,
    members: Vec<Background<()>>,
}

impl Crowd {
    fn start(day: &OldDay) -> Crowd {
        let stop = Arc::new(AtomicBool::new(false));
        let write = "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num) SELECT 1, n, 1, n FROM generate_series(1, 20) n";
        let look = "SELECT count(*) FROM entity_values_ts WHERE tenant_id = 2 AND attribute_id = 1 AND entity_id < 100";
        let mut members = Vec::new();
        for statement in [write, look] {
            for _ in 0..EACH_KIND {
                let stop = Arc::clone(&stop);
                members.push(day.database.background(move |session| {
                    while !stop.load(Ordering::Relaxed) {
                        session.rows(statement);
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }));
            }
        }
        Crowd { stop, members }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.members.into_iter().for_each(Background::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_from_the_log() {
        let head = "2026-11-21 14:00:00 UTC [1] client backend 00000 postgres@x LOG:  process 1";
        let line = format!("{head} acquired AccessShareLock on relation 16412 of database 5 after 3.214 ms");
        assert_eq!(waited(&line), Some(3.214));
        let janitor = line.replace("client backend", "pg_telemetry janitor");
        assert_eq!(waited(&janitor), None);
        let other = format!("{head} acquired ShareLock on transaction 7 after 900.1 ms");
        assert_eq!(waited(&other), None);
    }
}
