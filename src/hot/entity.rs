//! The row of one entity, read and written anew in one go, whichever way that can be done.

use super::by_sql;
use super::corrupt::Corrupt;
use super::leaf::row_hash;
use super::merge::{Fault, Merged, Stored};
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::memory::Scratch;
use crate::pg::projection::{Content, Found, Leaf, Opened, Projection, Written};

/// What became of it.
pub enum Outcome {
    /// With the place at which an index finds it, 0 where that is not known.
    Written(Merged, u64),
    /// There was nothing to be written.
    AsItWas,
    /// Somebody else is writing the row, or has locked it or its table.
    Busy,
}

/// An entity as it is stored; nothing for one that has no row.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub stored: Option<Stored<'a>>,
    pub is_deleted: bool,
}

/// Makes of what is stored what is to be stored; None: nothing is to be written. May be called more than once.
pub type Change<'c> = &'c mut dyn FnMut(View) -> Result<Option<Merged>, Error>;

/// Rows after which memory is freed, unless one of them was large.
const FREED_AFTER: u32 = 32;
const LARGE: usize = 4096;

/// The table, and the leaf that was written last.
pub struct Writer {
    projection: Opened<Projection>,
    leaf: Option<(usize, Opened<Leaf>)>,
    scratch: Scratch,
    /// Rows since memory was freed.
    rows: u32,
}

impl Writer {
    pub fn open(installed: &Installed) -> Result<Writer, Error> {
        Ok(Writer {
            projection: Projection::open(installed.require_table(Table::Projection)?),
            leaf: None,
            scratch: Scratch::new(),
            rows: 0,
        })
    }

    /// Where an entity's row is: whoever writes many of them writes those of one place together.
    pub fn place_of(&self, tenant_id: i64, entity_id: i64) -> usize {
        match &self.projection {
            Opened::Open(projection) => projection.leaf_of(row_hash(tenant_id, entity_id)),
            Opened::Special | Opened::Locked => 0,
        }
    }

    /// Never waits for a lock.
    pub fn write(
        &mut self,
        installed: &Installed,
        tenant_id: i64,
        entity_id: i64,
        change: Change,
    ) -> Result<Outcome, Error> {
        pgrx::check_for_interrupts!();
        let place = self.place_of(tenant_id, entity_id);
        let projection = match &self.projection {
            Opened::Open(projection) => projection,
            Opened::Special => return by_sql::try_write(installed, tenant_id, entity_id, change),
            Opened::Locked => return Ok(Outcome::Busy),
        };
        if self.leaf.as_ref().is_none_or(|(open, _)| *open != place) {
            // The one before is closed first.
            self.leaf = None;
            self.leaf = Some((place, projection.leaf(place)));
        }
        match &mut self.leaf {
            Some((_, Opened::Open(leaf))) => {
                let outcome = write_into(leaf, &self.scratch, tenant_id, entity_id, change);
                let large = matches!(&outcome, Ok(Outcome::Written(merged, _)) if merged.attrs.len() > LARGE);
                self.rows += 1;
                if large || self.rows >= FREED_AFTER {
                    self.rows = 0;
                    self.scratch.reset();
                }
                outcome
            }
            Some((_, Opened::Special)) => by_sql::try_write(installed, tenant_id, entity_id, change),
            _ => Ok(Outcome::Busy),
        }
    }
}

fn write_into(
    leaf: &mut Leaf,
    scratch: &Scratch,
    tenant_id: i64,
    entity_id: i64,
    change: Change,
) -> Result<Outcome, Error> {
    let row = match leaf.find(tenant_id, entity_id) {
        Found::Nothing => None,
        Found::Busy => return Ok(Outcome::Busy),
        Found::Row(row) => Some(row),
    };
    let merged = scratch.within(|| {
        change(View {
            stored: row.as_ref().map(|row| Stored {
                attrs: row.attrs(),
                times: row.times(),
            }),
            is_deleted: row.as_ref().is_some_and(|row| row.is_deleted()),
        })
    })?;
    let Some(merged) = merged else {
        return Ok(Outcome::AsItWas);
    };
    let content = Content {
        as_of: merged.as_of,
        attrs: &merged.attrs,
        times: &merged.times,
    };
    let written = match &row {
        Some(row) => leaf.update(row, &content, scratch),
        None => leaf.insert(tenant_id, entity_id, &content, scratch),
    };
    Ok(match written {
        Written::At(place) => Outcome::Written(merged, place),
        Written::Busy => Outcome::Busy,
    })
}

impl Fault {
    /// As an error about this entity.
    pub fn of(self, installed: &Installed, tenant_id: i64, entity_id: i64) -> Error {
        let table = installed.qualified(Table::Projection);
        match self {
            Fault::Corrupt(Corrupt(fault)) => Error::CorruptDocument {
                table,
                tenant_id,
                entity_id,
                fault,
            },
            Fault::TooLarge => Error::DocumentTooLarge {
                table,
                tenant_id,
                entity_id,
            },
        }
    }
}
