//! ingest() against the SQL that one would write by hand: the same document into the same columns of a bare table.

use cluster_tests::{Database, Session};
use postgres::Statement;

use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::cost::{CPU, Cost, Meter, WALL};
use crate::server::Server;
use crate::twin::STAGING;

const BARE: &str = "bare";

/// Readings of one side and round.
const READINGS: usize = 5000;

/// Kinds of values in turn, as a robot would send them.
const TYPES: [&str; 5] = ["number", "number", "integer", "boolean", "text"];

pub struct Ingest {
    name: &'static str,
    shows: &'static str,
    per_call: usize,
    goal: f64,
}

pub const ONE: Ingest = Ingest {
    name: "ingest_1",
    shows: "5,000 calls of ingest() with one reading each",
    per_call: 1,
    goal: 1.0,
};

pub const FIFTY: Ingest = Ingest {
    name: "ingest_50",
    shows: "100 calls of ingest() with 50 readings each",
    per_call: 50,
    goal: 2.0,
};

impl Case for Ingest {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(CPU, Compare::TimesCheaper).ratio_goal(Bound::AtLeast(self.goal)),
            Metric::new(WALL, Compare::TimesCheaper),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["INSERT … SELECT FROM jsonb_each() JOIN attributes, prepared"]
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let database = server.database(self.name);
        let mut session = database.connect();
        for n in 0..self.per_call {
            let value_type = TYPES[n % TYPES.len()];
            session.exec(&format!(
                "SELECT register_attribute(1, 'attribute_{n}', '{value_type}')"
            ));
        }
        session.exec(&format!(
            "CREATE UNLOGGED TABLE {BARE} (LIKE {STAGING} INCLUDING DEFAULTS)"
        ));
        let mut prepare = |sql: &str| {
            let prepared = session.client().prepare(sql);
            prepared.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
        };
        let ours = prepare("SELECT telemetry.ingest(1, $1, $2::text::jsonb, durable => false)");
        let by_hand = prepare(&format!(
            "INSERT INTO {BARE} (tenant_id, entity_id, value_num, value_int, attribute_id, value_text)
             SELECT 1, $1,
                    CASE WHEN a.value_type = 'number' THEN r.value::float8 END,
                    CASE a.value_type WHEN 'integer' THEN r.value::bigint WHEN 'boolean' THEN r.value::boolean::int END,
                    a.attribute_id,
                    CASE WHEN a.value_type = 'text' THEN r.value #>> '{{}}' END
             FROM jsonb_each($2::text::jsonb) AS r JOIN telemetry.attributes AS a ON a.tenant_id = 1 AND a.name = r.key"
        ));
        Box::new(Calls {
            meter: Meter::new(server.cluster()),
            ours,
            by_hand,
            documents: (0..READINGS / self.per_call)
                .map(|n| document(n, self.per_call))
                .collect(),
            session,
            _database: database,
        })
    }
}

fn document(call: usize, readings: usize) -> String {
    let pairs: Vec<String> = (0..readings)
        .map(|n| {
            let value = match TYPES[n % TYPES.len()] {
                "number" => format!("{}.{}", call % 1000, n),
                "integer" => (call * 10 + n).to_string(),
                "boolean" => (call.is_multiple_of(2)).to_string(),
                _ => format!("\"mode {}\"", call % 4),
            };
            format!("\"attribute_{n}\": {value}")
        })
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

struct Calls {
    session: Session,
    meter: Meter,
    ours: Statement,
    by_hand: Statement,
    documents: Vec<String>,
    _database: Database,
}

impl Calls {
    fn call(&mut self, statement: &Statement, table: &str) -> Sample {
        let documents = &self.documents;
        let ((), cost): ((), Cost) = self.meter.measure(&mut self.session, |session| {
            for (entity, document) in documents.iter().enumerate() {
                let done = session.client().execute(statement, &[&(entity as i64), document]);
                done.unwrap_or_else(|error| panic!("{document}: {error:?}"));
            }
        });
        let staged = self.session.number(&format!("SELECT count(*) FROM {table}"));
        assert_eq!(staged, READINGS as i64, "rows in {table}");
        self.session.exec(&format!("TRUNCATE {table}"));
        cost.per_row(READINGS)
    }
}

impl Run for Calls {
    fn ours(&mut self) -> Sample {
        let statement = self.ours.clone();
        self.call(&statement, STAGING)
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        let statement = self.by_hand.clone();
        self.call(&statement, BARE)
    }
}
