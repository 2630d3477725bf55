//! Names of attributes to ids and types, kept in the process: neither ever changes. What a transaction learned that may be its
//! own work is forgotten if that is undone.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use pgrx::pg_sys;

use super::document::Place;
use super::fault::Fault;
use super::near::nearest;
use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Table};
use crate::pg::transaction_end::{End, listen};
use crate::pg::xact;
use crate::registry;
use crate::sql::{argument, read, write};
use crate::staging::judge::ValueType;

/// How long an attribute that somebody deleted, or hid behind one of the tenant's own, may go on being used.
const TRUSTED_FOR: Duration = Duration::from_secs(60);

/// Names that are kept; beyond that, all are forgotten and learned again.
const MOST_KEPT: usize = 200_000;

/// Attributes that one call registers. More are a mistake, and would be there for good.
const MOST_NEW: usize = 1000;

/// Registered names that a message about an unknown one looks through.
const MOST_COMPARED: i64 = 2000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub id: i32,
    pub value_type: ValueType,
}

pub type Names = HashMap<Box<str>, Known>;

/// Where a name first comes up, and what it becomes if it is new.
#[derive(Debug, Clone, Copy)]
pub struct Use {
    pub place: Place,
    pub type_when_new: ValueType,
    pub hot_when_new: bool,
}

#[derive(Default)]
struct Kept {
    relation: Option<pg_sys::Oid>,
    since: Option<Instant>,
    tenants: HashMap<i64, Names>,
    count: usize,
    /// Some may be the work of the running transaction.
    unsure: bool,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
    static LISTENING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body` with the names of the tenant, all of `uses` among them.
pub fn with_names<'a, T>(
    installed: &Installed,
    tenant_id: i64,
    uses: impl Iterator<Item = (&'a str, Use)>,
    body: impl FnOnce(&Names) -> Result<T, Error>,
) -> Result<T, Error> {
    let relation = installed.require_table(Table::Attributes)?;
    let unknown = KEPT.with_borrow_mut(|kept| {
        let fresh = kept.since.is_some_and(|since| since.elapsed() < TRUSTED_FOR);
        if !fresh || kept.relation != Some(relation) || kept.count > MOST_KEPT {
            *kept = Kept {
                relation: Some(relation),
                since: Some(Instant::now()),
                ..Kept::default()
            };
        }
        let known = kept.tenants.entry(tenant_id).or_default();
        let mut unknown = BTreeMap::new();
        for (name, first) in uses.filter(|(name, _)| !known.contains_key(*name)) {
            unknown.entry(name).or_insert(first);
        }
        unknown
    });
    if !unknown.is_empty() {
        learn(installed, tenant_id, unknown)?;
    }
    KEPT.with_borrow_mut(|kept| body(kept.tenants.entry(tenant_id).or_default()))
}

/// After the dictionary was changed from here.
pub fn forget() {
    KEPT.take();
}

fn on_end(end: End) {
    KEPT.with(|kept| {
        // In use only where the process ends in the middle of a call.
        if let Ok(mut kept) = kept.try_borrow_mut()
            && kept.unsure
        {
            match end {
                End::Committed => kept.unsure = false,
                End::Undone => *kept = Kept::default(),
            }
        }
    });
}

fn learn(installed: &Installed, tenant_id: i64, mut unknown: BTreeMap<&str, Use>) -> Result<(), Error> {
    let found = look_up(installed, tenant_id, &unknown)?;
    for (name, _) in &found {
        unknown.remove(name.as_str());
    }
    keep(tenant_id, found);
    if unknown.is_empty() {
        return Ok(());
    }
    check_new(installed, tenant_id, &unknown)?;
    let registered = register(installed, tenant_id, &unknown)?;
    let count = registered.len();
    keep(tenant_id, registered);
    if count < unknown.len() {
        let first = unknown.keys().next().copied().unwrap_or_default();
        return Err(Error::NotRegistered(first.to_owned()));
    }
    Ok(())
}

fn keep(tenant_id: i64, found: Vec<(String, Known)>) {
    if xact::has_id() && !LISTENING.replace(true) {
        listen(on_end);
    }
    KEPT.with_borrow_mut(|kept| {
        kept.unsure |= xact::has_id();
        kept.count += found.len();
        let names = kept.tenants.entry(tenant_id).or_default();
        names.extend(
            found
                .into_iter()
                .map(|(name, known)| (name.into_boxed_str(), known)),
        );
    });
}

/// The tenant's own, and those that are shared by all where it has none.
fn look_up(
    installed: &Installed,
    tenant_id: i64,
    unknown: &BTreeMap<&str, Use>,
) -> Result<Vec<(String, Known)>, Error> {
    let text = format!(
        "SELECT DISTINCT ON (name) name, attribute_id, value_type FROM {}
         WHERE tenant_id = ANY (ARRAY[0, $1]) AND name = ANY ($2) ORDER BY name, tenant_id DESC",
        installed.qualified(Table::Attributes)
    );
    let names: Vec<String> = unknown.keys().map(|name| (*name).to_owned()).collect();
    read(&text, vec![argument(tenant_id), argument(names)], entries)
}

fn entries(rows: pgrx::spi::SpiTupleTable<'_>) -> Result<Vec<(String, Known)>, Error> {
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let (name, id) = (row.get::<String>(1)?, row.get::<i32>(2)?);
        let value_type = row.get::<&str>(3)?.and_then(ValueType::named);
        if let (Some(name), Some(id), Some(value_type)) = (name, id, value_type) {
            found.push((name, Known { id, value_type }));
        }
    }
    Ok(found)
}

fn check_new(installed: &Installed, tenant_id: i64, unknown: &BTreeMap<&str, Use>) -> Result<(), Error> {
    for (name, first) in unknown {
        if let Some(fault) = registry::text_fault(name, registry::LONGEST_NAME) {
            return Err(Fault::Name {
                at: first.place.readings(),
                name: (*name).to_owned(),
                fault,
            }
            .into());
        }
    }
    if guc::auto_register() {
        if unknown.len() > MOST_NEW {
            return Err(Fault::TooMuch {
                what: "attributes that are new",
                count: unknown.len(),
                most: MOST_NEW,
            }
            .into());
        }
        return Ok(());
    }
    let Some((name, first)) = unknown.iter().next() else {
        return Ok(());
    };
    let registered = registered_names(installed, tenant_id)?;
    Err(Fault::Unknown {
        at: first.place.readings(),
        tenant_id,
        name: (*name).to_owned(),
        others: unknown.len() - 1,
        near: nearest(name, registered.iter().map(String::as_str)),
    }
    .into())
}

/// Those that a message about an unknown one looks through.
pub fn registered_names(installed: &Installed, tenant_id: i64) -> Result<Vec<String>, Error> {
    let text = format!(
        "SELECT name FROM {} WHERE tenant_id = ANY (ARRAY[0, $1]) LIMIT $2",
        installed.qualified(Table::Attributes)
    );
    read(
        &text,
        vec![argument(tenant_id), argument(MOST_COMPARED)],
        |rows| {
            let mut names = Vec::with_capacity(rows.len());
            for row in rows {
                names.extend(row.get::<String>(1)?);
            }
            Ok(names)
        },
    )
}

/// In the order of their names, whatever their order in the document: two sessions that register the same names wait for
/// each other once, and not in a circle. The update that changes nothing gives back what another session made meanwhile.
fn register(
    installed: &Installed,
    tenant_id: i64,
    unknown: &BTreeMap<&str, Use>,
) -> Result<Vec<(String, Known)>, Error> {
    let text = format!(
        "INSERT INTO {} AS known (tenant_id, name, value_type, is_hot)
         SELECT $1, new.name, new.value_type, new.is_hot
         FROM unnest($2, $3, $4) WITH ORDINALITY AS new (name, value_type, is_hot, place) ORDER BY place
         ON CONFLICT (tenant_id, name) DO UPDATE SET name = known.name RETURNING name, attribute_id, value_type",
        installed.qualified(Table::Attributes)
    );
    let names: Vec<String> = unknown.keys().map(|name| (*name).to_owned()).collect();
    let types: Vec<&'static str> = unknown.values().map(|first| first.type_when_new.name()).collect();
    let hot: Vec<bool> = unknown.values().map(|first| first.hot_when_new).collect();
    write(
        &text,
        vec![
            argument(tenant_id),
            argument(names),
            argument(types),
            argument(hot),
        ],
        entries,
    )
}
