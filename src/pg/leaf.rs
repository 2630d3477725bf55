//! Writing readings straight into one partition. Only where the executor would do nothing else; where it would, the caller
//! has the executor do it.

use pgrx::pg_sys;

use super::citus;
use super::fault;
use super::index::Index;
use super::layout;
use super::memory::Scratch;
use super::relation::Relation;
use super::slots::{MOST, Slots};
use crate::staging::batch::{Batch, Row};

/// What INSERT fires.
pub const INSERT_TRIGGERS: u32 = pg_sys::TRIGGER_TYPE_INSERT;

/// Whether INSERT into the partitioned facts is no more than INSERT into their partitions.
pub fn parent_is_plain(facts: pg_sys::Oid) -> bool {
    is_plain_parent(facts, layout::is_reading)
}

/// The same of the partitioned rejected readings.
pub fn rejected_parent_is_plain(rejected: pg_sys::Oid) -> bool {
    is_plain_parent(rejected, layout::is_rejected)
}

fn is_plain_parent(oid: pg_sys::Oid, has_our_columns: fn(&Relation) -> bool) -> bool {
    let parent = Relation::open_to_write(oid);
    parent.is_partitioned()
        && !parent.has_rules()
        && !parent.has_row_security()
        && !parent.has_trigger(INSERT_TRIGGERS, None)
        && parent.may(pg_sys::ACL_INSERT)
        && !citus::is_distributed(oid)
        && has_our_columns(&parent)
}

fn open_plain(oid: pg_sys::Oid) -> Option<Relation> {
    let relation = Relation::open_to_write(oid);
    let plain =
        relation.is_plain_heap() && relation.is_partition() && !relation.has_trigger(INSERT_TRIGGERS, None);
    plain.then_some(relation)
}

pub struct Leaf {
    relation: Relation,
    indexes: Vec<Index>,
}

impl Leaf {
    /// None where only the executor is right. To be opened after its parent, for which DETACH waits.
    pub fn open(oid: pg_sys::Oid) -> Option<Leaf> {
        let relation = open_plain(oid)?;
        if !layout::is_reading(&relation) || !layout::takes_every_reading(&relation) {
            return None;
        }
        let indexes = Index::of(&relation)?;
        Some(Leaf { relation, indexes })
    }

    /// The same for a partition of rejected readings. They have no index unless a user made one, and then the executor
    /// takes care of it.
    pub fn open_rejected(oid: pg_sys::Oid) -> Option<Leaf> {
        let relation = open_plain(oid)?;
        let plain = layout::is_rejected(&relation)
            && layout::takes_every_rejected(&relation)
            && !relation.has_index();
        plain.then_some(Leaf {
            relation,
            indexes: Vec::new(),
        })
    }

    /// Inserts rows in the order given.
    pub fn insert(&self, batch: &mut Batch, rows: &[Row], slots: &mut Slots, scratch: &Scratch) {
        fault::point("before_leaf");
        #[cfg(all(feature = "pg15", target_os = "linux"))]
        super::growth::make_room(&self.relation, batch, rows);
        fault::point("after_room");
        let mut places = Vec::with_capacity(if self.indexes.is_empty() { 0 } else { rows.len() });
        for chunk in rows.chunks(MOST) {
            slots.insert(&self.relation, batch, chunk, scratch);
            if !self.indexes.is_empty() {
                places.extend(slots.places(chunk.len()));
            }
            scratch.reset();
        }
        fault::point("after_heap");
        for index in &self.indexes {
            fault::point("before_index");
            index.insert(&self.relation, batch, rows, &places, scratch);
            fault::point("after_index");
        }
    }
}
