//! What this process knows of the attributes. An attribute never changes its tenant or type, and an id is never given out
//! twice, so what was read once stays true; only ids that are new are looked up.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use pgrx::pg_sys;

use super::judge::{Attribute, ValueType};
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::sql::{argument, read};

/// How long an attribute that somebody deleted may go on being accepted.
const TRUSTED_FOR: Duration = Duration::from_secs(60);

/// Ids below this are found by their place.
const DENSE: usize = 1 << 17;

/// Attributes by id.
#[derive(Default)]
pub struct Attributes {
    dense: Vec<Option<Attribute>>,
    sparse: HashMap<i32, Attribute>,
}

impl Attributes {
    #[inline]
    pub fn get(&self, id: i32) -> Option<Attribute> {
        match self.dense.get(id as u32 as usize) {
            Some(found) => *found,
            None => self.sparse.get(&id).copied(),
        }
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
    attributes: Attributes,
    relation: Option<pg_sys::Oid>,
    since: Option<Instant>,
    /// To be forgotten with the transaction.
    provisional: bool,
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// Runs `body` with the attributes, after looking up those of `wanted`, each said once, that are not known. `provisional`: this transaction
/// may have registered some itself, and may yet be rolled back.
pub fn with_attributes<T>(
    installed: &Installed,
    provisional: bool,
    wanted: impl Iterator<Item = i32>,
    body: impl FnOnce(&Attributes) -> T,
) -> Result<T, Error> {
    let relation = installed.require_table(Table::Attributes)?;
    KNOWN.with_borrow_mut(|known| {
        let fresh = known.since.is_some_and(|since| since.elapsed() < TRUSTED_FOR);
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
            for (id, attribute) in look_up(installed, unknown)? {
                known.attributes.put(id, attribute);
            }
        }
        Ok(body(&known.attributes))
    })
}

fn look_up(installed: &Installed, ids: Vec<i32>) -> Result<Vec<(i32, Attribute)>, Error> {
    let text = format!(
        "SELECT attribute_id, tenant_id, value_type FROM {} WHERE attribute_id = ANY ($1)",
        installed.qualified(Table::Attributes)
    );
    read(&text, vec![argument(ids)], |rows| {
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let (Some(id), Some(tenant_id), Some(name)) =
                (row.get::<i32>(1)?, row.get::<i64>(2)?, row.get::<String>(3)?)
            else {
                continue;
            };
            if let Some(value_type) = ValueType::named(&name) {
                let attribute = Attribute {
                    tenant_id,
                    value_type,
                };
                found.push((id, attribute));
            }
        }
        Ok(found)
    })
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
