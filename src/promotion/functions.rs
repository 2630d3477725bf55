//! `promote_attribute()`, `demote_attribute()` and `build_attributes()`.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::build::step;
use crate::error::Error;
use crate::find::Fault;
use crate::ingest::names::registered_names;
use crate::ingest::near::nearest;
use crate::installed::{Installed, Table};
use crate::pg::{identity, xact};
use crate::registry::{required, tenant_at_least};
use crate::sql::{argument, read, value, write};
use crate::staging::dictionary;

#[pg_extern]
fn promote_attribute(
    tenant_id: Option<i64>,
    name: Option<&str>,
    searchable: Option<bool>,
) -> Result<(), ErrorReport> {
    let searchable = required(searchable, "searchable")?;
    Ok(change(tenant_id, name, true, searchable)?)
}

#[pg_extern]
fn demote_attribute(tenant_id: Option<i64>, name: Option<&str>) -> Result<(), ErrorReport> {
    Ok(change(tenant_id, name, false, false)?)
}

fn change(
    tenant_id: Option<i64>,
    name: Option<&str>,
    is_hot: bool,
    is_searchable: bool,
) -> Result<(), Error> {
    let tenant_id = tenant_at_least(tenant_id, 0, "0 (shared by all tenants) and above")?;
    let name = required(name, "name")?;
    identity::as_owner(|| {
        xact::check_writable()?;
        let installed = Installed::require()?;
        installed.require_table(Table::AttributeBuilds)?;
        let id = known(&installed, tenant_id, name, is_searchable)?;
        let changed: Option<i32> = write(
            &format!(
                "UPDATE {} SET is_hot = $2, is_searchable = $3
                 WHERE attribute_id = $1 AND (is_hot, is_searchable) IS DISTINCT FROM ($2, $3) RETURNING attribute_id",
                installed.qualified(Table::Attributes)
            ),
            vec![argument(id), argument(is_hot), argument(is_searchable)],
            value,
        )?;
        if changed.is_none() {
            return Ok(());
        }
        // A trigger has written down what is to be done, as for whoever changes the flags by hand.
        write(
            &format!(
                "UPDATE {} SET is_announced = true WHERE attribute_id = $1",
                installed.qualified(Table::AttributeBuilds)
            ),
            vec![argument(id)],
            |_| Ok(()),
        )?;
        dictionary::changed(&installed)
    })
}

fn known(installed: &Installed, tenant_id: i64, name: &str, is_searchable: bool) -> Result<i32, Error> {
    let text = format!(
        "SELECT attribute_id, tenant_id, value_type FROM {} WHERE tenant_id = ANY (ARRAY[0, $1]) AND name = $2
         ORDER BY tenant_id DESC LIMIT 1",
        installed.qualified(Table::Attributes)
    );
    let found = read(
        &text,
        vec![argument(tenant_id), argument(name.to_owned())],
        |rows| {
            if rows.is_empty() {
                return Ok(None);
            }
            let (id, tenant, value_type) = rows.first().get_three::<i32, i64, String>()?;
            Ok(id.zip(tenant).zip(value_type))
        },
    )?;
    let name = name.to_owned();
    match found {
        None => {
            let registered = registered_names(installed, tenant_id)?;
            let near = nearest(&name, registered.iter().map(String::as_str));
            Err(Fault::Unknown {
                tenant_id,
                name,
                near,
            }
            .into())
        }
        Some(((_, of), _)) if of != tenant_id => Err(Fault::Shared { name }.into()),
        Some((_, value_type)) if is_searchable && value_type == "json" => {
            Err(Fault::NotSearchable { name }.into())
        }
        Some(((id, _), _)) => Ok(id),
    }
}

/// For those who have no janitor; returns how many attributes are not done yet.
#[pg_extern]
fn build_attributes(max_entities: Option<i64>) -> Result<i64, ErrorReport> {
    let most = required(max_entities, "max_entities")?;
    if most < 1 {
        return Err(Error::OutOfRange {
            argument: "max_entities",
            value: most,
            allowed: "1 and above",
        }
        .into());
    }
    Ok(identity::as_owner(|| {
        xact::check_writable()?;
        let installed = Installed::require()?;
        step(&installed, most)?;
        let text = format!(
            "SELECT count(*) FROM {} WHERE finished_at IS NULL",
            installed.qualified(Table::AttributeBuilds)
        );
        let left: Option<i64> = write(&text, vec![], value)?;
        Ok(left.unwrap_or(0))
    })?)
}
