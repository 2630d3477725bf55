//! release_tables(): the tables become plain tables of PostgreSQL. They were never members of the extension; what goes is what
//! keeps them for us: the triggers, without which workers stand still as well. setup() brings it all back.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use super::Row;
use super::tables::{DATA_TABLES, Guard, GuardKind};
use crate::error::Error;
use crate::fact_index;
use crate::installed::{DOORS, Installed, Table};
use crate::partition::lacks::{Kind, lacks};
use crate::pg::{identity, xact};
use crate::sql::{argument, look, read, read_once, run, value};

#[pg_extern]
fn release_tables(
    new_owner: Option<String>,
    even_if_staged: Option<bool>,
) -> Result<TableIterator<'static, (name!(object, String), name!(outcome, String))>, ErrorReport> {
    xact::check_writable()?;
    let installed = Installed::require()?;
    if !identity::may_act_as(identity::owner()?) {
        return Err(Error::MayNotRelease.into());
    }
    // An older snapshot would not show what was staged a moment ago.
    if !xact::is_read_committed() {
        return Err(Error::NotReadCommitted("release_tables()").into());
    }
    if let Some(role) = &new_owner {
        check_role(role)?;
    }
    let rows = release(&installed, new_owner.as_deref(), even_if_staged == Some(true))?;
    Ok(TableIterator::new(rows))
}

/// As the caller, who is entitled to all of it: only somebody who may act as both can give a table from one to the other.
fn release(installed: &Installed, new_owner: Option<&str>, even_if_staged: bool) -> Result<Vec<Row>, Error> {
    let tables = tables(installed)?;
    fact_index::briefly_with_partitions(installed, "release the tables", || {
        let mut locked: Vec<&str> = Vec::new();
        if new_owner.is_some() {
            locked.extend(tables.iter().map(|(_, name)| name.as_str()));
        }
        for table in DATA_TABLES {
            if table.guards.iter().any(|guard| guard.kind == GuardKind::Trigger) {
                locked.push(name_of(&tables, installed, table.table)?);
            }
        }
        run(&format!(
            "LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE",
            locked.join(", ONLY ")
        ))
    })?;
    let mut rows = Vec::new();
    xact::with_snapshot(|| {
        for door in DOORS {
            let name = name_of(&tables, installed, door)?;
            let staged: Option<bool> = look(&format!("SELECT EXISTS (SELECT FROM {name})"), value)?;
            if staged == Some(true) {
                if !even_if_staged {
                    return Err(Error::RowsStaged(name.to_owned()));
                }
                rows.push((
                    name.to_owned(),
                    "holds rows that were not flushed; they stay there".to_owned(),
                ));
            }
        }
        Ok(())
    })?;
    unguard(installed, &mut rows)?;
    for (_, name) in &tables {
        let outcome = match new_owner {
            Some(role) => {
                run(&format!("ALTER TABLE {name} OWNER TO {}", quote_identifier(role)))?;
                format!("belongs to {role} now")
            }
            None => "stays with telemetry_owner".to_owned(),
        };
        rows.push((name.clone(), outcome));
    }
    left_to_do(installed, &tables, &mut rows)?;
    Ok(rows)
}

fn check_role(role: &str) -> Result<(), Error> {
    let known: Option<bool> = read(
        "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)",
        vec![argument(role.to_owned())],
        value,
    )?;
    match known {
        Some(true) => Ok(()),
        _ => Err(Error::NoSuchRole(role.to_owned())),
    }
}

/// The data tables that are there, and all partitions; those also that were detached and kept.
fn tables(installed: &Installed) -> Result<Vec<(pg_sys::Oid, String)>, Error> {
    let names: Vec<&str> = DATA_TABLES.iter().map(|table| table.table.name()).collect();
    let mut found = Vec::new();
    read_once(
        "SELECT c.oid, format('%I.%I', n.nspname, c.relname)
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.oid IN (
             SELECT t.relid FROM pg_class r JOIN pg_namespace m ON m.oid = r.relnamespace, pg_partition_tree(r.oid) t
             WHERE m.nspname = $1 AND r.relname = ANY ($2::text[])
             UNION ALL
             SELECT r.oid FROM pg_class r JOIN pg_namespace m ON m.oid = r.relnamespace
             WHERE r.relkind IN ('r', 'p')
               AND (m.nspname = $1 AND r.relname = ANY ($2::text[])
                    OR r.relname ~ '^entity_values_(ts|rejected)_p[0-9]' AND (m.nspname = $1 OR pg_get_userbyid(r.relowner) = $3)))
         ORDER BY n.nspname, c.relname",
        vec![
            argument(installed.schema.clone()),
            argument(names),
            argument(identity::OWNER),
        ],
        |rows| {
            for row in rows {
                if let (Some(oid), Some(name)) = (row.get(1)?, row.get(2)?) {
                    found.push((oid, name));
                }
            }
            Ok(())
        },
    )?;
    Ok(found)
}

fn name_of<'a>(
    tables: &'a [(pg_sys::Oid, String)],
    installed: &Installed,
    table: Table,
) -> Result<&'a str, Error> {
    let oid = installed.require_table(table)?;
    let found = tables.iter().find(|(known, _)| *known == oid);
    found
        .map(|(_, name)| name.as_str())
        .ok_or_else(|| Error::TableMissing(installed.qualified(table)))
}

fn unguard(installed: &Installed, rows: &mut Vec<Row>) -> Result<(), Error> {
    let mut functions: Vec<&Guard> = Vec::new();
    for table in DATA_TABLES {
        for guard in table.guards {
            if guard.kind == GuardKind::Function {
                functions.push(guard);
            } else if guard.kind == GuardKind::Trigger && guard.exists(installed, table.table)? {
                let (trigger, name) = (quote_identifier(guard.name), installed.qualified(table.table));
                run(&format!("DROP TRIGGER {trigger} ON {name}"))?;
                rows.push((name, format!("trigger {trigger} dropped")));
            }
        }
    }
    functions.dedup_by_key(|guard| guard.name);
    for guard in functions {
        let name = installed.qualify(guard.name);
        let unused: Option<bool> = read(
            "SELECT NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgfoid = p.oid)
             FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
             WHERE n.nspname = $1 AND p.proname = $2 AND p.pronargs = 0",
            vec![argument(installed.schema.clone()), argument(guard.name)],
            value,
        )?;
        match unused {
            Some(true) => {
                run(&format!("DROP FUNCTION {name}()"))?;
                rows.push((format!("{name}()"), "dropped".to_owned()));
            }
            Some(false) => rows.push((
                format!("{name}()"),
                "stays: a trigger of yours calls it".to_owned(),
            )),
            None => {}
        }
    }
    Ok(())
}

/// What only a person can do, or should know.
fn left_to_do(
    installed: &Installed,
    tables: &[(pg_sys::Oid, String)],
    rows: &mut Vec<Row>,
) -> Result<(), Error> {
    let facts = installed.require_table(Table::Facts)?;
    let mut add = |text: &str| {
        read_once(
            text,
            vec![argument(facts), argument(installed.extension)],
            |found| {
                for row in found {
                    if let (Some(object), Some(outcome)) = (row.get(1)?, row.get(2)?) {
                        rows.push((object, outcome));
                    }
                }
                Ok(())
            },
        )
    };
    add("SELECT h.inhrelid::regclass::text,
                format('left to you: ALTER TABLE %s DETACH PARTITION %s FINALIZE', $1::oid::regclass, h.inhrelid::regclass)
         FROM pg_inherits h WHERE h.inhparent = $1 AND h.inhdetachpending AND $2 IS NOT NULL")?;
    add("SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid),
                'uses ' || pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid) || ', which goes with DROP EXTENSION: drop or change it first'
         FROM pg_depend m JOIN pg_depend d ON d.refclassid = m.classid AND d.refobjid = m.objid
         WHERE m.refclassid = 'pg_extension'::regclass AND m.refobjid = $2 AND m.deptype = 'e' AND d.deptype = 'n'
           AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e')
           -- The rule of a view stands for the view.
           AND NOT EXISTS (SELECT FROM pg_rewrite r JOIN pg_depend e ON e.classid = 'pg_class'::regclass AND e.objid = r.ev_class
                           WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND e.deptype = 'e')
           AND $1 IS NOT NULL")?;
    add("SELECT split_part(o.setting, '=', 1),
                'left to you: ALTER '
                || CASE WHEN s.setrole = 0 AND s.setdatabase <> 0 THEN format('DATABASE %I', d.datname)
                        ELSE 'ROLE ' || coalesce(quote_ident(r.rolname), 'ALL') || coalesce(' IN DATABASE ' || quote_ident(d.datname), '') END
                || ' RESET ' || split_part(o.setting, '=', 1)
         FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_roles r ON r.oid = s.setrole,
              unnest(s.setconfig) AS o (setting)
         WHERE o.setting LIKE 'pg\\_telemetry.%' AND (d.datname IS NULL OR d.datname = current_database())
           AND $1 IS NOT NULL AND $2 IS NOT NULL")?;
    for step in fact_index::unfinished(installed)? {
        rows.push((step.index, format!("left to you: {}", step.statement)));
    }
    for lack in lacks(facts, true)? {
        let Some(remedy) = lack
            .remedy
            .filter(|_| matches!(lack.kind, Kind::Setting | Kind::Privilege))
        else {
            continue;
        };
        if let Some((_, leaf)) = tables.iter().find(|(known, _)| *known == lack.leaf) {
            rows.push((leaf.clone(), format!("lacks {}: {remedy}", lack.what)));
        }
    }
    Ok(())
}
