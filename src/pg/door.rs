//! Adding rows to a staging table as COPY does, many at once.

use pgrx::pg_sys;

use super::citus;
use super::layout;
use super::leaf::INSERT_TRIGGERS;
use super::memory::Scratch;
use super::relation::Relation;
use super::slots::{MOST, Slots};
use crate::staging::batch::Batch;

pub struct Door {
    relation: Relation,
}

impl Door {
    /// None where only the executor is right.
    pub fn open(oid: pg_sys::Oid) -> Option<Door> {
        let relation = Relation::open_to_write(oid);
        let plain = relation.is_plain_heap()
            && !relation.is_partition()
            && !relation.has_index()
            && !relation.has_rules()
            && !relation.has_row_security()
            && !relation.has_trigger(INSERT_TRIGGERS, None)
            && relation.may(pg_sys::ACL_INSERT)
            && !citus::is_distributed(oid)
            && layout::is_reading(&relation)
            && layout::takes_every_reading(&relation);
        plain.then_some(Door { relation })
    }

    /// Inserts all rows, in their order, and says how many they are.
    pub fn insert(&self, batch: &mut Batch) -> i64 {
        let scratch = Scratch::new();
        let mut slots = Slots::of(&self.relation);
        let rows = std::mem::take(&mut batch.rows);
        for chunk in rows.chunks(MOST) {
            slots.insert(&self.relation, batch, chunk, &scratch);
            scratch.reset();
        }
        rows.len() as i64
    }
}
