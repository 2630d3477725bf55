//! What a fleet of robots would send: 10 tenants with 100 entities each and 10 attributes, not sorted by anything.

use cluster_tests::Session;
use jiff::Timestamp;

use crate::random::Random;

const TENANTS: usize = 10;
const ENTITIES: usize = 100;

/// Registered for all tenants. Every kind of column is used, and every row is as wide as the others.
const ATTRIBUTES: [(&str, Kind); 10] = [
    ("battery_voltage", Kind::Number),
    ("battery_level", Kind::Number),
    ("motor_temperature", Kind::Number),
    ("speed", Kind::Number),
    ("heading", Kind::Number),
    ("position_x", Kind::Number),
    ("position_y", Kind::Number),
    ("odometer", Kind::Integer),
    ("emergency_stop", Kind::Boolean),
    ("mode", Kind::Text),
];

const MODES: [&str; 4] = ["charge", "docked", "moving", "paused"];

#[derive(Clone, Copy)]
enum Kind {
    Number,
    Integer,
    Boolean,
    Text,
}

impl Kind {
    fn sql_name(self) -> &'static str {
        match self {
            Kind::Number => "number",
            Kind::Integer => "integer",
            Kind::Boolean => "boolean",
            Kind::Text => "text",
        }
    }

    fn value(self, random: &mut Random) -> Value {
        match self {
            Kind::Number => Value::Number(random.below(1_000_000) as f64 / 1000.0),
            Kind::Integer => Value::Integer(random.below(1_000_000) as i64),
            Kind::Boolean => Value::Integer(random.below(2) as i64),
            Kind::Text => Value::Text(MODES[random.below(MODES.len())]),
        }
    }
}

pub enum Value {
    Number(f64),
    Integer(i64),
    Text(&'static str),
}

/// A row for staging. ingested_at is left to its default, as writers do.
pub struct Reading {
    pub tenant_id: i64,
    pub entity_id: i64,
    pub attribute_id: i32,
    /// Microseconds since 1970.
    pub observed_at: i64,
    pub value: Value,
}

/// One attribute of one entity.
#[derive(Clone, Copy)]
struct Series {
    tenant_id: i64,
    entity_id: i64,
    attribute_id: i32,
    kind: Kind,
}

/// Sends all its series once, then once again in another order, and so on.
pub struct Fleet {
    series: Vec<Series>,
    sent: usize,
    random: Random,
}

impl Fleet {
    /// Registers the attributes in the session's database.
    pub fn register(session: &mut Session) -> Fleet {
        let mut series = Vec::with_capacity(TENANTS * ENTITIES * ATTRIBUTES.len());
        for (name, kind) in ATTRIBUTES {
            let id = session.number(&format!(
                "SELECT register_attribute(0, '{name}', '{}')",
                kind.sql_name()
            ));
            let attribute_id = id.try_into().expect("attribute ids are integers");
            for tenant in 1..=TENANTS {
                series.extend((1..=ENTITIES).map(|entity| Series {
                    tenant_id: tenant as i64,
                    entity_id: (tenant * 1000 + entity) as i64,
                    attribute_id,
                    kind,
                }));
            }
        }
        Fleet {
            sent: series.len(),
            series,
            random: Random::seeded(42),
        }
    }

    pub fn send(&mut self, rows: usize) -> Vec<Reading> {
        let observed_at = Timestamp::now().as_microsecond();
        (0..rows).map(|_| self.next(observed_at)).collect()
    }

    fn next(&mut self, observed_at: i64) -> Reading {
        if self.sent == self.series.len() {
            self.random.shuffle(&mut self.series);
            self.sent = 0;
        }
        let series = self.series[self.sent];
        self.sent += 1;
        Reading {
            tenant_id: series.tenant_id,
            entity_id: series.entity_id,
            attribute_id: series.attribute_id,
            observed_at,
            value: series.kind.value(&mut self.random),
        }
    }
}
