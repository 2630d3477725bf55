//! Publications for change data capture.

use pgrx::pg_sys::Oid;
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
        let mut tables = Vec::new();
        for table in publication.tables {
            tables.push((installed.require_table(*table)?, installed.qualified(*table)));
        }
        let faults = faults(&name, &publication, tables.iter().map(|(oid, _)| *oid).collect())?;
        let exists = faults.is_some();
        match faults {
            None => run(&format!(
                "CREATE PUBLICATION {} FOR TABLE {} WITH (publish = '{}', publish_via_partition_root = true)",
                quote_identifier(&name),
                tables
                    .into_iter()
                    .map(|(_, name)| name)
                    .collect::<Vec<_>>()
                    .join(", "),
                publication.operations
            ))?,
            Some(faults) if !faults.is_empty() => return Err(Error::PublicationDiffers { name, faults }),
            Some(_) => {}
        }
        let outcome = if exists { "left as it is" } else { "created" };
        rows.push((name, publication.operations.to_owned(), outcome.to_owned()));
    }
    Ok(rows)
}

/// What a publication that is there lacks, in words; more tables than ours may be in it. None when there is none.
fn faults(name: &str, wanted: &Publication, tables: Vec<Oid>) -> Result<Option<String>, Error> {
    read(
        "SELECT concat_ws('; ',
             CASE WHEN NOT p.pubviaroot THEN 'publish_via_partition_root is off' END,
             CASE WHEN o.published <> $2 THEN format('it publishes \"%s\" and not \"%s\"', o.published, $2) END,
             (SELECT 'it does not have the whole of ' || string_agg(t::regclass::text, ' and ')
              FROM unnest($3) AS t
              WHERE NOT p.puballtables
                AND NOT EXISTS (SELECT FROM pg_publication_rel r
                                WHERE r.prpubid = p.oid AND r.prrelid = t AND r.prqual IS NULL AND r.prattrs IS NULL)
                AND NOT EXISTS (SELECT FROM pg_publication_namespace n JOIN pg_class c ON c.relnamespace = n.pnnspid
                                WHERE n.pnpubid = p.oid AND c.oid = t)))
         FROM pg_publication p
         CROSS JOIN LATERAL (SELECT concat_ws(', ', CASE WHEN pubinsert THEN 'insert' END, CASE WHEN pubupdate THEN 'update' END,
                                              CASE WHEN pubdelete THEN 'delete' END, CASE WHEN pubtruncate THEN 'truncate' END)
                            ) AS o (published)
         WHERE p.pubname = $1",
        vec![
            argument(name.to_owned()),
            argument(wanted.operations.to_owned()),
            argument(tables),
        ],
        value,
    )
}
