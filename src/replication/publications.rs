//! Publications for change data capture.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::xact;
use crate::sql::{argument, read, run, value};

/// One publication: which tables, and which of their changes.
struct Publication {
    suffix: &'static str,
    tables: &'static [Table],
    operations: &'static str,
}

const PUBLICATIONS: [Publication; 2] = [
    // Facts are only ever added. With updates and deletes published, partitions would need a replica identity, which costs an
    // index on every one of them.
    Publication {
        suffix: "facts",
        tables: &[Table::Facts],
        operations: "insert",
    },
    // The heartbeat is in it so that slots move on a quiet database.
    Publication {
        suffix: "state",
        tables: &[Table::Projection, Table::Heartbeat],
        operations: "insert, update, delete",
    },
];

/// The longest name of an identifier, less the longest suffix.
const LONGEST_PREFIX: usize = 57;

#[pg_extern]
fn create_cdc_publications(
    prefix: Option<&str>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(publication, String),
            name!(operations, String),
            name!(outcome, String),
        ),
    >,
    ErrorReport,
> {
    Ok(TableIterator::new(create(prefix)?))
}

/// As the caller: who may publish a table is the server's own question.
fn create(prefix: Option<&str>) -> Result<Vec<(String, String, String)>, Error> {
    let prefix = prefix.ok_or(Error::NullArgument { argument: "prefix" })?;
    if prefix.is_empty() || prefix.len() > LONGEST_PREFIX {
        return Err(Error::InvalidText {
            argument: "prefix",
            fault: format!("it must have 1 to {LONGEST_PREFIX} bytes"),
        });
    }
    xact::check_writable()?;
    let installed = Installed::require()?;
    let mut rows = Vec::new();
    for publication in PUBLICATIONS {
        let name = format!("{prefix}_{}", publication.suffix);
        let exists: Option<bool> = read(
            "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)",
            vec![argument(name.clone())],
            value,
        )?;
        let exists = exists.unwrap_or(false);
        if !exists {
            let mut tables = Vec::new();
            for table in publication.tables {
                installed.require_table(*table)?;
                tables.push(installed.qualified(*table));
            }
            run(&format!(
                "CREATE PUBLICATION {} FOR TABLE {} WITH (publish = '{}', publish_via_partition_root = true)",
                quote_identifier(&name),
                tables.join(", "),
                publication.operations
            ))?;
        }
        let outcome = if exists { "left as it is" } else { "created" };
        rows.push((name, publication.operations.to_owned(), outcome.to_owned()));
    }
    Ok(rows)
}
