//! Whether anybody waits while partitions are made, detached and dropped, by the server's own records of lock waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster_tests::{Cluster, Database, Session};

use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::lock_waits::LockWaits;
use crate::server::Server;

const LONGEST: &str = "longest lock wait, ms";
const ROUNDS: &str = "work done by writers and readers";

/// Partitions that come and go in each round.
const PARTITIONS: usize = 8;

const OTHERS: usize = 4;

pub struct Rotation;

impl Case for Rotation {
    fn name(&self) -> &'static str {
        "rotation_waits"
    }

    fn shows(&self) -> &'static str {
        "8 partitions made, detached and dropped beside 4 writers and 4 readers; 0: no wait of 1 ms"
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(LONGEST, Compare::SideBySide).goal(Bound::AtMost(10.0)),
            Metric::new(ROUNDS, Compare::OfBaseline),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["CREATE TABLE … PARTITION OF, DETACH PARTITION, DROP"]
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
        session.exec("UPDATE partition_state SET made_late = false; SELECT set_retention('30 days'); SELECT register_attribute(1, 'temperature', 'number')");
        Box::new(Waits {
            cluster: server.cluster().clone(),
            database,
            session,
            made: 0,
        })
    }
}

struct Waits {
    cluster: Arc<Cluster>,
    database: Database,
    session: Session,
    made: usize,
}

impl Waits {
    /// Calls `rotate` once for each partition while others read and write.
    fn beside_others(&mut self, mut rotate: impl FnMut(&mut Waits)) -> Sample {
        let waits = LockWaits::record(&self.cluster);
        let done = Arc::new(AtomicBool::new(false));
        let others: Vec<_> = (0..2 * OTHERS)
            .map(|number| {
                let done = done.clone();
                self.database.background(move |session| {
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
        let pids: Vec<i32> = others.iter().map(|other| other.pid()).collect();
        for _ in 0..PARTITIONS {
            rotate(self);
        }
        done.store(true, Ordering::Relaxed);
        let rounds: f64 = others.into_iter().map(|other| other.join()).sum();
        Sample::default()
            .with(LONGEST, waits.longest_of(&pids))
            .with(ROUNDS, rounds)
    }

    /// A partition of long ago, full of readings; its bounds.
    fn old_partition(&mut self) -> (String, String) {
        self.made += 1;
        let day = format!(
            "timestamptz '2001-01-01 00:00+00' + {} * interval '1 day'",
            self.made
        );
        let bounds = self
            .session
            .rows(&format!("SELECT {day}, {day} + interval '1 day'"));
        let (from, until) = (bounds[0][0].clone(), bounds[0][1].clone());
        self.session.exec(&format!(
            "CREATE TABLE old (LIKE entity_values_ts INCLUDING DEFAULTS,
                 CHECK (ingested_at >= '{from}' AND ingested_at < '{until}'));
             ALTER TABLE old OWNER TO telemetry_owner;
             INSERT INTO old SELECT 1, n, '{from}', NULL, 1, NULL, 1, NULL FROM generate_series(1, 20000) n;
             CREATE INDEX ON old USING brin (ingested_at) WITH (pages_per_range = 32, autosummarize = on);
             CREATE INDEX ON old (tenant_id, attribute_id, entity_id, ingested_at)"
        ));
        self.session.exec(&format!(
            "ALTER TABLE entity_values_ts ATTACH PARTITION old FOR VALUES FROM ('{from}') TO ('{until}')"
        ));
        (from, until)
    }
}

const WRITE: &str = "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)
                         SELECT 1, n, 1, n FROM generate_series(1, 100) n;
                     SELECT stage_flush()";
const READ: &str = "SELECT count(*) FROM entity_values_ts
                    WHERE tenant_id = 1 AND attribute_id = 1 AND entity_id = 7 AND ingested_at > now() - interval '1 hour'";

impl Run for Waits {
    fn ours(&mut self) -> Sample {
        self.beside_others(|waits| {
            waits.old_partition();
            let premake = 4 + waits.made;
            waits.cluster.set_and_reload("pg_telemetry.premake", premake);
            // Made ahead and marked; detached; dropped.
            waits.session.exec("SELECT rotate_partitions()");
            let statements = "SELECT statement FROM partition_plan() WHERE statement IS NOT NULL";
            for statement in waits.session.column(statements) {
                waits.session.exec(&statement);
            }
            waits.session.exec("SELECT rotate_partitions()");
            assert_eq!(waits.session.text("SELECT to_regclass('old') IS NULL"), "t");
        })
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        self.beside_others(|waits| {
            waits.old_partition();
            let day = format!(
                "timestamptz '2101-01-01 00:00+00' + {} * interval '1 day'",
                waits.made
            );
            let bounds = waits
                .session
                .rows(&format!("SELECT {day}, {day} + interval '1 day'"));
            waits.session.exec(&format!(
                "CREATE TABLE far_{} PARTITION OF entity_values_ts FOR VALUES FROM ('{}') TO ('{}')",
                waits.made, bounds[0][0], bounds[0][1]
            ));
            waits
                .session
                .exec("ALTER TABLE entity_values_ts DETACH PARTITION old");
            waits.session.exec("DROP TABLE old");
        })
    }
}
