//! How long anybody waits for a lock while the readings of a tenant are deleted and their room is given back, with four writers and
//! four readers of the partition that it is about.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster_tests::old_day::OldDay;
use cluster_tests::{Background, Cluster, eventually, workers};

use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::lock_waits::LockWaits;
use crate::server::{Server, set_background_workers};

const LONGEST: &str = "longest lock wait, ms";
const SECONDS: &str = "seconds until it is done";
const ROUNDS: &str = "statements of writers and readers a second";

/// Readings of each of two tenants in the partition: some 30 MB.
const EACH: i64 = 150_000;

const OTHERS: usize = 4;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Expiry;

impl Case for Expiry {
    fn name(&self) -> &'static str {
        "expiry_waits"
    }

    fn shows(&self) -> &'static str {
        "150,000 readings of a tenant deleted, the partition rewritten, beside 4 writers and 4 readers; 0: no wait of 1 ms"
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(LONGEST, Compare::SideBySide).goal(Bound::AtMost(10.0)),
            Metric::new(SECONDS, Compare::SideBySide),
            Metric::new(ROUNDS, Compare::OfBaseline),
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
        let day = OldDay::in_database(server.database(self.name()), EACH);
        Box::new(Expiries {
            cluster: server.cluster().clone(),
            day,
        })
    }
}

struct Expiries {
    cluster: Arc<Cluster>,
    day: OldDay,
}

/// A fact for now.
const WRITE: &str = "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)
                     SELECT 2, n, 1, n FROM generate_series(1, 20) n";
/// One series of the old day.
const READ: &str = "SELECT count(*) FROM entity_values_ts
                    WHERE tenant_id = 2 AND attribute_id = 1 AND entity_id BETWEEN 100 AND 120";

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
    fn beside_others(&mut self, work: impl FnOnce(&mut OldDay)) -> Sample {
        self.refill();
        let waits = LockWaits::record(&self.cluster);
        let done = Arc::new(AtomicBool::new(false));
        let others: Vec<Background<f64>> = (0..2 * OTHERS)
            .map(|number| {
                let done = done.clone();
                self.day.database.background(move |session| {
                    let work = if number < OTHERS { WRITE } else { READ };
                    let mut rounds = 0.0;
                    while !done.load(Ordering::Relaxed) {
                        session.exec(work);
                        rounds += 1.0;
                    }
                    rounds
                })
            })
            .collect();
        let pids: Vec<i32> = others.iter().map(Background::pid).collect();
        let start = Instant::now();
        work(&mut self.day);
        let seconds = start.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        let rounds: f64 = others.into_iter().map(Background::join).sum();
        Sample::default()
            .with(LONGEST, waits.longest_of(&pids))
            .with(SECONDS, seconds)
            .with(ROUNDS, rounds / seconds)
    }
}

impl Run for Expiries {
    fn ours(&mut self) -> Sample {
        set_background_workers(&self.cluster, true);
        workers::wait_for_start(&self.cluster, self.day.database.name());
        let sample = self.beside_others(|day| {
            day.session.exec("SELECT set_retention('30 days', 1)");
            eventually(PATIENCE, "the readings and their room are gone", || {
                // Nobody waits here for the next minute, in which the keeper looks again.
                day.cluster.reload();
                // The first pages may hold none of its readings, so it is done when no page is left.
                let seen = day.state(
                    "removed_tenants::text || coalesce(removal_block::text, ' to the end, ') || removed_rows",
                );
                if seen == "{1} to the end, 0" {
                    return Ok(());
                }
                let janitor =
                    "SELECT task, state, detail, last_error FROM worker_status WHERE worker = 'janitor'";
                Err((seen, day.state("last_error"), day.session.rows(janitor)))
            });
        });
        set_background_workers(&self.cluster, false);
        workers::wait_for_end(&self.cluster, self.day.database.name());
        self.day.session.exec(
            "DELETE FROM retention_policies; UPDATE partition_state SET removed_tenants = NULL, removal_sealed_at = NULL",
        );
        sample
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        self.beside_others(|day| {
            let partition = day.partition.clone();
            day.session
                .exec(&format!("DELETE FROM {partition} WHERE tenant_id = 1"));
            day.session.exec(&format!("VACUUM FULL {partition}"));
        })
    }

    fn verify(&mut self) {
        assert_eq!(self.day.of_tenant(1), 0);
        let left = format!("SELECT count(*) FROM {} WHERE tenant_id = 2", self.day.partition);
        assert_eq!(self.day.session.number(&left), EACH);
    }
}
