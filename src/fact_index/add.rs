//! Adding an index to facts: what was asked for is checked, and made on the parent. The partitions follow (`steps.rs`).

use pgrx::pg_sys;
use pgrx::spi::{quote_identifier, quote_literal};

use super::brief;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::{identity, index_clause, process, xact};
use crate::sql::{argument, look, read, run, value};
use crate::worker::maintenance::ask_janitor;
use crate::worker::task::BUILD_INDEX;

/// The server cuts longer names.
const LONGEST_NAME: usize = pg_sys::NAMEDATALEN as usize - 1;

pub struct Wanted {
    pub keys: Vec<String>,
    pub method: String,
    pub condition: Option<String>,
    pub include: Vec<String>,
    pub name: Option<String>,
    pub parameters: Vec<(String, String)>,
    pub tablespace: Option<String>,
}

/// Makes the index on the parent, invalid, and returns its name. `caller` is who asked for it, as we work as the owner.
pub fn add(installed: &Installed, wanted: &Wanted, caller_is_owner: bool) -> Result<String, Error> {
    let facts = installed.require_table(Table::Facts)?;
    let statement = statement(installed, facts, wanted)?;
    let (oid, name) = brief::often(installed, "add an index to facts", || {
        // Stronger than CREATE INDEX needs: two that want the same come one after the other.
        run(&format!(
            "LOCK TABLE ONLY {} IN SHARE ROW EXCLUSIVE MODE",
            installed.qualified(Table::Facts)
        ))?;
        if let Some(name) = &wanted.name {
            check_name(installed, name)?;
        }
        let before = indexes(facts)?;
        run(&statement)?;
        let made = indexes(facts)?.into_iter().find(|index| !before.contains(index));
        made.ok_or_else(|| Error::NotRegistered("the index".to_owned()))
    })?;
    check_new(facts, oid)?;
    if !caller_is_owner {
        check_trust(facts, oid)?;
    }
    let database = process::my_database();
    let relation = facts.to_u32();
    xact::after_commit(move || {
        ask_janitor(database, BUILD_INDEX, relation);
    });
    Ok(name)
}

fn statement(installed: &Installed, facts: pg_sys::Oid, wanted: &Wanted) -> Result<String, Error> {
    let columns: Vec<String> = columns(facts)?;
    let check_column = |column: &str| match columns.iter().any(|known| known == column) {
        true => Ok(()),
        false => Err(Error::UnknownColumn {
            column: column.to_owned(),
            columns: columns.join(", "),
        }),
    };
    if wanted.keys.is_empty() {
        return Err(Error::InvalidText {
            argument: "columns",
            fault: "an index needs at least one".to_owned(),
        });
    }
    for text in &wanted.keys {
        let parsed = parsed("columns", text, || Ok(index_clause::key(text)))?;
        let key =
            parsed.ok_or_else(|| not_a_clause("columns", text, "it is more than one key of an index"))?;
        if let Some(column) = &key.column {
            check_column(column)?;
        }
    }
    for column in &wanted.include {
        check_column(column)?;
    }
    if let Some(text) = &wanted.condition
        && !parsed("where_clause", text, || Ok(index_clause::is_condition(text)))?
    {
        return Err(not_a_clause(
            "where_clause",
            text,
            "it is more than one condition",
        ));
    }
    check_method(&wanted.method)?;

    // Each on lines of its own, so that a comment at its end hides nothing.
    let mut statement = format!(
        "CREATE INDEX {} ON ONLY {} USING {} (\n{}\n)",
        wanted.name.as_deref().map(quote_identifier).unwrap_or_default(),
        installed.qualified(Table::Facts),
        quote_identifier(&wanted.method),
        wanted.keys.join("\n,\n")
    );
    let quoted = |names: &[String]| names.iter().map(quote_identifier).collect::<Vec<_>>().join(", ");
    if !wanted.include.is_empty() {
        statement.push_str(&format!(" INCLUDE ({})", quoted(&wanted.include)));
    }
    if !wanted.parameters.is_empty() {
        let parameters: Vec<String> = wanted
            .parameters
            .iter()
            .map(|(name, value)| format!("{} = {}", quote_identifier(name), quote_literal(value)))
            .collect();
        statement.push_str(&format!(" WITH ({})", parameters.join(", ")));
    }
    if let Some(tablespace) = &wanted.tablespace {
        statement.push_str(&format!(" TABLESPACE {}", quote_identifier(tablespace)));
    }
    if let Some(condition) = &wanted.condition {
        statement.push_str(&format!(" WHERE (\n{condition}\n)"));
    }
    Ok(statement)
}

/// What the parser says of a text that it does not understand, with the text.
fn parsed<T>(
    argument: &'static str,
    text: &str,
    parse: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    xact::subtransaction(parse).map_err(|failure| not_a_clause(argument, text, &failure.message))
}

fn not_a_clause(argument: &'static str, text: &str, fault: &str) -> Error {
    Error::NotAClause {
        argument,
        text: text.to_owned(),
        fault: fault.to_owned(),
    }
}

fn columns(facts: pg_sys::Oid) -> Result<Vec<String>, Error> {
    let found: Option<Vec<String>> = read(
        "SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
         WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped",
        vec![argument(facts)],
        value,
    )?;
    Ok(found.unwrap_or_default())
}

fn check_method(method: &str) -> Result<(), Error> {
    if method
        .split_whitespace()
        .any(|word| word.eq_ignore_ascii_case("unique"))
    {
        return Err(Error::UniqueIndex);
    }
    let (known, all): (Option<bool>, Option<String>) = read(
        "SELECT bool_or(amname = $1), string_agg(amname, ', ' ORDER BY amname) FROM pg_am WHERE amtype = 'i'",
        vec![argument(method.to_owned())],
        |rows| Ok(rows.first().get_two()?),
    )?;
    match known {
        Some(true) => Ok(()),
        _ => Err(Error::UnknownMethod {
            method: method.to_owned(),
            methods: all.unwrap_or_default(),
        }),
    }
}

/// Free, and not longer than the server can keep.
fn check_name(installed: &Installed, name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(Error::InvalidText {
            argument: "index_name",
            fault: format!("it must have 1 to {LONGEST_NAME} bytes"),
        });
    }
    let taken: Option<String> = read(
        "SELECT CASE c.relkind WHEN 'i' THEN 'an index' WHEN 'I' THEN 'an index' WHEN 'v' THEN 'a view' WHEN 'S' THEN 'a sequence'
                               ELSE 'a table' END
                || coalesce((SELECT ' on ' || i.indrelid::regclass FROM pg_index i WHERE i.indexrelid = c.oid), '')
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
        vec![argument(installed.schema.clone()), argument(name.to_owned())],
        value,
    )?;
    taken.map_or(Ok(()), |what| {
        Err(Error::NameTaken {
            name: name.to_owned(),
            what,
        })
    })
}

fn indexes(facts: pg_sys::Oid) -> Result<Vec<(pg_sys::Oid, String)>, Error> {
    let mut found = Vec::new();
    read(
        "SELECT c.oid, c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1",
        vec![argument(facts)],
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

/// The same index under another name would only cost.
fn check_new(facts: pg_sys::Oid, made: pg_sys::Oid) -> Result<(), Error> {
    let same = "WITH all_of AS (
                    SELECT i.indexrelid, c.relname, i.indisvalid,
                           substr(d.definition, strpos(d.definition, d.start) + length(d.start)) AS rest
                    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
                         JOIN pg_namespace n ON n.oid = t.relnamespace,
                         LATERAL (SELECT pg_get_indexdef(i.indexrelid) AS definition,
                                         format('%I ON ONLY %I.%I', c.relname, n.nspname, t.relname) AS start) AS d
                    WHERE i.indrelid = $1)
                SELECT o.relname::text, o.indisvalid FROM all_of m JOIN all_of o ON o.rest = m.rest
                WHERE m.indexrelid = $2 AND o.indexrelid <> $2 LIMIT 1";
    read(same, vec![argument(facts), argument(made)], |rows| {
        if rows.is_empty() {
            return Ok(());
        }
        let (name, is_valid) = rows.first().get_two::<String, bool>()?;
        Err(Error::SameIndex {
            name: name.unwrap_or_default(),
            is_complete: is_valid == Some(true),
        })
    })
}

/// The functions, operators and types in an index run as telemetry_owner, at every flush: they must be of somebody who may do
/// what that role may do. What PostgreSQL brings is not among the dependencies.
fn check_trust(facts: pg_sys::Oid, made: pg_sys::Oid) -> Result<(), Error> {
    let text = format!(
        "SELECT pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)
         FROM pg_depend d
         WHERE d.classid = 'pg_class'::regclass AND d.objid = {made} AND d.deptype IN ('n', 'a')
           AND NOT (d.refclassid = 'pg_class'::regclass AND d.refobjid = {facts})
           AND NOT EXISTS (
               SELECT FROM pg_roles r
               WHERE (r.rolsuper OR r.rolname = {owner}) AND r.oid IN (
                   SELECT proowner FROM pg_proc WHERE d.refclassid = 'pg_proc'::regclass AND oid = d.refobjid
                   UNION ALL SELECT oprowner FROM pg_operator WHERE d.refclassid = 'pg_operator'::regclass AND oid = d.refobjid
                   UNION ALL SELECT typowner FROM pg_type WHERE d.refclassid = 'pg_type'::regclass AND oid = d.refobjid
                   UNION ALL SELECT collowner FROM pg_collation WHERE d.refclassid = 'pg_collation'::regclass AND oid = d.refobjid
                   UNION ALL SELECT opcowner FROM pg_opclass WHERE d.refclassid = 'pg_opclass'::regclass AND oid = d.refobjid
                   UNION ALL SELECT opfowner FROM pg_opfamily WHERE d.refclassid = 'pg_opfamily'::regclass AND oid = d.refobjid))
         LIMIT 1",
        made = made.to_u32(),
        facts = facts.to_u32(),
        owner = quote_literal(identity::OWNER)
    );
    let distrusted: Option<String> = look(&text, value)?;
    distrusted.map_or(Ok(()), |what| Err(Error::UntrustedIndex { what }))
}
