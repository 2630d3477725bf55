//! What the database has to know before the first reading: names of attributes and of robots become ids.

use postgres::Client;

use crate::Outcome;
use crate::fleet::Fleet;
use crate::robot::{Attribute, Robot};

const TENANTS: [(i64, &str, i32); 4] = [
    (1, "crane", 400),
    (2, "mower", 800),
    (3, "picker", 1200),
    (4, "sweeper", 600),
];

/// The tenant whose attributes all others share.
const SHARED: i64 = 0;

/// Registers the attributes; the ids are in the order of [`Attribute::ALL`].
pub fn attributes(client: &mut Client) -> Outcome<Vec<i32>> {
    let register = client.prepare("SELECT telemetry.register_attribute($1, $2, $3, $4, $5)")?;
    Attribute::ALL
        .iter()
        .map(|attribute| {
            let (name, value_type, unit, is_hot) = attribute.definition();
            let row = client.query_one(&register, &[&SHARED, &name, &value_type, &unit, &is_hot])?;
            Ok(row.get(0))
        })
        .collect()
}

/// Registers the robots of every tenant.
pub fn fleets(client: &mut Client) -> Outcome<Vec<Fleet>> {
    let register = client.prepare(
        "SELECT telemetry.register_entity($1, format('%s-%s', $2::text, n)) FROM generate_series(1, $3::int) AS n",
    )?;
    TENANTS
        .iter()
        .map(|(tenant, kind, count)| {
            let rows = client.query(&register, &[tenant, kind, count])?;
            Ok(Fleet {
                tenant: *tenant,
                robots: rows.iter().map(|row| Robot::new(row.get(0))).collect(),
            })
        })
        .collect()
}
