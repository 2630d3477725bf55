//! All robots of one tenant, and the gateway that sends their reports with COPY.

use std::time::{Duration, Instant, SystemTime};

use postgres::Client;
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::Type;

use crate::Outcome;
use crate::robot::{Robot, Value};

pub struct Fleet {
    pub tenant: i64,
    pub robots: Vec<Robot>,
}

/// A second has so many COPYs, each with the reports of as large a part of the fleet.
const COPIES_A_SECOND: u32 = 5;

const COPY: &str = "COPY telemetry.entity_values_ingest \
    (tenant_id, entity_id, attribute_id, observed_at, value_num, value_int, value_text) FROM STDIN (FORMAT binary)";
const TYPES: [Type; 7] = [
    Type::INT8,
    Type::INT8,
    Type::INT4,
    Type::TIMESTAMPTZ,
    Type::FLOAT8,
    Type::INT8,
    Type::TEXT,
];

/// Every robot reports once a second until the time has come. Returns how many readings were sent.
pub fn drive(mut fleet: Fleet, mut client: Client, dictionary: &[i32], until: Instant) -> Outcome<u64> {
    let part = fleet.robots.len().div_ceil(COPIES_A_SECOND as usize);
    let mut due = Instant::now();
    let mut sent = 0;
    loop {
        for robots in fleet.robots.chunks_mut(part) {
            if Instant::now() >= until {
                return Ok(sent);
            }
            sent += send(fleet.tenant, robots, &mut client, dictionary)?;
            due += Duration::from_secs(1) / COPIES_A_SECOND;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

fn send(tenant: i64, robots: &mut [Robot], client: &mut Client, dictionary: &[i32]) -> Outcome<u64> {
    let observed_at = SystemTime::now();
    let mut copy = BinaryCopyInWriter::new(client.copy_in(COPY)?, &TYPES);
    let mut outcome = Ok(());
    for robot in robots {
        robot.step();
        let entity = robot.entity;
        robot.report(|attribute, value| {
            let (number, integer, text) = match value {
                Value::Number(number) => (Some(number), None, None),
                Value::Integer(integer) => (None, Some(integer), None),
                Value::Text(text) => (None, None, Some(text)),
            };
            let attribute_id = dictionary[attribute as usize];
            if outcome.is_ok() {
                outcome = copy.write(&[
                    &tenant,
                    &entity,
                    &attribute_id,
                    &observed_at,
                    &number,
                    &integer,
                    &text,
                ]);
            }
        });
    }
    outcome?;
    Ok(copy.finish()?)
}
