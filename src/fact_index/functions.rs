//! Indexes of facts as users call them.

use pgrx::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use serde_json::Value;

use super::add::{Wanted, add};
use super::drop::{drop_index, find};
use super::overview::overview;
use super::rebuild::request;
use super::steps::steps;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::{identity, process, xact};
use crate::sql::run;
use crate::worker::maintenance::ask_janitor;
use crate::worker::task::BUILD_INDEX;

#[allow(clippy::too_many_arguments)]
#[pg_extern]
fn add_fact_index(
    columns: Option<Vec<Option<String>>>,
    method: Option<String>,
    where_clause: Option<String>,
    include: Option<Vec<Option<String>>>,
    index_name: Option<String>,
    storage_parameters: Option<JsonB>,
    tablespace: Option<String>,
) -> Result<String, ErrorReport> {
    let caller_is_owner = identity::may_act_as(identity::owner()?);
    let name = identity::as_owner(|| {
        let installed = alone("add_fact_index()")?;
        let wanted = Wanted {
            keys: texts("columns", columns)?,
            method: method.unwrap_or_else(|| "btree".to_owned()),
            condition: where_clause,
            include: match include {
                Some(include) => texts("include", Some(include))?,
                None => Vec::new(),
            },
            name: index_name,
            parameters: parameters(storage_parameters)?,
            tablespace,
        };
        add(&installed, &wanted, caller_is_owner)
    })?;
    Ok(name)
}

#[pg_extern]
fn drop_fact_index(index_name: Option<String>) -> Result<(), ErrorReport> {
    Ok(identity::as_owner(|| {
        let installed = alone("drop_fact_index()")?;
        let name = index_name.ok_or(Error::NullArgument {
            argument: "index_name",
        })?;
        drop_index(&installed, &name)
    })?)
}

#[pg_extern]
fn reindex_facts(index_name: Option<String>) -> Result<i64, ErrorReport> {
    Ok(identity::as_owner(|| {
        xact::check_writable()?;
        let installed = Installed::require()?;
        let (facts, index) = match index_name {
            Some(name) => find(&installed, &name).map(|(facts, index)| (facts, Some(index)))?,
            None => (installed.require_table(Table::Facts)?, None),
        };
        let requested = request(&installed, facts, index)?;
        let (database, relation) = (process::my_database(), facts.to_u32());
        xact::after_commit(move || {
            ask_janitor(database, BUILD_INDEX, relation);
        });
        Ok(requested)
    })?)
}

/// Their locks would hold writers up until the end of a transaction block.
fn alone(function: &'static str) -> Result<Installed, Error> {
    xact::check_writable()?;
    if xact::is_block() {
        return Err(Error::InTransactionBlock(function));
    }
    // The lock lasts until the commit is done: nobody waits for a standby meanwhile.
    run("SET LOCAL synchronous_commit = local")?;
    Installed::require()
}

fn texts(argument: &'static str, texts: Option<Vec<Option<String>>>) -> Result<Vec<String>, Error> {
    texts
        .unwrap_or_default()
        .into_iter()
        .map(|text| text.ok_or(Error::NullArgument { argument }))
        .collect()
}

/// {"fillfactor": 90} and the like.
fn parameters(given: Option<JsonB>) -> Result<Vec<(String, String)>, Error> {
    let invalid = |fault: &str| Error::InvalidText {
        argument: "storage_parameters",
        fault: fault.to_owned(),
    };
    let given = match given.map(|JsonB(value)| value) {
        None => return Ok(Vec::new()),
        Some(Value::Object(given)) => given,
        Some(_) => return Err(invalid("it must be an object such as {\"fillfactor\": 90}")),
    };
    given
        .into_iter()
        .map(|(name, value)| match value {
            Value::String(text) => Ok((name, text)),
            Value::Number(_) | Value::Bool(_) => Ok((name, value.to_string())),
            _ => Err(invalid(&format!("{name} must be a number, a boolean or a text"))),
        })
        .collect()
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn fact_index_plan() -> Result<
    TableIterator<
        'static,
        (
            name!(action, String),
            name!(index, String),
            name!(partition, String),
            name!(reason, String),
            name!(busy, bool),
            name!(statement, String),
        ),
    >,
    ErrorReport,
> {
    let steps = identity::as_owner(|| steps(&Installed::require()?))?;
    Ok(TableIterator::new(steps.into_iter().map(|step| {
        (
            step.action.name().to_owned(),
            step.index,
            step.partition,
            step.reason.to_owned(),
            step.busy,
            step.statement,
        )
    })))
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn fact_index_rows() -> Result<
    TableIterator<
        'static,
        (
            name!(index_name, String),
            name!(definition, Option<String>),
            name!(is_complete, bool),
            name!(partitions, i64),
            name!(partitions_complete, i64),
            name!(to_rebuild, i64),
            name!(bytes, Option<i64>),
            name!(working_on, Option<String>),
            name!(phase, Option<String>),
            name!(done, Option<f64>),
            name!(waits_for, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let rows = identity::as_owner(|| overview(&Installed::require()?))?;
    Ok(TableIterator::new(rows.into_iter().map(|row| {
        (
            row.name,
            row.definition,
            row.is_complete,
            row.partitions,
            row.complete,
            row.to_rebuild,
            row.bytes,
            row.working_on,
            row.phase,
            row.done,
            row.waits_for,
        )
    })))
}
