//! The deltas of one entity into its row, whichever way it can be written.

use super::by_sql;
use super::corrupt::Corrupt;
use super::leaf::row_hash;
use super::merge::{Delta, Fault, Merged, Stored, merge};
use crate::error::Error;
use crate::installed::Installed;
use crate::pg::jsonb::layout_of;
use crate::pg::memory::Scratch;
use crate::pg::projection::{Content, Found, Leaf, Opened, Projection, Written};

/// What became of the deltas of an entity.
pub enum Outcome {
    Written(Merged),
    /// None of them was newer than what is there.
    NotNewer,
    /// Somebody else is writing the row, or has locked it or its table.
    Busy,
    Faulty(Fault),
}

/// The table, and the leaf that was written last.
pub struct Writer {
    projection: Opened<Projection>,
    leaf: Option<(usize, Opened<Leaf>)>,
    scratch: Scratch,
}

impl Writer {
    pub fn open(installed: &Installed) -> Result<Writer, Error> {
        let oid = installed.require_table(crate::installed::Table::Projection)?;
        Ok(Writer {
            projection: Projection::open(oid),
            leaf: None,
            scratch: Scratch::new(),
        })
    }

    /// Where an entity's row is: whoever writes many of them writes those of one place together.
    pub fn place_of(&self, tenant_id: i64, entity_id: i64) -> usize {
        match &self.projection {
            Opened::Open(projection) => projection.leaf_of(row_hash(tenant_id, entity_id)),
            Opened::Special | Opened::Locked => 0,
        }
    }

    /// Never waits for a lock. `deltas`: each attribute once, in order.
    pub fn write(
        &mut self,
        installed: &Installed,
        tenant_id: i64,
        entity_id: i64,
        deltas: &[Delta],
    ) -> Result<Outcome, Error> {
        pgrx::check_for_interrupts!();
        let place = self.place_of(tenant_id, entity_id);
        let projection = match &self.projection {
            Opened::Open(projection) => projection,
            Opened::Special => return by_sql::try_write(installed, tenant_id, entity_id, deltas),
            Opened::Locked => return Ok(Outcome::Busy),
        };
        if self.leaf.as_ref().is_none_or(|(open, _)| *open != place) {
            // The one before is closed first.
            self.leaf = None;
            self.leaf = Some((place, projection.leaf(place)));
        }
        match &mut self.leaf {
            Some((_, Opened::Open(leaf))) => {
                let outcome = write_into(leaf, &self.scratch, tenant_id, entity_id, deltas);
                self.scratch.reset();
                Ok(outcome)
            }
            Some((_, Opened::Special)) => by_sql::try_write(installed, tenant_id, entity_id, deltas),
            _ => Ok(Outcome::Busy),
        }
    }
}

fn write_into(
    leaf: &mut Leaf,
    scratch: &Scratch,
    tenant_id: i64,
    entity_id: i64,
    deltas: &[Delta],
) -> Outcome {
    let row = match leaf.find(tenant_id, entity_id) {
        Found::Nothing => None,
        Found::Busy => return Outcome::Busy,
        Found::Row(row) => Some(row),
    };
    let merged = scratch.within(|| {
        let stored = row.as_ref().map(|row| Stored {
            attrs: row.attrs(),
            times: row.times(),
        });
        merge(stored, deltas, &layout_of)
    });
    let merged = match merged {
        Ok(Some(merged)) => merged,
        Ok(None) => return Outcome::NotNewer,
        Err(fault) => return Outcome::Faulty(fault),
    };
    let content = Content {
        as_of: merged.as_of,
        deleted_at: None,
        attrs: &merged.attrs,
        times: &merged.times,
    };
    let written = match &row {
        Some(row) => leaf.update(row, &content, scratch),
        None => leaf.insert(tenant_id, entity_id, &content, scratch),
    };
    match written {
        Written::Yes => Outcome::Written(merged),
        Written::Busy => Outcome::Busy,
    }
}

impl Fault {
    /// As an error for whoever asked for this entity.
    pub fn of(self, installed: &Installed, tenant_id: i64, entity_id: i64) -> Error {
        let table = installed.qualified(crate::installed::Table::Projection);
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
