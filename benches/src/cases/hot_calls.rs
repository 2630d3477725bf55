//! One value written to be read at once, and one document read, against the SQL that one would write by hand.

use std::time::Instant;

use cluster_tests::{Database, Session};
use postgres::Statement;

use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::server::Server;

const CALLS: i64 = 3000;
const ENTITIES: i64 = 1000;

const TIME: &str = "µs/call";
const RATE: &str = "calls/s";

pub struct Call {
    clients: i64,
    name: &'static str,
    shows: &'static str,
    baseline: &'static [&'static str],
    ours: &'static str,
    by_hand: &'static str,
    goal: fn() -> Metric,
}

pub const UPSERT: Call = Call {
    clients: 1,
    name: "upsert_hot_attrs",
    shows: "3,000 calls of upsert_hot_attrs() with two values, one client",
    baseline: &["INSERT … ON CONFLICT … || and INSERT of the facts, prepared"],
    ours: "SELECT telemetry.upsert_hot_attrs(1, $1::bigint, jsonb_build_object('a', $2::float8, 'b', $1::bigint + 0.5))",
    by_hand: "WITH facts AS (
                  INSERT INTO entity_values_ts (tenant_id, entity_id, ingested_at, attribute_id, value_num)
                  VALUES (1, $1::bigint, clock_timestamp(), 1, $2::float8), (1, $1, clock_timestamp(), 2, $1::bigint + 0.5))
              INSERT INTO docs AS d VALUES (1, $1::bigint, jsonb_build_object('a', $2::float8, 'b', $1::bigint + 0.5))
              ON CONFLICT (tenant_id, entity_id) DO UPDATE SET doc = d.doc || excluded.doc RETURNING doc",
    goal: || Metric::new(RATE, Compare::OfBaseline).ratio_goal(Bound::AtLeast(0.8)),
};

pub const UPSERT_8: Call = Call {
    clients: 8,
    name: "upsert_hot_attrs_8",
    shows: "the same, by eight clients at once",
    ..UPSERT
};

pub const LATEST: Call = Call {
    clients: 1,
    name: "entity_latest",
    shows: "3,000 calls of entity_latest(), one client",
    baseline: &["SELECT by primary key, prepared"],
    ours: "SELECT telemetry.entity_latest(1, $1::bigint + (0 * $2::float8)::bigint)",
    by_hand: "SELECT hot_attrs FROM entity_jsonb WHERE tenant_id = 1 AND entity_id = $1::bigint + (0 * $2::float8)::bigint",
    goal: || Metric::new(TIME, Compare::OfBaseline).ratio_goal(Bound::AtMost(1.15)),
};

impl Case for Call {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![(self.goal)()]
    }

    fn baselines(&self) -> &'static [&'static str] {
        self.baseline
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let database = server.database(self.name);
        let mut session = database.connect();
        session.exec(&format!(
            "SELECT register_attribute(1, 'a', 'number', is_hot => true), register_attribute(1, 'b', 'number', is_hot => true);
             CREATE TABLE docs (tenant_id bigint, entity_id bigint, doc jsonb NOT NULL, PRIMARY KEY (tenant_id, entity_id))
                 WITH (fillfactor = 50);
             SELECT count(upsert_hot_attrs(1, e, '{{\"a\": 1, \"b\": 2}}')) FROM generate_series(0, {ENTITIES}) e;
             INSERT INTO docs SELECT tenant_id, entity_id, hot_attrs FROM entity_jsonb",
        ));
        session.exec("VACUUM ANALYZE entity_jsonb");
        let clients = (0..self.clients).map(|number| {
            let mut session = database.connect();
            let mut prepare = |text: &str| session.client().prepare(text).expect("a statement");
            Client {
                ours: prepare(self.ours),
                by_hand: prepare(self.by_hand),
                session,
                number,
            }
        });
        Box::new(Calls {
            clients: clients.collect(),
            turn: 0,
            _database: database,
        })
    }
}

struct Calls {
    clients: Vec<Client>,
    turn: i64,
    _database: Database,
}

struct Client {
    session: Session,
    ours: Statement,
    by_hand: Statement,
    number: i64,
}

impl Client {
    fn run(&mut self, ours: bool, turn: i64, calls: i64) {
        let statement = if ours { &self.ours } else { &self.by_hand };
        for call in 0..calls {
            let second = (turn * calls + call) as f64;
            let entity = (call * 7919 + self.number * 131) % ENTITIES;
            let rows = self.session.client().query(statement, &[&entity, &second]);
            assert_eq!(rows.expect("a row").len(), 1);
        }
    }
}

impl Calls {
    fn run(&mut self, ours: bool) -> Sample {
        self.turn += 1;
        let turn = self.turn;
        let of_each = CALLS / self.clients.len() as i64;
        let start = Instant::now();
        std::thread::scope(|scope| {
            for client in &mut self.clients {
                scope.spawn(move || client.run(ours, turn, of_each));
            }
        });
        let seconds = start.elapsed().as_secs_f64();
        let calls = (of_each * self.clients.len() as i64) as f64;
        Sample::default()
            .with(TIME, seconds * 1e6 / calls)
            .with(RATE, calls / seconds)
    }
}

impl Run for Calls {
    fn ours(&mut self) -> Sample {
        self.run(true)
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        self.run(false)
    }
}
