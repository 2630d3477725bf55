//! A search as it was asked, understood: which attributes, what of each, and where its latest values are kept.

use pgrx::datum::Interval;
use pgrx::pg_sys;

use super::fault::Fault;
use super::filter::{self, Node, Test};
use crate::error::Error;
use crate::ingest::document::{self, json};
use crate::installed::{Installed, Table};
use crate::pg::index_read::Scalar;
use crate::pg::jsonb::{Container, Jsonb, Shape, Value};
use crate::pg::keyed::Keyed;
use crate::pg::process;
use crate::sql::{argument, read};
use crate::staging::judge::ValueType;

use super::attribute::{Attribute, resolve};

/// Where the latest values of an attribute are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// In the table that is indexed by values, and in the projection.
    Searchable,
    /// In the projection.
    Hot,
    /// In facts alone.
    Cold,
}

#[derive(Debug, Clone)]
pub struct Condition {
    pub attribute: Attribute,
    pub test: Test,
    pub kept: Kept,
}

pub struct Question {
    pub tenant_id: i64,
    /// Those that narrow the most, as far as their form says, first.
    pub conditions: Vec<Condition>,
    /// A latest value counts if it was observed at this time or later, in the server's microseconds.
    pub since: i64,
}

impl Question {
    pub fn read(
        installed: &Installed,
        tenant_id: i64,
        filters: &Jsonb,
        within: Option<Interval>,
    ) -> Result<Question, Error> {
        let root = document::open(filters, "bytes of filters")?;
        let members = filter::members(whole(root))?;
        let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
        let attributes = resolve(installed, tenant_id, &names)?;
        let kept = kept(installed, &attributes)?;
        let mut values = 0;
        let mut conditions = Vec::with_capacity(members.len());
        for ((attribute, kept), (name, asked)) in attributes.into_iter().zip(kept).zip(&members) {
            let test = filter::test(name, attribute.value_type, asked, &mut values)?;
            conditions.push(Condition {
                attribute,
                test,
                kept,
            });
        }
        conditions.sort_by_key(|condition| (condition.kept, rank(&condition.test)));
        Ok(Question {
            tenant_id,
            conditions,
            since: since(within)?,
        })
    }

    pub fn of(&self, kept: Kept) -> impl Iterator<Item = &Condition> {
        self.conditions
            .iter()
            .filter(move |condition| condition.kept == kept)
    }

    /// Those that the projection answers.
    pub fn hot(&self) -> impl Iterator<Item = &Condition> {
        self.conditions
            .iter()
            .filter(|condition| condition.kept != Kept::Cold)
    }

    /// Nothing can satisfy it.
    pub fn is_impossible(&self) -> bool {
        self.conditions
            .iter()
            .any(|condition| condition.test.is_impossible())
    }
}

fn rank(test: &Test) -> usize {
    match (&test.one_of, &test.low, &test.high) {
        (Some(values), ..) => values.len().min(1000),
        (None, Some(_), Some(_)) => 1001,
        (None, None, None) => 1003,
        _ => 1002,
    }
}

/// None: however long ago.
fn since(within: Option<Interval>) -> Result<i64, Error> {
    let Some(within) = within else {
        return Ok(i64::MIN);
    };
    let micros = within.as_micros();
    if micros < 0 {
        return Err(Fault::Argument {
            argument: "within",
            wanted: "positive",
        }
        .into());
    }
    let now = i128::from(process::transaction_start());
    Ok(i64::try_from(now - micros).unwrap_or(i64::MIN))
}

/// What is kept of each. What is being filled, or being emptied, is not trusted.
fn kept(installed: &Installed, attributes: &[Attribute]) -> Result<Vec<Kept>, Error> {
    let ready = match ready(installed, attributes)? {
        Some(ready) => ready,
        None => ready_by_sql(installed, attributes)?,
    };
    let one = |(attribute, (hot, search)): (&Attribute, (bool, bool))| {
        if !attribute.is_hot || !hot {
            Kept::Cold
        } else if attribute.is_searchable && search && attribute.value_type != ValueType::Json {
            Kept::Searchable
        } else {
            Kept::Hot
        }
    };
    Ok(attributes.iter().zip(ready).map(one).collect())
}

/// Of each attribute whether the documents have it, and the table that is indexed by values. None where only the executor is right.
fn ready(installed: &Installed, attributes: &[Attribute]) -> Result<Option<Vec<(bool, bool)>>, Error> {
    let key = [(("attribute_id", pg_sys::INT4OID), pg_sys::F_BTINT4CMP)];
    let columns = [("hot_ready", pg_sys::BOOLOID), ("search_ready", pg_sys::BOOLOID)];
    let table = Keyed::open(installed.require_table(Table::AttributeBuilds)?, &key, columns);
    Ok(table.map(|table| {
        let one = |attribute: &Attribute| {
            let found = table.find(&[Scalar::Small(attribute.id)], |row| {
                (row.boolean(0), row.boolean(1))
            });
            found.unwrap_or((true, true))
        };
        attributes.iter().map(one).collect()
    }))
}

fn ready_by_sql(installed: &Installed, attributes: &[Attribute]) -> Result<Vec<(bool, bool)>, Error> {
    let text = format!(
        "SELECT attribute_id, hot_ready, search_ready FROM {} WHERE attribute_id = ANY ($1)",
        installed.qualified(Table::AttributeBuilds)
    );
    let ids: Vec<i32> = attributes.iter().map(|attribute| attribute.id).collect();
    let building = read(&text, vec![argument(ids)], |rows| {
        let mut found = Vec::new();
        for row in rows {
            if let (Some(id), Some(hot), Some(search)) =
                (row.get::<i32>(1)?, row.get::<bool>(2)?, row.get::<bool>(3)?)
            {
                found.push((id, (hot, search)));
            }
        }
        Ok(found)
    })?;
    let one = |attribute: &Attribute| {
        let found = building.iter().find(|(id, _)| *id == attribute.id);
        found.map_or((true, true), |(_, ready)| *ready)
    };
    Ok(attributes.iter().map(one).collect())
}

/// Levels that a filter can have, and one more: what is deeper is wrong in any case.
const DEEPEST: usize = 4;

fn whole(root: Container<'_>) -> Node<'_> {
    match root.shape() {
        Shape::Scalar => root
            .elements()
            .first()
            .map_or(Node::Null, |value| node(value, DEEPEST)),
        _ => node(&Value::Nested(root), DEEPEST),
    }
}

fn node<'a>(value: &Value<'a>, levels: usize) -> Node<'a> {
    match value {
        Value::Nested(_) if levels == 0 => Node::Object(Vec::new()),
        Value::Nested(nested) if nested.shape() == Shape::Object => Node::Object(
            nested
                .pairs()
                .iter()
                .map(|(key, value)| (*key, node(value, levels - 1)))
                .collect(),
        ),
        Value::Nested(nested) => Node::List(
            nested
                .elements()
                .iter()
                .map(|value| node(value, levels - 1))
                .collect(),
        ),
        value => json(value).map_or(Node::Null, Node::Scalar),
    }
}
