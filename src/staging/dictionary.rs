//! What this process knows of the attributes. An attribute never changes its tenant or type, and an id is never given out
//! twice, so what was read once stays true; only ids that are new are looked up. Whether one is hot can change: whoever changes
//! it from here says so to all processes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use pgrx::pg_sys;
use pgrx::spi::SpiTupleTable;

use super::judge::{Attribute, ValueType};
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::{relation_change, xact};
use crate::sql::{argument, read};

/// How long an attribute that somebody deleted may go on being accepted, or one that somebody made hot by hand stay cold.
const TRUSTED_FOR: Duration = Duration::from_secs(60);

/// Ids below this are found by their place.
const DENSE: usize = 1 << 17;

/// What the projection knows of a hot attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotAttribute {
    pub tenant_id: i64,
    pub value_type: ValueType,
    pub name: Box<str>,
    pub is_searchable: bool,
    /// The attribute that is shared by all and has this name, which this one hides.
    pub shadows: Option<i32>,
    /// Tenants with an attribute of their own that has this name, in order.
    hidden_from: Vec<i64>,
}

impl HotAttribute {
    /// Whether values of this attribute are in the documents of a tenant.
    #[inline]
    pub fn is_shown_to(&self, tenant_id: i64) -> bool {
        self.hidden_from.is_empty() || self.hidden_from.binary_search(&tenant_id).is_err()
    }
}

/// Attributes by id.
#[derive(Default, Clone)]
pub struct Attributes {
    dense: Vec<Option<Attribute>>,
    sparse: HashMap<i32, Attribute>,
    hot: HashMap<i32, HotAttribute>,
}

impl Attributes {
    #[inline]
    pub fn get(&self, id: i32) -> Option<Attribute> {
        match self.dense.get(id as u32 as usize) {
            Some(found) => *found,
            None => self.sparse.get(&id).copied(),
        }
    }

    pub fn hot(&self, id: i32) -> Option<&HotAttribute> {
        self.hot.get(&id)
    }

    fn put(&mut self, id: i32, attribute: Attribute) {
        let place = id as u32 as usize;
        if place >= DENSE {
            self.sparse.insert(id, attribute);
            return;
        }
        if self.dense.len() <= place {
            self.dense.resize(place + 1, None);
        }
        self.dense[place] = Some(attribute);
    }
}

#[derive(Default)]
struct Known {
    attributes: Rc<Attributes>,
    relation: Option<pg_sys::Oid>,
    since: Option<Instant>,
    /// To be forgotten with the transaction.
    provisional: bool,
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// The attributes, after looking up those of `wanted`, each said once, that are not known. `provisional`: this transaction
/// may have registered some itself, and may yet be rolled back.
pub fn attributes(
    installed: &Installed,
    provisional: bool,
    wanted: impl Iterator<Item = i32>,
) -> Result<Rc<Attributes>, Error> {
    let relation = installed.require_table(Table::Attributes)?;
    let unknown = KNOWN.with_borrow_mut(|known| {
        let changed = relation_change::seen(relation);
        let fresh = !changed && known.since.is_some_and(|since| since.elapsed() < TRUSTED_FOR);
        if !fresh || known.provisional || known.relation != Some(relation) {
            *known = Known {
                relation: Some(relation),
                since: Some(Instant::now()),
                ..Known::default()
            };
        }
        let unknown: Vec<i32> = wanted.filter(|id| known.attributes.get(*id).is_none()).collect();
        if !unknown.is_empty() {
            known.provisional = provisional;
        }
        unknown
    });
    let found = if unknown.is_empty() {
        Vec::new()
    } else {
        look_up(installed, unknown)?
    };
    Ok(KNOWN.with_borrow_mut(|known| {
        if !found.is_empty() {
            let attributes = Rc::make_mut(&mut known.attributes);
            for (id, attribute, hot) in found {
                attributes.put(id, attribute);
                attributes.hot.extend(hot.map(|hot| (id, hot)));
            }
        }
        Rc::clone(&known.attributes)
    }))
}

/// The dictionary was changed by this transaction: which attributes are hot, or which hide others. All processes forget
/// what they know once it has committed, before they next write readings; this one at once.
pub fn changed(installed: &Installed) -> Result<(), Error> {
    relation_change::announce(installed.require_table(Table::Attributes)?);
    forget();
    Ok(())
}

/// This process looks up again what it needs.
pub fn forget() {
    KNOWN.with_borrow_mut(|known| known.since = None);
}

type Found = (i32, Attribute, Option<HotAttribute>);

/// Looked up as of now, whatever the snapshot of the transaction: a flush that began with an old one must know which attributes
/// are hot as well as any other.
fn look_up(installed: &Installed, ids: Vec<i32>) -> Result<Vec<Found>, Error> {
    let text = format!(
        "SELECT a.attribute_id, a.tenant_id, a.value_type, a.is_hot, a.name, a.is_searchable,
                CASE WHEN a.is_hot AND a.tenant_id > 0 THEN
                    (SELECT s.attribute_id FROM {0} AS s WHERE s.tenant_id = 0 AND s.name = a.name) END,
                CASE WHEN a.is_hot AND a.tenant_id = 0 THEN
                    ARRAY(SELECT o.tenant_id FROM {0} AS o WHERE o.name = a.name AND o.tenant_id > 0 ORDER BY 1) END
         FROM {0} AS a WHERE a.attribute_id = ANY ($1)",
        installed.qualified(Table::Attributes)
    );
    xact::with_latest_snapshot(|| read(&text, vec![argument(ids)], found))
}

fn found(rows: SpiTupleTable<'_>) -> Result<Vec<Found>, Error> {
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let (Some(id), Some(tenant_id), Some(type_name)) =
            (row.get::<i32>(1)?, row.get::<i64>(2)?, row.get::<&str>(3)?)
        else {
            continue;
        };
        let Some(value_type) = ValueType::named(type_name) else {
            continue;
        };
        let attribute = Attribute {
            tenant_id,
            value_type,
        };
        let hot = if row.get::<bool>(4)? == Some(true) {
            Some(HotAttribute {
                tenant_id,
                value_type,
                name: row.get::<String>(5)?.unwrap_or_default().into_boxed_str(),
                is_searchable: row.get::<bool>(6)? == Some(true),
                shadows: row.get::<i32>(7)?,
                hidden_from: row.get::<Vec<i64>>(8)?.unwrap_or_default(),
            })
        } else {
            None
        };
        found.push((id, attribute, hot));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_every_kind_are_found_again() {
        let mut attributes = Attributes::default();
        let ids = [1, 0, 77, DENSE as i32 - 1, DENSE as i32, i32::MAX, -1, i32::MIN];
        let attribute = |id: i32| Attribute {
            tenant_id: i64::from(id),
            value_type: ValueType::Text,
        };
        for id in ids {
            attributes.put(id, attribute(id));
        }
        for id in ids {
            assert_eq!(attributes.get(id), Some(attribute(id)), "{id}");
        }
        for id in [2, 1000, DENSE as i32 + 1, -2] {
            assert_eq!(attributes.get(id), None, "{id}");
        }
    }
}
