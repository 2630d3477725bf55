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
    count_many([((tenant_id, attribute_id), 1)], what);
}

/// Counts uses of several attributes, (tenant, attribute) and how many times each.
pub fn count_many(uses: impl IntoIterator<Item = ((i64, i32), u64)>, what: Use) {
    let database = process::my_database();
    let key = |(tenant_id, attribute_id)| Key {
        database,
        attribute_id,
        tenant_id,
    };
    let mut uses = uses.into_iter();
    let mut next = uses.next();
    while next.is_some() {
        // A reader of the structure may count as well: its numbers are atomic. A place for a new attribute needs it alone.
        let known = shmem::look_at_heat(|heat| {
            while let Some((attribute, times)) = next
                && heat.count(key(attribute), what, times)
            {
                next = uses.next();
            }
        });
        if known.is_none() {
            return;
        }
        if let Some((attribute, times)) = next {
            shmem::change_heat(|heat| heat.enter(key(attribute), what, times));
            next = uses.next();
        }
    }
}
