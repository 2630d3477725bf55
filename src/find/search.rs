//! Which entities may satisfy a condition, from the table that is indexed by values. It is read as its owner: what comes out of
//! it is only looked for in the projection, with the rights of the caller.

use super::filter::{Bound, Test, Value};
use super::question::{Condition, Kept, Question};
use crate::error::Error;
use crate::hot::search::{column, prefix};
use crate::installed::{Installed, Table};
use crate::pg::index_read::{Is, Scalar};
use crate::pg::value_index::ValueIndex;
use crate::pg::{identity, settings};
use crate::sql::{self, Argument, argument};
use crate::staging::judge::ValueType;

/// How many entities are collected of each condition before more are of any: the one that comes to its end first is the one that
/// narrows the most. First what is soon done, then what takes longer than a look at some entities.
pub const QUICK: [usize; 5] = [2_000, 4_000, 8_000, 16_000, 32_000];
pub const LONG: [usize; 7] = [64_000, 128_000, 256_000, 512_000, 1_000_000, 2_000_000, MOST];

/// More are not collected.
const MOST: usize = 4_000_000;

/// To look at an entity takes as long as to read so many entries of an index: a list that is so much longer than the shortest
/// is not worth it.
const WORTH: usize = 24;

/// Lists below this length are not shortened any further.
const SHORT: usize = 1_000;

/// The entities of each searchable condition, collected as far as they were asked for.
pub struct Lists<'a> {
    lists: Vec<List<'a>>,
}

impl<'a> Lists<'a> {
    pub fn open(
        installed: &'a Installed,
        question: &'a Question,
        after: Option<i64>,
    ) -> Result<Lists<'a>, Error> {
        let of_one = |condition| List::open(installed, question.tenant_id, condition, after);
        let lists = question.of(Kept::Searchable).map(of_one);
        Ok(Lists {
            lists: lists.collect::<Result<_, _>>()?,
        })
    }

    /// Entities that satisfy all searchable conditions, in order, perhaps with some that do not. None if all lists are longer than
    /// the last of these lengths.
    pub fn candidates(&mut self, lengths: &[usize]) -> Result<Option<Vec<i64>>, Error> {
        for length in lengths {
            for place in 0..self.lists.len() {
                if self.lists[place].reach(*length)? {
                    return self.narrowed(place).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// What is in the list that is complete, and in others that are worth reading.
    fn narrowed(&mut self, place: usize) -> Result<Vec<i64>, Error> {
        let mut found = self.lists.swap_remove(place).found;
        found.sort_unstable();
        found.dedup();
        for list in &mut self.lists {
            if found.len() <= SHORT {
                break;
            }
            if list.reach(found.len().saturating_mul(WORTH).min(MOST))? {
                let mut is_there = vec![false; found.len()];
                for entity in &list.found {
                    if let Ok(place) = found.binary_search(entity) {
                        is_there[place] = true;
                    }
                }
                let mut is_there = is_there.into_iter();
                found.retain(|_| is_there.next() == Some(true));
            }
        }
        // They are not asked again, and would hold their pages.
        self.lists.clear();
        Ok(found)
    }
}

struct List<'a> {
    installed: &'a Installed,
    tenant_id: i64,
    condition: &'a Condition,
    after: Option<i64>,
    /// None where only the executor is right.
    index: Option<ValueIndex>,
    /// What is to be read of the index, and how many of these were begun.
    pieces: Vec<Piece<'a>>,
    begun: usize,
    found: Vec<i64>,
    is_complete: bool,
}

impl<'a> List<'a> {
    fn open(
        installed: &'a Installed,
        tenant_id: i64,
        condition: &'a Condition,
        after: Option<i64>,
    ) -> Result<List<'a>, Error> {
        Ok(List {
            installed,
            tenant_id,
            condition,
            after,
            index: index(installed, condition)?,
            pieces: pieces(&condition.test),
            begun: 0,
            found: Vec::new(),
            is_complete: false,
        })
    }

    /// Whether all entities are collected, `most` at most.
    fn reach(&mut self, most: usize) -> Result<bool, Error> {
        if self.is_complete || self.found.len() > most {
            return Ok(self.is_complete && self.found.len() <= most);
        }
        let Some(index) = &mut self.index else {
            self.found = by_sql(
                self.installed,
                self.tenant_id,
                self.condition,
                self.after,
                most + 1,
            )?;
            self.is_complete = self.found.len() <= most;
            return Ok(self.is_complete);
        };
        while self.found.len() <= most {
            pgrx::check_for_interrupts!();
            let next = if self.begun > 0 { index.next() } else { None };
            if let Some(entity) = next {
                self.found.push(entity);
                continue;
            }
            let Some(piece) = self.pieces.get(self.begun) else {
                self.is_complete = true;
                return Ok(true);
            };
            index.seek(self.tenant_id, self.condition.attribute.id, piece, self.after);
            self.begun += 1;
        }
        Ok(false)
    }
}

/// The entities of a single value, in order and without end.
pub struct Stream<'a> {
    index: ValueIndex,
    question: &'a Question,
    attribute_id: i32,
    value: Piece<'a>,
    after: Option<i64>,
}

impl<'a> Stream<'a> {
    /// None if what is asked for is not of this kind.
    pub fn open(
        installed: &Installed,
        question: &'a Question,
        after: Option<i64>,
    ) -> Result<Option<Stream<'a>>, Error> {
        let mut searchable = question.of(Kept::Searchable);
        let (Some(condition), None) = (searchable.next(), searchable.next()) else {
            return Ok(None);
        };
        let mut pieces = pieces(&condition.test);
        let is_one = condition.test.one_of.is_some() && pieces.len() == 1;
        let (true, Some(value)) = (is_one, pieces.pop()) else {
            return Ok(None);
        };
        Ok(index(installed, condition)?.map(|index| Stream {
            index,
            question,
            attribute_id: condition.attribute.id,
            value,
            after,
        }))
    }

    /// The next ones, at most so many. Fewer: there are no more.
    pub fn next(&mut self, most: usize) -> Vec<i64> {
        self.index.seek(
            self.question.tenant_id,
            self.attribute_id,
            &self.value,
            self.after,
        );
        let mut found = Vec::with_capacity(most);
        while found.len() < most
            && let Some(entity) = self.index.next()
        {
            if found.last() != Some(&entity) {
                found.push(entity);
            }
        }
        self.after = found.last().copied().or(self.after);
        // Looked for anew each time: what is done in between takes as long as it takes, and holds no page.
        self.index.let_go();
        found
    }
}

/// Values that lie together in the index.
type Piece<'a> = Vec<(Is, Scalar<'a>)>;

fn index(installed: &Installed, condition: &Condition) -> Result<Option<ValueIndex>, Error> {
    let value_type = condition.attribute.value_type;
    let like = match value_type {
        ValueType::Number => Scalar::Number(0.0),
        ValueType::Integer | ValueType::Boolean | ValueType::Timestamp => Scalar::Whole(0),
        ValueType::Text | ValueType::Json => Scalar::Text(""),
    };
    let names = ["tenant_id", "attribute_id", column(value_type), "entity_id"];
    let table = installed.require_table(Table::Search)?;
    Ok(ValueIndex::open(table, names, &like))
}

/// Of texts only their beginnings are there, so more may be found than satisfy the test.
fn pieces(test: &Test) -> Vec<Piece<'_>> {
    if let Some(values) = &test.one_of {
        return values
            .iter()
            .map(|value| vec![(Is::Equal, scalar(value))])
            .collect();
    }
    let bound = |bound: &'_ Bound, strict, is| match (&bound.value, bound.included) {
        (Value::Number(_) | Value::Whole(_), false) => strict,
        _ => is,
    };
    let low = test
        .low
        .as_ref()
        .map(|low| (bound(low, Is::Above, Is::AtLeast), scalar(&low.value)));
    let high = test
        .high
        .as_ref()
        .map(|high| (bound(high, Is::Below, Is::AtMost), scalar(&high.value)));
    vec![low.into_iter().chain(high).collect()]
}

fn scalar(value: &Value) -> Scalar<'_> {
    match value {
        Value::Number(value) => Scalar::Number(*value),
        Value::Whole(value) => Scalar::Whole(*value),
        Value::Text(text) => Scalar::Text(prefix(text)),
    }
}

/// The entities of one condition, at most so many, in any order.
fn by_sql(
    installed: &Installed,
    tenant_id: i64,
    condition: &Condition,
    after: Option<i64>,
    most: usize,
) -> Result<Vec<i64>, Error> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let (text, arguments) = query(installed, tenant_id, condition, after, most);
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
    Ok(found)
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
