//! Which entities may satisfy a condition, from the table that is indexed by values. It is read as its owner: what comes out of
//! it is only looked for in the projection, with the rights of the caller.

use super::filter::{Bound, Test, Value};
use super::question::{Condition, Kept, Question};
use crate::error::Error;
use crate::hot::search::{column, prefix};
use crate::installed::{Installed, Table};
use crate::pg::{identity, settings};
use crate::sql::{self, Argument, argument};

/// How many entities are looked up of each condition before those of another are tried: the one that comes to its end first is the
/// one that narrows the most.
const ROUNDS: [i64; 2] = [2_000, 32_000];

/// More are not collected.
const MOST: i64 = 4_000_000;

/// A list that is so much longer than the shortest is worth less than looking at each entity.
const WORTH: usize = 8;

/// Lists below this length are not shortened any further.
const SHORT: usize = 20_000;

/// Entities behind `after` that satisfy all searchable conditions, in order, perhaps with some that do not. `quickly`: only if that
/// is few. None if they are too many.
pub fn candidates(
    installed: &Installed,
    question: &Question,
    after: Option<i64>,
    quickly: bool,
) -> Result<Option<Vec<i64>>, Error> {
    let conditions: Vec<&Condition> = question.of(Kept::Searchable).collect();
    let look =
        |condition: &Condition, most: i64| entities(installed, question.tenant_id, condition, after, most);
    let rounds: &[i64] = if quickly { &ROUNDS } else { &[MOST / 16, MOST] };
    for most in rounds {
        for (place, condition) in conditions.iter().enumerate() {
            let Some(mut found) = look(condition, *most)? else {
                continue;
            };
            for (other, condition) in conditions.iter().enumerate() {
                if other == place || found.len() <= SHORT {
                    continue;
                }
                let worth = i64::try_from(found.len() * WORTH).unwrap_or(MOST).min(MOST);
                if let Some(others) = look(condition, worth)? {
                    found.retain(|entity| others.binary_search(entity).is_ok());
                }
            }
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The entities of one condition, in order; None if there are more than `most`.
fn entities(
    installed: &Installed,
    tenant_id: i64,
    condition: &Condition,
    after: Option<i64>,
    most: i64,
) -> Result<Option<Vec<i64>>, Error> {
    let (text, arguments) = query(installed, tenant_id, condition, after, most + 1);
    let mut found: Vec<i64> = Vec::new();
    identity::as_owner(|| {
        // The planner does not know how values of one attribute are spread, and would read the whole table for many of them.
        settings::with_index_scans(|| {
            sql::each_kept(&text, arguments, |row| {
                found.extend(row.long(0));
                Ok(true)
            })
        })
    })?;
    if found.len() as i64 > most {
        return Ok(None);
    }
    found.sort_unstable();
    found.dedup();
    Ok(Some(found))
}

/// The entities of one condition as SQL.
pub fn query(
    installed: &Installed,
    tenant_id: i64,
    condition: &Condition,
    after: Option<i64>,
    most: i64,
) -> (String, Vec<Argument>) {
    let mut arguments = vec![
        argument(tenant_id),
        argument(condition.attribute.id),
        argument(most),
    ];
    let column = column(condition.attribute.value_type);
    let mut conditions = vec![format!("{column} IS NOT NULL")];
    if let Some(after) = after {
        arguments.push(argument(after));
        conditions.push(format!("entity_id > ${}", arguments.len()));
    }
    compare(&condition.test, column, &mut conditions, &mut arguments);
    let text = format!(
        "SELECT entity_id FROM {} WHERE tenant_id = $1 AND attribute_id = $2 AND {} LIMIT $3",
        installed.qualified(Table::Search),
        conditions.join(" AND ")
    );
    (text, arguments)
}

/// The test as conditions on a column. Of texts only their beginnings are there, so more may be found than satisfy it.
fn compare(test: &Test, column: &str, conditions: &mut Vec<String>, arguments: &mut Vec<Argument>) {
    if let Some(values) = &test.one_of {
        arguments.push(array(values));
        conditions.push(format!("{column} = ANY (${})", arguments.len()));
    }
    let mut bound = |bound: &Bound, strict: &str, sign: &str| {
        let of_text = matches!(bound.value, Value::Text(_));
        arguments.push(one(&bound.value));
        let sign = if bound.included || of_text { sign } else { strict };
        conditions.push(format!("{column} {sign} ${}", arguments.len()));
    };
    if let Some(low) = &test.low {
        bound(low, ">", ">=");
    }
    if let Some(high) = &test.high {
        bound(high, "<", "<=");
    }
}

fn one(value: &Value) -> Argument {
    match value {
        Value::Number(value) => argument(*value),
        Value::Whole(value) => argument(*value),
        Value::Text(text) => argument(prefix(text).to_owned()),
    }
}

/// All of one type.
fn array(values: &[Value]) -> Argument {
    let numbers = || {
        values.iter().filter_map(|value| match value {
            Value::Number(value) => Some(*value),
            _ => None,
        })
    };
    let whole = || {
        values.iter().filter_map(|value| match value {
            Value::Whole(value) => Some(*value),
            _ => None,
        })
    };
    let texts = || {
        values.iter().filter_map(|value| match value {
            Value::Text(text) => Some(prefix(text).to_owned()),
            _ => None,
        })
    };
    match values.first() {
        Some(Value::Number(_)) => argument(numbers().collect::<Vec<f64>>()),
        Some(Value::Whole(_)) | None => argument(whole().collect::<Vec<i64>>()),
        Some(Value::Text(_)) => argument(texts().collect::<Vec<String>>()),
    }
}
