//! `readings()`: one attribute of one entity over a time. It works with the rights of the caller, on the parent of all partitions, so
//! that his policies count.

use std::collections::HashMap;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::attribute::resolve;
use super::fault::Fault;
use super::slices::{Part, Slice, pieces, whole};
use crate::error::Error;
use crate::heat::{self, Use};
use crate::installed::{Installed, Table};
use crate::pg::answer::Answer;
use crate::pg::{catalog, identity, partitions, process, relation};
use crate::registry::{required, tenant_at_least};
use crate::sql::{self, argument, time};
use crate::staging::flush::around;
use crate::staging::judge::ValueType;

#[allow(clippy::too_many_arguments)]
#[pg_extern]
fn readings(
    tenant_id: Option<i64>,
    entity_id: Option<i64>,
    attribute: Option<&str>,
    since: Option<TimestampWithTimeZone>,
    until: Option<TimestampWithTimeZone>,
    newest_first: Option<bool>,
    max_rows: Option<i64>,
    mut answer: Answer,
) -> Result<(), ErrorReport> {
    let since = i64::from(required(since, "since")?);
    let asked = Asked {
        tenant_id: tenant_at_least(tenant_id, 1, "1 and above")?,
        entity_id: required(entity_id, "entity_id")?,
        since,
        until: until.map_or(i64::MAX, i64::from),
        newest_first: required(newest_first, "newest_first")?,
        max_rows,
    };
    let attribute = required(attribute, "attribute")?;
    Ok(asked.answer(attribute, &mut answer)?)
}

struct Asked {
    tenant_id: i64,
    entity_id: i64,
    since: i64,
    until: i64,
    newest_first: bool,
    max_rows: Option<i64>,
}

impl Asked {
    fn answer(&self, name: &str, answer: &mut Answer) -> Result<(), Error> {
        if self.since > self.until {
            return Err(Fault::Backwards {
                argument: "since",
                other: "until",
            }
            .into());
        }
        if let Some(value) = self.max_rows.filter(|rows| *rows < 1) {
            return Err(Error::OutOfRange {
                argument: "max_rows",
                value,
                allowed: "1 and above, or NULL for all",
            });
        }
        let installed = Installed::require()?;
        let attribute = resolve(&installed, self.tenant_id, &[name])?.swap_remove(0);
        heat::count(self.tenant_id, attribute.id, Use::Asked);
        let parts = parts(&installed, self.since, self.until)?;
        let slices: Vec<Slice> = match self.max_rows {
            None => whole(&parts, self.since, self.until).into_iter().collect(),
            Some(_) => pieces(&parts, self.since, self.until, self.newest_first),
        };
        let mut left = self.max_rows.unwrap_or(i64::MAX);
        for slice in slices {
            let text = self.query(&installed, attribute.value_type, slice.came_in.len());
            let mut arguments = vec![
                argument(self.tenant_id),
                argument(attribute.id),
                argument(self.entity_id),
                time(slice.measured.0),
                time(slice.measured.1),
                argument(self.max_rows.map(|_| left)),
            ];
            arguments.extend(
                slice
                    .came_in
                    .iter()
                    .flat_map(|(from, until)| [time(*from), time(*until)]),
            );
            sql::each_planned(&text, arguments, |row| {
                answer.add(row);
                left -= 1;
                Ok(true)
            })?;
            if left <= 0 {
                break;
            }
        }
        Ok(())
    }

    /// For so many stretches in which readings came in.
    fn query(&self, installed: &Installed, value_type: ValueType, stretches: usize) -> String {
        let facts = installed.qualified(Table::Facts);
        let value = json_of(value_type);
        let came_in: Vec<String> = (0..stretches)
            .map(|place| {
                let (from, until) = (7 + 2 * place, 8 + 2 * place);
                format!("ingested_at >= ${from} AND ingested_at < ${until}")
            })
            .collect();
        let came_in = came_in.join(" OR ");
        let direction = if self.newest_first { "DESC" } else { "ASC" };
        format!(
            "SELECT coalesce(observed_at, ingested_at), ingested_at, {value}, value_num, value_int, value_text
             FROM {facts}
             WHERE tenant_id = $1 AND attribute_id = $2 AND entity_id = $3 AND ({came_in})
               AND coalesce(observed_at, ingested_at) >= $4 AND coalesce(observed_at, ingested_at) < $5
             ORDER BY 1 {direction}, 2 {direction} LIMIT $6"
        )
    }
}

/// The value of a fact as JSON.
pub fn json_of(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Number => "to_jsonb(value_num)",
        ValueType::Integer => "to_jsonb(value_int)",
        ValueType::Boolean => "to_jsonb(value_int <> 0)",
        // Beyond the years of four digits a number says it.
        ValueType::Timestamp => {
            "CASE WHEN value_int BETWEEN -62135596800000000 AND 253402300799999999
                  THEN to_jsonb(rtrim(rtrim(to_char((timestamptz '1970-01-01 00:00:00+00' + value_int * interval '1 microsecond')
                                                    AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), '0'), '.') || 'Z')
                  ELSE to_jsonb(value_int) END"
        }
        ValueType::Text => "to_jsonb(value_text)",
        ValueType::Json => "value_text::jsonb",
    }
}

/// As many partitions are read without asking what is known of each.
const FEW: usize = 4;

/// Times of a partition that holds nothing: no time is between them.
const EMPTY: (i64, i64) = (i64::MAX, i64::MIN);

/// The table that knows when the readings of a sealed partition were measured; older versions have none.
const STATE: &str = "partition_state";

/// The partitions of facts, with the times at which what is in them can have been measured. By the settings no reading is measured much
/// later than it comes in, so for recent times that is all that is needed.
fn parts(installed: &Installed, since: i64, until: i64) -> Result<Vec<Part>, Error> {
    let facts = installed.require_table(Table::Facts)?;
    let around = around();
    let partitions = partitions::to_read(facts);
    let part = |partition: &partitions::Partition| Part {
        from: partition.from,
        until: partition.until,
        low: partition.from.saturating_sub(around.past),
        high: partition.until.saturating_add(around.future),
    };
    let mut parts: Vec<Part> = partitions.iter().map(part).collect();
    // Those that were made ahead are many of the few that most questions are about, and planning is most of what these cost.
    let now = process::now();
    for (part, partition) in parts.iter_mut().zip(&partitions) {
        if part.from > now && part.low < until && relation::is_seen_to_be_empty(partition.oid) {
            (part.low, part.high) = EMPTY;
        }
    }
    let relevant = |part: &&Part| part.low < until && part.high >= since;
    if parts.iter().filter(relevant).count() <= FEW || catalog::relation(&installed.schema, STATE).is_none() {
        return Ok(parts);
    }
    let sealed = sealed(installed)?;
    for (part, partition) in parts.iter_mut().zip(&partitions) {
        if let Some((low, high)) = sealed.get(&partition.oid.to_u32()) {
            (part.low, part.high) = (*low, *high);
        }
    }
    Ok(parts)
}

/// When readings of sealed partitions were measured, the first and the last. Seen with the snapshot that facts are read with: who
/// adds one to a sealed partition unseals it in the same transaction.
fn sealed(installed: &Installed) -> Result<HashMap<u32, (i64, i64)>, Error> {
    let text = format!(
        "SELECT relation_oid::bigint, observed_from, observed_until FROM {}
         WHERE seal = 'sealed' AND rows IS NOT NULL AND left_at IS NULL",
        installed.qualify(STATE)
    );
    let mut found = HashMap::new();
    identity::as_owner(|| {
        sql::each(&text, vec![], |row| {
            let times = row.long(1).zip(row.long(2)).unwrap_or(EMPTY);
            found.extend(
                row.long(0)
                    .and_then(|oid| u32::try_from(oid).ok())
                    .map(|oid| (oid, times)),
            );
            Ok(true)
        })
    })?;
    Ok(found)
}
