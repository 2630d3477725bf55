//! The leaves of the projection to be read, each as soon as something in it is.

use super::leaf::row_hash;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::projection::{ReadLeaf, Reader};

pub struct Leaves {
    reader: Reader,
    open: Vec<Option<ReadLeaf>>,
}

impl Leaves {
    /// None where only the executor is right.
    pub fn open(installed: &Installed) -> Result<Option<Leaves>, Error> {
        let reader = Reader::open(installed.require_table(Table::Projection)?);
        Ok(reader.map(|reader| Leaves {
            reader,
            open: Vec::new(),
        }))
    }

    /// The one in which an entity is. None where only the executor is right.
    pub fn of(&mut self, tenant_id: i64, entity_id: i64) -> Option<&mut ReadLeaf> {
        let place = self.reader.leaf_of(row_hash(tenant_id, entity_id));
        if self.open.len() <= place {
            self.open.resize_with(place + 1, || None);
        }
        let leaf = &mut self.open[place];
        if leaf.is_none() {
            *leaf = self.reader.leaf(place);
        }
        leaf.as_mut()
    }
}
