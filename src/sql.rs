//! Running SQL from inside the server. Statements are prepared once per process and kept: they run many times a second.
//! Every caller, function or worker, runs with search_path = pg_catalog, pg_temp; other tables are named with their schema.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::datum::{DatumWithOid, IntoDatum, TimestampWithTimeZone};
use pgrx::pg_sys;
use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, SpiTupleTable};

use crate::error::Error;
use crate::pg::estimate::{self, Estimate};
use crate::pg::handover::{self, Taken};
use crate::pg::stream::{self, How, Row, stream};

thread_local! {
    static KEPT: RefCell<HashMap<String, Rc<OwnedPreparedStatement>>> = RefCell::default();
}

/// An argument and its type, which a prepared statement has to know.
pub struct Argument {
    value: DatumWithOid<'static>,
    oid: pg_sys::Oid,
}

pub fn argument<T: IntoDatum>(value: T) -> Argument {
    Argument {
        value: DatumWithOid::from(value),
        oid: T::type_oid(),
    }
}

/// A time in the server's microseconds; one that it cannot name is as good as infinite.
pub fn time(micros: i64) -> Argument {
    argument(moment(micros))
}

pub fn moment(micros: i64) -> TimestampWithTimeZone {
    let infinite = |_| match micros < 0 {
        true => TimestampWithTimeZone::negative_infinity(),
        false => TimestampWithTimeZone::positive_infinity(),
    };
    TimestampWithTimeZone::try_from(micros).unwrap_or_else(infinite)
}

/// Reads. Takes no transaction id, so that a poll burns none and it works on a standby.
pub fn read<R>(
    text: &str,
    arguments: Vec<Argument>,
    rows: impl FnOnce(SpiTupleTable<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    Spi::connect(|client| {
        let statement = kept(text, &arguments, |types| Ok(client.prepare(text, types)?.keep()))?;
        rows(client.select(&*statement, None, &values(arguments))?)
    })
}

/// Reads by a statement that is not worth keeping: it names a partition, say.
pub fn read_once<R>(
    text: &str,
    arguments: Vec<Argument>,
    rows: impl FnOnce(SpiTupleTable<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    Spi::connect(|client| rows(client.select(text, None, &values(arguments))?))
}

/// The same without arguments.
pub fn look<R>(text: &str, rows: impl FnOnce(SpiTupleTable<'_>) -> Result<R, Error>) -> Result<R, Error> {
    read_once(text, vec![], rows)
}

/// Reads rows one by one, without keeping them, until `each` has seen enough. What the arguments rule out is not planned.
pub fn each(
    text: &str,
    arguments: Vec<Argument>,
    mut each: impl FnMut(&Row) -> Result<bool, Error>,
) -> Result<(), Error> {
    stream(text, &values(arguments), How::Once, &mut each)
}

/// The same for a query that is asked often and planned once, whatever the arguments.
pub fn each_kept(
    text: &str,
    arguments: Vec<Argument>,
    mut each: impl FnMut(&Row) -> Result<bool, Error>,
) -> Result<(), Error> {
    stream(text, &values(arguments), How::Kept, &mut each)
}

/// The same for a query that is asked often and planned for its arguments each time.
pub fn each_planned(
    text: &str,
    arguments: Vec<Argument>,
    mut each: impl FnMut(&Row) -> Result<bool, Error>,
) -> Result<(), Error> {
    stream(text, &values(arguments), How::Planned, &mut each)
}

/// The same, with what this transaction has written and what has been committed by now.
pub fn each_now(
    text: &str,
    arguments: Vec<Argument>,
    mut each: impl FnMut(&Row) -> Result<bool, Error>,
) -> Result<(), Error> {
    stream(text, &values(arguments), How::Now, &mut each)
}

/// What the planner expects of a query.
pub fn estimate(text: &str, arguments: Vec<Argument>) -> Estimate {
    estimate::estimate(text, &values(arguments)).unwrap_or_default()
}

/// Writes.
pub fn write<R>(
    text: &str,
    arguments: Vec<Argument>,
    rows: impl FnOnce(SpiTupleTable<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    Spi::connect_mut(|client| {
        let statement = kept(text, &arguments, |types| {
            Ok(client.prepare_mut(text, types)?.keep())
        })?;
        rows(client.update(&*statement, None, &values(arguments))?)
    })
}

/// Runs statements that are not worth keeping, DDL above all.
pub fn run(text: &str) -> Result<(), Error> {
    Spi::connect_mut(|client| client.update(text, None, &[]).map(drop))?;
    Ok(())
}

/// Writes by a statement with arguments that is not worth keeping.
pub fn run_once<R>(
    text: &str,
    arguments: Vec<Argument>,
    rows: impl FnOnce(SpiTupleTable<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    Spi::connect_mut(|client| rows(client.update(text, None, &values(arguments))?))
}

/// Writes what a statement makes of rows that are in our hands, and returns how many rows it wrote.
pub fn write_taken(text: &str, arguments: Vec<Argument>, taken: &mut Taken) -> Result<i64, Error> {
    Spi::connect_mut(|client| {
        taken.show();
        client.update(text, None, &values(arguments))?;
        Ok(handover::processed())
    })
}

/// One value of the first row; None for NULL and for no row.
pub fn value<T: FromDatum + IntoDatum>(rows: SpiTupleTable<'_>) -> Result<Option<T>, Error> {
    if rows.is_empty() {
        return Ok(None);
    }
    Ok(rows.first().get_one()?)
}

/// Forgets kept statements, which name a schema that may be another one now.
pub fn forget() {
    KEPT.with_borrow_mut(HashMap::clear);
    stream::forget();
}

fn values(arguments: Vec<Argument>) -> Vec<DatumWithOid<'static>> {
    arguments.into_iter().map(|argument| argument.value).collect()
}

fn kept(
    text: &str,
    arguments: &[Argument],
    prepare: impl FnOnce(&[PgOid]) -> Result<OwnedPreparedStatement, Error>,
) -> Result<Rc<OwnedPreparedStatement>, Error> {
    if let Some(statement) = KEPT.with_borrow(|kept| kept.get(text).cloned()) {
        return Ok(statement);
    }
    let types: Vec<PgOid> = arguments
        .iter()
        .map(|argument| PgOid::from(argument.oid))
        .collect();
    let statement = Rc::new(prepare(&types)?);
    KEPT.with_borrow_mut(|kept| kept.insert(text.to_owned(), Rc::clone(&statement)));
    Ok(statement)
}
