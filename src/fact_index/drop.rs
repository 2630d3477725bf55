//! Dropping an index of facts, with those of all partitions. The server does that at once only, under the strongest lock on all of
//! them: it is got within a few milliseconds or not at all.

use pgrx::pg_sys;

use super::brief;
use super::steps::places;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::sql::{argument, read, run, value};

/// The index of facts with this name, not one of a partition.
pub fn find(installed: &Installed, name: &str) -> Result<(pg_sys::Oid, pg_sys::Oid), Error> {
    let facts = installed.require_table(Table::Facts)?;
    let found: Option<pg_sys::Oid> = read(
        "SELECT c.oid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1 AND c.relname = $2",
        vec![argument(facts), argument(name.to_owned())],
        value,
    )?;
    if let Some(index) = found {
        return Ok((facts, index));
    }
    let names: Option<String> = read(
        "SELECT string_agg(c.relname, ', ' ORDER BY c.relname)
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1",
        vec![argument(facts)],
        value,
    )?;
    Err(Error::UnknownIndex {
        name: name.to_owned(),
        names: names.unwrap_or_default(),
    })
}

pub fn drop_index(installed: &Installed, name: &str) -> Result<(), Error> {
    find(installed, name)?;
    brief::often_with_partitions(installed, "drop an index of facts", || {
        run(&format!(
            "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
            installed.qualified(Table::Facts)
        ))?;
        // As it is under the lock: partitions that were not attached yet go with it.
        let (facts, index) = find(installed, name)?;
        for place in places(facts, Vec::new())?
            .iter()
            .filter(|place| place.index == index)
        {
            if let Some(own) = place.own.as_ref().filter(|own| !own.is_attached) {
                run(&format!("DROP INDEX {}", own.name))?;
            }
        }
        run(&format!("DROP INDEX {}", installed.qualify(name)))
    })
}
