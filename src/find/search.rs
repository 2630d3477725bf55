//! Which entities may satisfy a condition, from the table that is indexed by values. It is read as its owner: what comes out of
//! it is only looked for in the projection, with the rights of the caller.

use super::candidate::Candidate;
use super::filter::{Bound, Test, Value};
use super::question::{Condition, Kept, Question};
use super::sieve::Sieve;
use crate::error::Error;
use crate::hot::search::{column, high_end, low_end, prefix};
use crate::installed::{Installed, Table};
use crate::pg::index_read::Scalar;
use crate::pg::value_entries::{Entry, Stretch};
use crate::pg::value_index::{Names, ValueIndex};
use crate::pg::value_pages::ValuePages;
use crate::pg::{identity, settings};
use crate::sql::{self, Argument, argument};
use crate::staging::judge::ValueType;

/// How many entities are collected of a condition before more are of any: the one that comes to its end first is the one that
/// narrows the most. First what is soon done, then what takes longer than a look at some entities.
pub const QUICK: [usize; 8] = [2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000];
pub const LONG: [usize; 4] = [512_000, 1_000_000, 2_000_000, MOST];

/// More are not collected.
const MOST: usize = 4_000_000;

/// So many of those that are thought to be the shortest are collected, as estimates may be wrong.
const COMPARED: usize = 3;

/// To look at an entity takes as long as to read so many entries of an index: a list that is so much longer than the shortest
/// is not worth it.
const WORTH: usize = 150;

/// Lists below this length are not shortened any further.
const SHORT: usize = 100;

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
        let mut lists: Vec<List> = lists.collect::<Result<_, _>>()?;
        lists.sort_by_key(|list| list.estimate);
        Ok(Lists { lists })
    }

    /// Entities that satisfy all searchable conditions, perhaps with some that do not. None if all lists are longer than the last of
    /// these lengths.
    pub fn candidates(&mut self, lengths: &[usize]) -> Result<Option<Candidates>, Error> {
        for length in lengths {
            for place in 0..self.lists.len().min(COMPARED) {
                if self.lists[place].reach(*length)? {
                    return self.narrowed(place).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// What is in the list that is complete, and in others that are worth reading.
    fn narrowed(&mut self, place: usize) -> Result<Candidates, Error> {
        let List { mut found, .. } = self.lists.swap_remove(place);
        for list in &mut self.lists {
            if found.len() <= SHORT {
                break;
            }
            list.narrow(&mut found)?;
        }
        // They are not asked again.
        self.lists.clear();
        // Of each value they are in order already, which this makes use of.
        found.sort_by_key(|entry| entry.entity);
        Ok(Candidates {
            found,
            next: 0,
            last: None,
        })
    }
}

/// Entries in the order of entities.
pub struct Candidates {
    found: Vec<Entry>,
    next: usize,
    /// The one that was handed over last; what follows may be another entry of it.
    last: Option<i64>,
}

impl Candidates {
    /// Those up to here are not wanted.
    pub fn skip(&mut self, last: i64) {
        self.next = self.found.partition_point(|entry| entry.entity <= last);
    }

    /// The next ones, at most so many. Fewer: there are no more.
    pub fn next(&mut self, most: usize) -> Vec<Candidate> {
        let mut candidates = Vec::with_capacity(most.min(self.found.len() - self.next));
        while candidates.len() < most
            && let Some(entry) = self.found.get(self.next)
        {
            self.next += 1;
            if self.last != Some(entry.entity) {
                self.last = Some(entry.entity);
                candidates.push(Candidate::from(*entry));
            }
        }
        candidates
    }
}

struct List<'a> {
    installed: &'a Installed,
    tenant_id: i64,
    condition: &'a Condition,
    after: Option<i64>,
    /// None where only the executor is right.
    index: Option<ValuePages<'a>>,
    /// What is to be read of the index, and how many of these were begun.
    stretches: Vec<Stretch<'a>>,
    begun: usize,
    /// About so many entries these have.
    estimate: usize,
    found: Vec<Entry>,
    is_complete: bool,
}

impl<'a> List<'a> {
    fn open(
        installed: &'a Installed,
        tenant_id: i64,
        condition: &'a Condition,
        after: Option<i64>,
    ) -> Result<List<'a>, Error> {
        let index = index(installed, condition)?.map(ValuePages::of);
        let stretches = stretches(tenant_id, condition, after);
        let estimate = index.as_ref().map_or(0, |index| estimate(index, &stretches));
        Ok(List {
            installed,
            tenant_id,
            condition,
            after,
            index,
            stretches,
            begun: 0,
            estimate,
            found: Vec::new(),
            is_complete: false,
        })
    }

    /// Whether all entities are collected, `most` at most. What looks longer by far is not begun.
    fn reach(&mut self, most: usize) -> Result<bool, Error> {
        if self.estimate / 2 > most {
            return Ok(false);
        }
        if self.index.is_none() && !self.is_complete && self.found.len() <= most {
            self.found = by_sql(
                self.installed,
                self.tenant_id,
                self.condition,
                self.after,
                most + 1,
            )?;
            self.is_complete = self.found.len() <= most;
        }
        let mut found = std::mem::take(&mut self.found);
        if self.begun == 0 {
            found.reserve(self.estimate.min(most));
        }
        while !self.is_complete && found.len() <= most {
            self.read(&mut found)?;
        }
        self.found = found;
        Ok(self.is_complete && self.found.len() <= most)
    }

    /// Another page of the index, or the end of all.
    fn read(&mut self, found: &mut Vec<Entry>) -> Result<(), Error> {
        let Some(index) = &mut self.index else {
            self.is_complete = true;
            return Ok(());
        };
        while self.begun == 0 || !index.read(found)? {
            let Some(next) = self.stretches.get(self.begun) else {
                self.is_complete = true;
                break;
            };
            index.seek(*next);
            self.begun += 1;
        }
        Ok(())
    }

    /// Leaves of these entries those whose entities are in this list too, unless it is too long to be read for that.
    fn narrow(&mut self, others: &mut Vec<Entry>) -> Result<(), Error> {
        let most = others.len().saturating_mul(WORTH).min(MOST);
        if self.index.is_none() && !self.reach(most)? {
            return Ok(());
        }
        let is_one_value = matches!(&self.stretches[..], [one] if one.is_one_value());
        if !is_one_value && self.estimate / 2 > most {
            return Ok(());
        }
        let mut sieve = Sieve::of(others);
        // What was read before, then page by page.
        let mut next = std::mem::take(&mut self.found);
        let mut count = 0;
        loop {
            next.iter().for_each(|entry| sieve.mark(entry.entity));
            count += next.len();
            if self.is_complete {
                break;
            }
            if !is_one_value && count > most {
                return Ok(());
            }
            if let (true, [first, .., last]) = (is_one_value, &next[..]) {
                // In order: what is wanted next may be far behind this page.
                let Some(wanted) = sieve.behind(last.entity) else {
                    break;
                };
                let width = last.entity.saturating_sub(first.entity);
                if let Some(index) = &mut self.index
                    && wanted.saturating_sub(last.entity) > width.saturating_mul(2)
                {
                    index.skip(wanted - 1);
                }
            }
            next.clear();
            self.read(&mut next)?;
        }
        sieve.keep_marked(others);
        Ok(())
    }
}

/// The entities of a single value, in order, as far as they are asked for.
pub struct Stream<'a> {
    index: ValuePages<'a>,
    /// What is read and not handed over yet.
    found: Vec<Entry>,
    next: usize,
    last: Option<i64>,
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
        let stretches = stretches(question.tenant_id, condition, after);
        let [stretch] = stretches[..] else {
            return Ok(None);
        };
        if !stretch.is_one_value() {
            return Ok(None);
        }
        Ok(index(installed, condition)?.map(|index| {
            let mut index = ValuePages::of(index);
            index.seek(stretch);
            Stream {
                index,
                found: Vec::new(),
                next: 0,
                last: None,
            }
        }))
    }

    /// The next ones, at most so many. Fewer: there are no more.
    pub fn next(&mut self, most: usize) -> Result<Vec<Candidate>, Error> {
        let mut candidates = Vec::with_capacity(most);
        while candidates.len() < most {
            let Some(entry) = self.found.get(self.next) else {
                self.found.clear();
                self.next = 0;
                if self.index.read(&mut self.found)? {
                    continue;
                }
                break;
            };
            self.next += 1;
            if self.last != Some(entry.entity) {
                self.last = Some(entry.entity);
                candidates.push(Candidate::from(*entry));
            }
        }
        Ok(candidates)
    }
}

/// Of many values some stand for all.
const PROBED: usize = 8;

fn estimate(index: &ValuePages, stretches: &[Stretch]) -> usize {
    let step = stretches.len().div_ceil(PROBED).max(1);
    let some = stretches.iter().step_by(step).map(|one| index.estimate(one));
    some.fold(0, usize::saturating_add).saturating_mul(step)
}

fn index(installed: &Installed, condition: &Condition) -> Result<Option<ValueIndex>, Error> {
    let value_type = condition.attribute.value_type;
    let like = match value_type {
        ValueType::Number => Scalar::Number(0.0),
        ValueType::Integer | ValueType::Boolean | ValueType::Timestamp => Scalar::Whole(0),
        ValueType::Text | ValueType::Json => Scalar::Text(""),
    };
    let names = Names {
        keys: ["tenant_id", "attribute_id", column(value_type), "entity_id"],
        place: "document_place",
    };
    let table = installed.require_table(Table::Search)?;
    Ok(ValueIndex::open(table, &names, &like))
}

/// Of texts only their beginnings are there, so more may be found than satisfy the test.
fn stretches(tenant_id: i64, condition: &Condition, after: Option<i64>) -> Vec<Stretch<'_>> {
    let stretch = |low, high| Stretch {
        tenant_id,
        attribute_id: condition.attribute.id,
        low,
        high,
        after,
    };
    let test = &condition.test;
    if let Some(values) = &test.one_of {
        let one = |value| stretch(Some(scalar(value, prefix)), Some((scalar(value, prefix), true)));
        return values.iter().map(one).collect();
    }
    let low = match &test.low {
        Some(low) if low.included => Some(scalar(&low.value, low_end)),
        Some(low) => match next(scalar(&low.value, low_end)) {
            // Nothing is greater.
            None => return Vec::new(),
            next => next,
        },
        None => None,
    };
    let high = test.high.as_ref().map(|high| {
        let is_beginning = matches!(high.value, Value::Text(_));
        (scalar(&high.value, high_end), high.included || is_beginning)
    });
    vec![stretch(low, high)]
}

/// The least value above this one; of texts itself, which others may begin with.
fn next(value: Scalar) -> Option<Scalar> {
    match value {
        // NaN is above all else.
        Scalar::Number(value) if value.is_nan() => None,
        Scalar::Number(f64::INFINITY) => Some(Scalar::Number(f64::NAN)),
        Scalar::Number(value) => Some(Scalar::Number(value.next_up())),
        Scalar::Whole(value) => value.checked_add(1).map(Scalar::Whole),
        Scalar::Small(value) => value.checked_add(1).map(Scalar::Small),
        Scalar::Text(text) => Some(Scalar::Text(text)),
    }
}

/// As it is in the index, a text as far as it is needed.
fn scalar(value: &Value, of_text: fn(&str) -> &str) -> Scalar<'_> {
    match value {
        Value::Number(value) => Scalar::Number(*value),
        Value::Whole(value) => Scalar::Whole(*value),
        Value::Text(text) => Scalar::Text(of_text(text)),
    }
}

/// The entities of one condition, at most so many, in any order.
fn by_sql(
    installed: &Installed,
    tenant_id: i64,
    condition: &Condition,
    after: Option<i64>,
    most: usize,
) -> Result<Vec<Entry>, Error> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let (text, arguments) = query(installed, tenant_id, condition, after, most);
    let mut found = Vec::new();
    identity::as_owner(|| {
        // The planner does not know how values of one attribute are spread, and would read the whole table for many of them.
        settings::with_index_scans(|| {
            sql::each_kept(&text, arguments, |row| {
                found.extend(row.long(0).map(|entity| Entry { entity, document: 0 }));
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
    let mut bound = |bound: &Bound, strict: &str, sign: &str, end: fn(&str) -> &str| {
        let of_text = matches!(bound.value, Value::Text(_));
        arguments.push(one(&bound.value, end));
        let sign = if bound.included || of_text { sign } else { strict };
        conditions.push(format!("{column} {sign} ${}", arguments.len()));
    };
    if let Some(low) = &test.low {
        bound(low, ">", ">=", low_end);
    }
    if let Some(high) = &test.high {
        bound(high, "<", "<=", high_end);
    }
}

fn one(value: &Value, of_text: fn(&str) -> &str) -> Argument {
    match value {
        Value::Number(value) => argument(*value),
        Value::Whole(value) => argument(*value),
        Value::Text(text) => argument(of_text(text).to_owned()),
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
