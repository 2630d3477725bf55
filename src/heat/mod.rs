//! Which attributes are asked for, filtered by and written: counters in shared memory, written down by the keeper.

mod counters;
mod functions;
pub mod keeper;
mod sampling;

pub use counters::{Heat, Key};
pub use sampling::Sampler;

use crate::pg::process;
use crate::shmem;

/// What is done with an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    Asked,
    Filtered,
    Written,
}

/// Counts one use. For next to nothing, and without an effect where nothing is preloaded.
pub fn count(tenant_id: i64, attribute_id: i32, what: Use) {
    count_many(tenant_id, attribute_id, what, 1);
}

pub fn count_many(tenant_id: i64, attribute_id: i32, what: Use, times: u64) {
    let key = Key {
        database: process::my_database(),
        attribute_id,
        tenant_id,
    };
    // A reader of the structure may count as well: its numbers are atomic. A place for a new attribute needs it alone.
    let counted = shmem::look_at_heat(|heat| heat.count(key, what, times));
    if counted == Some(false) {
        shmem::change_heat(|heat| heat.enter(key, what, times));
    }
}
