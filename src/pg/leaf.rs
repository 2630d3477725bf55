//! Writing readings straight into one partition. Only where the executor would do nothing else; where it would, the caller
//! has the executor do it.

use pgrx::pg_sys;

use super::index::Index;
use super::layout;
use super::memory::Scratch;
use super::relation::Relation;
use super::slots::{MOST, Slots};
use crate::staging::batch::{Batch, Row};

/// What INSERT fires.
pub const INSERT_TRIGGERS: u32 = pg_sys::TRIGGER_TYPE_INSERT;

/// Whether INSERT into the partitioned table is no more than INSERT into its partitions.
pub fn parent_is_plain(facts: pg_sys::Oid) -> bool {
    let parent = Relation::open_to_write(facts);
    parent.is_partitioned()
        && !parent.has_rules()
        && !parent.has_row_security()
        && !parent.has_trigger(INSERT_TRIGGERS, None)
        && parent.may(pg_sys::ACL_INSERT)
        && layout::is_reading(&parent)
}

pub struct Leaf {
    relation: Relation,
    indexes: Vec<Index>,
}

impl Leaf {
    /// None where only the executor is right. To be opened after its parent, for which DETACH waits.
    pub fn open(oid: pg_sys::Oid) -> Option<Leaf> {
        let relation = Relation::open_to_write(oid);
        let plain = relation.is_plain_heap()
            && relation.is_partition()
            && !relation.has_trigger(INSERT_TRIGGERS, None)
            && layout::is_reading(&relation)
            && layout::takes_every_reading(&relation);
        if !plain {
            return None;
        }
        let indexes = Index::of(&relation)?;
        Some(Leaf { relation, indexes })
    }

    /// Inserts rows that the judge let pass, in the order given.
    pub fn insert(&self, batch: &mut Batch, rows: &[Row], slots: &mut Slots, scratch: &Scratch) {
        let mut places = Vec::with_capacity(if self.indexes.is_empty() { 0 } else { rows.len() });
        for chunk in rows.chunks(MOST) {
            slots.insert(&self.relation, batch, chunk, scratch);
            if !self.indexes.is_empty() {
                places.extend(slots.places(chunk.len()));
            }
            scratch.reset();
        }
        for index in &self.indexes {
            index.insert(&self.relation, batch, rows, &places, scratch);
        }
    }
}
