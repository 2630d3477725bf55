//! An index of facts is added while four sessions write. What a writer waits for, by the server's own records of lock waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster_tests::{Background, Cluster, Database, Session, eventually, workers};

use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::lock_waits::LockWaits;
use crate::readings::Fleet;
use crate::server::{Server, set_background_workers};
use crate::side::prefill;
use crate::twin::FACTS;

const ROWS: usize = 500_000;
const WRITERS: usize = 4;

const LONGEST: &str = "longest lock wait of a writer, ms";
const STILL: &str = "longest statement of a writer, ms";

pub struct IndexUnderWriters;

impl Case for IndexUnderWriters {
    fn name(&self) -> &'static str {
        "index_under_writers"
    }

    fn shows(&self) -> &'static str {
        "an index added to 500,000 facts while four sessions insert; against CREATE INDEX"
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(LONGEST, Compare::SideBySide).goal(Bound::AtMost(10.0)),
            Metric::new(STILL, Compare::SideBySide),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["CREATE INDEX"]
    }

    fn rounds(&self, wanted: usize) -> usize {
        wanted.min(3)
    }

    fn warms_up(&self) -> bool {
        false
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let database = server.database(self.name());
        let mut session = database.connect();
        let mut fleet = Fleet::register(&mut session);
        prefill(&mut session, &mut fleet, &[FACTS], ROWS);
        let cluster = server.cluster().clone();
        session.exec("SET search_path = telemetry, public");
        Box::new(Added {
            session,
            cluster,
            database,
        })
    }
}

struct Added {
    session: Session,
    cluster: Arc<Cluster>,
    database: Database,
}

impl Added {
    fn writers(&self, done: &Arc<AtomicBool>) -> Vec<Background<Duration>> {
        (0..WRITERS)
            .map(|_| {
                let stop = done.clone();
                self.database.background(move |session| {
                    let mut longest = Duration::ZERO;
                    while !stop.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        session.exec(&format!(
                            "INSERT INTO {FACTS} (tenant_id, entity_id, attribute_id, value_num)
                             SELECT 1, n, 1, n FROM generate_series(1, 20) n"
                        ));
                        longest = longest.max(began.elapsed());
                    }
                    longest
                })
            })
            .collect()
    }

    fn measure(&mut self, add: impl FnOnce(&mut Session), remove: &str) -> Sample {
        let done = Arc::new(AtomicBool::new(false));
        let waits = LockWaits::record(&self.cluster);
        let writers = self.writers(&done);
        let pids: Vec<i32> = writers.iter().map(Background::pid).collect();
        std::thread::sleep(Duration::from_millis(500));
        add(&mut self.session);
        done.store(true, Ordering::Relaxed);
        let still = writers
            .into_iter()
            .map(Background::join)
            .max()
            .unwrap_or_default();
        self.session.exec(remove);
        Sample::default()
            .with(LONGEST, waits.longest_of(&pids))
            .with(STILL, still.as_secs_f64() * 1000.0)
    }
}

impl Run for Added {
    fn ours(&mut self) -> Sample {
        set_background_workers(&self.cluster, true);
        workers::wait_for_start(&self.cluster, self.database.name());
        let sample = self.measure(
            |session| {
                session.exec("SELECT add_fact_index('{tenant_id, value_num}', index_name => 'added')");
                let complete = "SELECT is_complete FROM fact_indexes WHERE index_name = 'added'";
                eventually(Duration::from_secs(300), "the index is complete", || {
                    if session.is_true(complete) {
                        Ok(())
                    } else {
                        Err(())
                    }
                });
            },
            "SELECT drop_fact_index('added')",
        );
        set_background_workers(&self.cluster, false);
        workers::wait_for_end(&self.cluster, self.database.name());
        sample
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        self.measure(
            |session| session.exec(&format!("CREATE INDEX added ON {FACTS} (tenant_id, value_num)")),
            "DROP INDEX added",
        )
    }
}
