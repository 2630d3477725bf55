//! How long the planner takes over one hour of one series, with 1,000 partitions.

use cluster_tests::{Database, Session};

use super::burden::add_partitions;
use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::server::Server;
use crate::stats::median;

const MILLIS: &str = "ms of planning";

const PARTITIONS: usize = 1000;
const FEW: usize = 10;

/// One round plans so often; the median counts.
const PLANS: usize = 50;
/// Planning over all partitions takes a hundred times as long.
const SLOW_PLANS: usize = 5;

const SERIES: &str =
    "SELECT * FROM telemetry.entity_values_ts WHERE tenant_id = 1 AND attribute_id = 1 AND entity_id = 1";

#[derive(PartialEq)]
enum Against {
    FewPartitions,
    /// Bounds that the planner does not know, in the same database.
    Now,
}

pub struct Planning {
    name: &'static str,
    shows: &'static str,
    against: Against,
}

pub const WINDOW: Planning = Planning {
    name: "plan_1000_partitions",
    shows: "an hour of one series between two times, 1,000 partitions against 10",
    against: Against::FewPartitions,
};

pub const RELATIVE: Planning = Planning {
    name: "plan_now_1000_partitions",
    shows: "the last hour of one series, 1,000 partitions: the time as a constant against now()",
    against: Against::Now,
};

impl Case for Planning {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        let metric = Metric::new(MILLIS, Compare::OfBaseline);
        vec![match self.against {
            Against::FewPartitions => metric.ratio_goal(Bound::AtMost(1.1)),
            Against::Now => metric.goal(Bound::AtMost(0.3)),
        }]
    }

    fn baselines(&self) -> &'static [&'static str] {
        match self.against {
            Against::FewPartitions => &["10 partitions"],
            Against::Now => &["ingested_at > now() - interval '1 hour'"],
        }
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let mut ours = Planner::new(server.database(self.name), PARTITIONS);
        let moment = ours.session.text("SELECT date_trunc('hour', now())");
        let constant = format!("{SERIES} AND ingested_at >= '{moment}'::timestamptz");
        let baseline = match self.against {
            Against::FewPartitions => {
                let few = Planner::new(server.database(&format!("{}_few", self.name)), FEW);
                Baseline::Other(Box::new(few), constant.clone())
            }
            Against::Now => Baseline::Same(format!("{SERIES} AND ingested_at > now() - interval '1 hour'")),
        };
        Box::new(Plans {
            ours,
            constant,
            baseline,
        })
    }
}

struct Planner {
    session: Session,
    _database: Database,
}

impl Planner {
    fn new(database: Database, partitions: usize) -> Planner {
        let mut session = database.connect();
        add_partitions(&mut session, partitions);
        session.exec("SET timezone = 'UTC'; ANALYZE telemetry.entity_values_ts");
        Planner {
            session,
            _database: database,
        }
    }

    fn plan(&mut self, query: &str, times: usize) -> Sample {
        let explain = format!("EXPLAIN (SUMMARY, FORMAT TEXT) {query}");
        let taken: Vec<f64> = (0..times)
            .map(|_| {
                let lines = self.session.column(&explain);
                let millis = lines.iter().find_map(|line| {
                    line.strip_prefix("Planning Time: ")?
                        .strip_suffix(" ms")?
                        .parse()
                        .ok()
                });
                millis.unwrap_or_else(|| panic!("no planning time in {lines:?}"))
            })
            .collect();
        Sample::default().with(MILLIS, median(&taken))
    }
}

enum Baseline {
    Same(String),
    Other(Box<Planner>, String),
}

struct Plans {
    ours: Planner,
    constant: String,
    baseline: Baseline,
}

impl Run for Plans {
    fn ours(&mut self) -> Sample {
        self.ours.plan(&self.constant, PLANS)
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        match &mut self.baseline {
            Baseline::Same(query) => self.ours.plan(query, SLOW_PLANS),
            Baseline::Other(few, query) => few.plan(query, PLANS),
        }
    }
}
