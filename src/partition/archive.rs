//! Moving partitions that were detached to where they are kept: another schema, another tablespace, or both.

use pgrx::pg_sys;
use pgrx::spi::quote_identifier;
use pgrx::spi::quote_qualified_identifier as qualified;

use super::create::free_name;
use super::plan::{Action, Planned};
use super::retention::removal;
use super::state;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::{fault, identity};
use crate::sql::{argument, read, read_once, run, value};
use crate::worker::task::Step;

/// Where tables go; what is not said stays as it is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Archive {
    /// What becomes of a detached partition: drop, keep or archive.
    pub leaves_as: Option<String>,
    schema: Option<String>,
    tablespace: Option<String>,
}

/// As the row for all tenants says. Its columns are younger than the table.
pub fn wanted(installed: &Installed) -> Result<Archive, Error> {
    if installed.table_oid(Table::Retention)?.is_none() {
        return Ok(Archive::default());
    }
    read(
        &format!(
            "SELECT j->>'leaves_as', j->>'archive_schema', j->>'archive_tablespace'
             FROM {} AS p, to_jsonb(p) AS j WHERE p.tenant_id = 0",
            installed.qualified(Table::Retention)
        ),
        vec![],
        |rows| match rows.into_iter().next() {
            None => Ok(Archive::default()),
            Some(row) => Ok(Archive {
                leaves_as: row.get(1)?,
                schema: row.get(2)?,
                tablespace: row.get(3)?,
            }),
        },
    )
}

/// Tables that are to be moved, the oldest first.
pub fn moves(installed: &Installed) -> Result<Vec<Planned>, Error> {
    let archive = wanted(installed)?;
    if archive.schema.is_none() && archive.tablespace.is_none() {
        return Ok(Vec::new());
    }
    state::to_archive(installed, archive.schema.clone(), archive.tablespace.clone())?
        .into_iter()
        .map(|(oid, period)| {
            let mut planned = removal(installed, Action::Archive, oid, period)?;
            let parts = [("schema", &archive.schema), ("tablespace", &archive.tablespace)];
            let places: Vec<String> = parts
                .into_iter()
                .filter_map(|(what, name)| Some(format!("{what} {}", quote_identifier(name.as_ref()?))))
                .collect();
            planned.reason = format!("it is detached, and goes to {}", places.join(", "));
            if let Some(obstacle) = obstacle(&archive)? {
                planned.action = Action::Keep;
                planned.reason = format!("{}, but {obstacle}", planned.reason);
            }
            Ok(planned)
        })
        .collect()
}

/// What has to be put right by somebody who may.
fn obstacle(archive: &Archive) -> Result<Option<String>, Error> {
    read(
        "SELECT CASE
             WHEN $1 IS NOT NULL AND NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)
                 THEN format('schema %I does not exist', $1)
             WHEN $1 IS NOT NULL AND NOT has_schema_privilege($3, $1, 'CREATE')
                 THEN format('telemetry_owner may not create anything there: GRANT CREATE, USAGE ON SCHEMA %I TO telemetry_owner', $1)
             WHEN $2 IS NOT NULL AND NOT EXISTS (SELECT FROM pg_tablespace WHERE spcname = $2)
                 THEN format('tablespace %I does not exist', $2)
             WHEN $2 IS NOT NULL AND NOT has_tablespace_privilege($3, $2, 'CREATE')
                 THEN format('telemetry_owner may not create anything there: GRANT CREATE ON TABLESPACE %I TO telemetry_owner', $2)
         END",
        vec![
            argument(archive.schema.clone()),
            argument(archive.tablespace.clone()),
            argument(identity::OWNER),
        ],
        value,
    )
}

/// For the janitor.
pub fn step(installed: &Installed, table: pg_sys::Oid) -> Result<Step, Error> {
    let wanted = moves(installed)?
        .into_iter()
        .find(|planned| planned.oid == Some(table));
    match wanted {
        Some(planned) if planned.action == Action::Keep => Ok(Step::Waits(planned.reason)),
        Some(planned) => {
            move_away(installed, &planned)?;
            Ok(Step::Done)
        }
        None => Ok(Step::Done),
    }
}

/// The table, its indexes and what it is called there, in one transaction. Nobody reads it by way of facts any more.
pub fn move_away(installed: &Installed, planned: &Planned) -> Result<bool, Error> {
    let Some(oid) = planned.oid else {
        return Ok(false);
    };
    let archive = wanted(installed)?;
    fault::point("before_archive");
    if let Some(tablespace) = &archive.tablespace {
        let place = quote_identifier(tablespace);
        run(&format!(
            "ALTER TABLE {} SET TABLESPACE {place}",
            planned.partition
        ))?;
        for (_, index) in parts(oid)?.into_iter().skip(1) {
            run(&format!("ALTER INDEX {index} SET TABLESPACE {place}"))?;
        }
    }
    if let Some(schema) = &archive.schema {
        for (name, part) in parts(oid)? {
            if taken(schema, &name)? {
                // An index is renamed as a table is.
                let free = free_name(&[schema, &installed.schema], &name)?;
                run(&format!(
                    "ALTER TABLE {part} RENAME TO {}",
                    quote_identifier(&free)
                ))?;
            }
        }
        let (_, table) = parts(oid)?.swap_remove(0);
        run(&format!(
            "ALTER TABLE {table} SET SCHEMA {}",
            quote_identifier(schema)
        ))?;
    }
    state::note_archived(installed, oid)?;
    fault::point("archived");
    Ok(true)
}

fn taken(schema: &str, name: &str) -> Result<bool, Error> {
    Ok(free_name(&[schema], name)? != name)
}

/// The table and its indexes: the name, and the name with its schema.
fn parts(table: pg_sys::Oid) -> Result<Vec<(String, String)>, Error> {
    let mut found = Vec::new();
    read_once(
        "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.oid = $1 OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = $1)
         ORDER BY c.oid <> $1, c.oid",
        vec![argument(table)],
        |rows| {
            for row in rows {
                if let (Some(schema), Some(name)) = (row.get::<String>(1)?, row.get::<String>(2)?) {
                    found.push((name.clone(), qualified(schema, name)));
                }
            }
            Ok(())
        },
    )?;
    Ok(found)
}
