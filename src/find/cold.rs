//! Latest values of attributes that are not kept hot, from the facts of the window, with the rights of the caller.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::candidate::Candidate;
use super::fault::Fault;
use super::filter::Value;
use super::question::{Condition, Question};
use crate::error::Error;
use crate::guc;
use crate::hot::stamp::Stamp;
use crate::installed::{Installed, Table};
use crate::pg::settings;
use crate::pg::stream::Row;
use crate::sql::{self, Argument, argument, time};
use crate::staging::judge::ValueType;

/// The readings that one search may read, and how many it has.
pub struct Budget {
    most: i64,
    read: i64,
}

impl Budget {
    pub fn new() -> Budget {
        Budget {
            most: guc::find_max_readings(),
            read: 0,
        }
    }

    fn take(&mut self, condition: &Condition) -> Result<(), Error> {
        self.read += 1;
        if self.read <= self.most {
            return Ok(());
        }
        Err(Fault::CostsTooMuch {
            name: condition.attribute.name.clone(),
            most: self.most,
        }
        .into())
    }

    pub fn left(&self) -> i64 {
        self.most - self.read
    }
}

/// Refuses a search that has to go through all readings of an attribute if they are too many.
pub fn check_cost(condition: &Condition, expected: f64) -> Result<(), Error> {
    let most = guc::find_max_readings();
    if expected <= most as f64 {
        return Ok(());
    }
    Err(Fault::TooCostly {
        name: condition.attribute.name.clone(),
        expected: expected as i64,
        most,
    }
    .into())
}

/// The newest reading of an entity so far.
struct Latest {
    stamp: Stamp,
    value: Option<Value>,
}

impl Latest {
    fn of(value_type: ValueType, row: &Row) -> Option<Latest> {
        let stamp = Stamp::of(row.long(1)?, row.long(2));
        let value = match value_type {
            ValueType::Number => row.double(3).map(Value::Number),
            ValueType::Integer | ValueType::Boolean | ValueType::Timestamp => row.long(4).map(Value::Whole),
            ValueType::Text | ValueType::Json => row.text(5).map(|text| Value::Text(text.into_owned())),
        };
        Some(Latest { stamp, value })
    }

    /// As the projection decides it.
    fn is_newer_than(&self, other: &Latest) -> bool {
        let by_value = || match (&self.value, &other.value) {
            (Some(left), Some(right)) => left.order(right),
            _ => Ordering::Less,
        };
        self.stamp.cmp(&other.stamp).then_with(by_value) == Ordering::Greater
    }

    /// When it was observed, if it is what was asked for.
    fn satisfies(&self, condition: &Condition, since: i64) -> Option<i64> {
        let accepted = match &self.value {
            Some(_) if condition.test.asks_for_existence_alone() => true,
            Some(value) => condition.test.accepts(value),
            None => false,
        };
        (accepted && self.stamp.event >= since).then_some(self.stamp.event)
    }
}

/// An observation never counts as later than it came in, so what was observed within the window came in within it as well.
pub fn query(
    installed: &Installed,
    question: &Question,
    condition: &Condition,
    rest: &str,
) -> (String, Vec<Argument>) {
    let text = format!(
        "SELECT entity_id, ingested_at, observed_at, value_num, value_int, value_text FROM {}
         WHERE tenant_id = $1 AND attribute_id = $2 AND ingested_at >= $3 {rest}",
        installed.qualified(Table::Facts)
    );
    let arguments = vec![
        argument(question.tenant_id),
        argument(condition.attribute.id),
        time(question.since),
    ];
    (text, arguments)
}

/// Of these candidates those that satisfy the condition, in their order, with the time of the newest of what was asked for.
pub fn keep(
    installed: &Installed,
    question: &Question,
    condition: &Condition,
    candidates: Vec<Candidate>,
    budget: &mut Budget,
) -> Result<Vec<Candidate>, Error> {
    if candidates.is_empty() {
        return Ok(candidates);
    }
    let (text, mut arguments) = query(installed, question, condition, "AND entity_id = ANY ($4)");
    arguments.push(argument(
        candidates.iter().map(|one| one.entity).collect::<Vec<i64>>(),
    ));
    let mut latest: HashMap<i64, Latest> = HashMap::new();
    sql::each(&text, arguments, |row| {
        budget.take(condition)?;
        if let (Some(entity), Some(read)) = (row.long(0), Latest::of(condition.attribute.value_type, row)) {
            match latest.get_mut(&entity) {
                Some(known) if !read.is_newer_than(known) => {}
                Some(known) => *known = read,
                None => drop(latest.insert(entity, read)),
            }
        }
        Ok(true)
    })?;
    let kept = candidates.into_iter().filter_map(|one| {
        let event = latest.get(&one.entity)?.satisfies(condition, question.since)?;
        Some(Candidate {
            newest: one.newest.max(event),
            ..one
        })
    });
    Ok(kept.collect())
}

/// Goes through the entities that have readings of the attribute, in order, behind `after`, until `most` were found that satisfy the
/// condition; fewer mean that there are no more.
pub fn walk(
    installed: &Installed,
    question: &Question,
    condition: &Condition,
    after: Option<i64>,
    most: usize,
    budget: &mut Budget,
) -> Result<Vec<Candidate>, Error> {
    let behind = after.map_or("", |_| "AND entity_id > $5");
    let rest = format!("{behind} ORDER BY entity_id LIMIT $4");
    let (text, mut arguments) = query(installed, question, condition, &rest);
    arguments.push(argument(budget.left().saturating_add(1)));
    arguments.push(argument(after));
    let mut found = Vec::new();
    let mut current: Option<(i64, Latest)> = None;
    let settle = |current: &mut Option<(i64, Latest)>, found: &mut Vec<Candidate>| {
        if let Some((entity, latest)) = current.take()
            && let Some(event) = latest.satisfies(condition, question.since)
        {
            found.push(Candidate::new(entity, event));
        }
    };
    settings::with_index_scans(|| {
        sql::each(&text, arguments, |row| {
            budget.take(condition)?;
            let (Some(entity), Some(read)) = (row.long(0), Latest::of(condition.attribute.value_type, row))
            else {
                return Ok(true);
            };
            match &mut current {
                Some((same, known)) if *same == entity => {
                    if read.is_newer_than(known) {
                        *known = read;
                    }
                }
                other => {
                    settle(other, &mut found);
                    *other = Some((entity, read));
                }
            }
            Ok(found.len() < most)
        })
    })?;
    if found.len() < most {
        settle(&mut current, &mut found);
    }
    Ok(found)
}
