//! What a look at each view costs with many partitions, and what a scrape does that asks for each metric by itself.

use cluster_tests::{Database, Session};

use super::burden::add_partitions;
use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::cpu;
use crate::server::Server;

const FEW: usize = 10;
const MANY: usize = 1_000;
/// It takes minutes to make them.
const MANY_LONG: usize = 10_000;

const SCRAPE: &str = "every metric by itself, CPU ms";
/// One in ten seconds is a hundredth of a core then.
const MOST_OF_A_SCRAPE: f64 = 100.0;
const MOST_OF_A_VIEW: f64 = 100.0;

/// All that a DBA may look at; the name of each is that of its metric.
const VIEWS: [&str; 23] = [
    "partition_health",
    "partition_plan()",
    "rotate_partitions()",
    "partition_totals()",
    "fact_indexes",
    "fact_index_plan()",
    "worker_status",
    "staging_backlog",
    "flush_stats",
    "telemetry_metrics",
    "attribute_heat",
    "replication_lag",
    "replication_slots_health",
    "archiver_health",
    "autovacuum_lag",
    "blocking",
    "checkpoint_activity",
    "connection_saturation",
    "hot_updates",
    "sequences_health",
    "settings_pending",
    "wal_activity",
    "wraparound",
];

pub struct Views;

impl Case for Views {
    fn name(&self) -> &'static str {
        "views"
    }

    fn shows(&self) -> &'static str {
        "CPU ms of a look at each view, 1,000 partitions (BENCH_LONG: 10,000) against 10"
    }

    fn metrics(&self) -> Vec<Metric> {
        let view = |name| Metric::new(name, Compare::SideBySide).goal(Bound::AtMost(MOST_OF_A_VIEW));
        let scrape = Metric::new(SCRAPE, Compare::SideBySide).goal(Bound::AtMost(MOST_OF_A_SCRAPE));
        VIEWS.into_iter().map(view).chain([scrape]).collect()
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["10 partitions"]
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let many = if server.options().long { MANY_LONG } else { MANY };
        Box::new(Looks {
            many: Watched::new(server.database("views_many"), many),
            few: Watched::new(server.database("views_few"), FEW),
        })
    }
}

struct Watched {
    session: Session,
    _database: Database,
}

impl Watched {
    fn new(database: Database, partitions: usize) -> Watched {
        let mut session = database.connect();
        add_partitions(&mut session, partitions);
        for statement in [
            "SET search_path = telemetry, public",
            "SELECT setup()",
            "UPDATE partition_state SET seal = 'sealed', sealed_at = now(), rows = 0 WHERE ends_at < now() - interval '30 days'",
            "VACUUM ANALYZE pg_class, pg_index, pg_inherits, partition_state",
        ] {
            session.exec(statement);
        }
        Watched {
            session,
            _database: database,
        }
    }

    /// CPU milliseconds of a statement.
    fn cost(&mut self, statement: &str) -> f64 {
        let pid = self.session.pid();
        let before = cpu::nanoseconds_at_rest(pid);
        self.session.exec(statement);
        (cpu::nanoseconds_at_rest(pid) - before) as f64 / 1e6
    }

    fn look(&mut self) -> Sample {
        let mut sample = Sample::default();
        for view in VIEWS {
            // Every column is made, and nothing is sent.
            let look = format!("SELECT count(*) FROM (SELECT v FROM {view} AS v OFFSET 0) AS looked");
            sample = sample.with(view, self.cost(&look));
        }
        let names = self
            .session
            .column("SELECT DISTINCT name FROM telemetry_metrics ORDER BY name");
        let scrape = names.iter().map(|name| {
            self.cost(&format!(
                "SELECT labels, value FROM telemetry_metrics WHERE name = '{name}'"
            ))
        });
        let scrape = scrape.sum();
        sample.with(SCRAPE, scrape)
    }
}

struct Looks {
    many: Watched,
    few: Watched,
}

impl Run for Looks {
    fn ours(&mut self) -> Sample {
        self.many.look()
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        self.few.look()
    }
}
