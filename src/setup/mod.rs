//! setup(): makes the data tables or adopts those that are there. They are no members of the extension, so that DROP
//! EXTENSION leaves every reading where it is and a dump carries whatever users added to them.

mod release;
mod tables;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::Error;
use crate::installed::Installed;
use crate::partition::create::{Parent, ensure_ahead};
use crate::partition::state;
use crate::pg::{extension_script, identity, process, settings, xact};
use crate::sql::{argument, read, run, value};
use crate::{shmem, version};
use tables::{DATA_TABLES, DataTable};

/// What setup() did with one object.
type Row = (String, String);

#[pg_extern]
fn setup() -> Result<TableIterator<'static, (name!(object, String), name!(outcome, String))>, ErrorReport> {
    Ok(TableIterator::new(run_setup()?))
}

fn run_setup() -> Result<Vec<Row>, Error> {
    xact::check_writable()?;
    let installed = Installed::find()?.ok_or(Error::NotInstalled)?;
    version::check(&installed.version)?;

    // The launcher looks for the extension in this database as soon as others can see it.
    let database = process::my_database();
    xact::after_commit(move || shmem::notice(database));

    if extension_script::is_running() && settings::is_restore_session() {
        notice!(
            "row_security is off, as in a restore: the data tables are left to it; if this is none, call setup()"
        );
        return Ok(vec![("data tables".into(), "left to the restore".into())]);
    }

    let owner = identity::owner()?;
    if !identity::may_act_as(owner) {
        return Err(Error::MayNotSetUp);
    }
    identity::acting_as(owner, || extension_script::outside(|| make_or_adopt(&installed)))
}

fn make_or_adopt(installed: &Installed) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for table in DATA_TABLES {
        rows.push(table_row(installed, table)?);
    }
    for parent in [Parent::Facts, Parent::Rejected] {
        let made = ensure_ahead(installed, parent)?;
        if made > 0 {
            rows.push((
                installed.qualified(parent.table()),
                format!("{made} partitions created"),
            ));
        }
    }
    // Partitions of an earlier installation.
    state::adopt(installed)?;
    Ok(rows)
}

fn table_row(installed: &Installed, table: &DataTable) -> Result<Row, Error> {
    let name = installed.qualified(table.table);
    let adopted = installed.table_oid(table.table)?.is_some();
    if adopted {
        check_adoptable(installed, table, &name)?;
    } else {
        run_script(installed, table.create)?;
    }
    // For an adopted table as well: workers wait for its triggers.
    for guard in table.guards {
        if !guard.exists(installed, table.table)? {
            run_script(installed, guard.script)?;
        }
    }
    Ok((name, if adopted { "adopted" } else { "created" }.into()))
}

/// A table of an earlier installation has our owner and our columns, whatever else users added to it.
fn check_adoptable(installed: &Installed, table: &DataTable, name: &str) -> Result<(), Error> {
    let refuse = |fault: String| {
        Err(Error::CannotAdopt {
            relation: name.to_owned(),
            fault,
        })
    };
    let owner: Option<String> = read(
        "SELECT pg_get_userbyid(c.relowner)::text
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')",
        vec![argument(installed.schema.clone()), argument(table.table.name())],
        value,
    )?;
    match owner.as_deref() {
        None => return refuse("it is not a table".into()),
        Some(identity::OWNER) => {}
        Some(other) => return refuse(format!("it belongs to {other}")),
    }
    let faults: Option<String> = read(
        "SELECT string_agg(format('%s %s', w.name, w.type), ', ')
         FROM unnest($3::text[], $4::text[]) AS w (name, type)
         WHERE NOT EXISTS (
             SELECT FROM pg_attribute a
                 JOIN pg_class c ON c.oid = a.attrelid
                 JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = $1 AND c.relname = $2 AND NOT a.attisdropped
               AND a.attname = w.name AND a.atttypid = w.type::regtype)",
        vec![
            argument(installed.schema.clone()),
            argument(table.table.name()),
            argument(table.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>()),
            argument(table.columns.iter().map(|(_, kind)| *kind).collect::<Vec<_>>()),
        ],
        value,
    )?;
    match faults {
        Some(columns) => refuse(format!("it lacks {columns}")),
        None => Ok(()),
    }
}

fn run_script(installed: &Installed, script: &str) -> Result<(), Error> {
    run(&script.replace("@extschema@", &installed.quoted_schema()))
}
