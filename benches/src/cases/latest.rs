//! The latest value of one attribute over all entities, from documents and from facts.

use std::time::Instant;

use cluster_tests::{Database, Session};
use postgres::Statement;

use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::cpu;
use crate::server::Server;

/// The latest value of one attribute of all entities, with so many readings of each.
pub struct LatestOfAll {
    name: &'static str,
    shows: &'static str,
    history: i64,
}

const SHORT: i64 = 20;

pub const LATEST: LatestOfAll = LatestOfAll {
    name: "latest_of_all",
    shows: "the latest value of one attribute of 10,000 entities, 20 readings of each in facts",
    history: SHORT,
};

pub const LATEST_LONG: LatestOfAll = LatestOfAll {
    name: "latest_of_all_long",
    shows: "the same, 200 readings of each",
    history: 10 * SHORT,
};

const WALL: &str = "ms for all";
const CPU: &str = "CPU ms for all";
const GROWTH: &str = "CPU of itself with 20 readings of each";

impl Case for LatestOfAll {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(WALL, Compare::TimesCheaper).ratio_goal(Bound::AtLeast(10.0)),
            Metric::new(CPU, Compare::TimesCheaper),
            Metric::new(GROWTH, Compare::SideBySide).goal(Bound::AtMost(1.05)),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["DISTINCT ON over facts, with their index"]
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        Box::new(Latest {
            side: Side::new(server, self.name, self.history),
            short: Side::new(server, &format!("{}_short", self.name), SHORT),
        })
    }
}

struct Latest {
    side: Side,
    short: Side,
}

struct Side {
    session: Session,
    ours: Statement,
    by_hand: Statement,
    _database: Database,
}

impl Side {
    fn new(server: &Server, name: &str, history: i64) -> Side {
        let database = server.database(name);
        let mut session = database.connect();
        session.exec("SELECT register_attribute(1, 'battery', 'number', is_hot => true)");
        for round in 0..history {
            session.exec(&format!(
                "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
                 SELECT 1, e, now() - ({history} - {round}) * interval '1 s', attribute_id, {round} + e / 10000.0
                 FROM generate_series(1, 10000) e, attributes"
            ));
            session.exec("SELECT stage_flush(1000000)");
        }
        session.exec("VACUUM ANALYZE entity_jsonb, entity_values_ts");
        let mut prepare = |text: &str| session.client().prepare(text).expect("a statement");
        Side {
            ours: prepare(
                "SELECT entity_id, (hot_attrs -> 'battery')::float8 FROM entity_jsonb WHERE tenant_id = 1",
            ),
            by_hand: prepare(
                "SELECT DISTINCT ON (entity_id) entity_id, value_num FROM entity_values_ts
                 WHERE tenant_id = 1 AND attribute_id = 1 AND ingested_at > now() - interval '1 day'
                 ORDER BY entity_id, ingested_at DESC",
            ),
            session,
            _database: database,
        }
    }

    fn run(&mut self, statement: &Statement, times: u32) -> Sample {
        let pid = self.session.pid();
        let before = cpu::nanoseconds_at_rest(pid);
        let start = Instant::now();
        for _ in 0..times {
            let rows = self.session.client().query(statement, &[]).expect("an answer");
            assert_eq!(rows.len(), 10_000);
        }
        let wall = start.elapsed().as_secs_f64() * 1e3 / f64::from(times);
        let spent = (cpu::nanoseconds_at_rest(pid) - before) as f64 / 1e6 / f64::from(times);
        Sample::default().with(WALL, wall).with(CPU, spent)
    }
}

impl Run for Latest {
    fn ours(&mut self) -> Sample {
        // In turns: whatever else the machine does, it does to both.
        let (ours, of_short) = (self.side.ours.clone(), self.short.ours.clone());
        let (mut spent, mut short, mut wall) = (0.0, 0.0, 0.0);
        const TURNS: u32 = 20;
        for _ in 0..TURNS {
            let sample = self.side.run(&ours, 2);
            (spent, wall) = (spent + sample.value(CPU), wall + sample.value(WALL));
            short += self.short.run(&of_short, 2).value(CPU);
        }
        Sample::default()
            .with(WALL, wall / f64::from(TURNS))
            .with(CPU, spent / f64::from(TURNS))
            .with(GROWTH, spent / short)
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        let by_hand = self.side.by_hand.clone();
        self.side.run(&by_hand, 5).with(GROWTH, 0.0)
    }
}
