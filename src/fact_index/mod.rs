//! Indexes of facts: made, made anew and dropped while others write. A partitioned index is made on the parent alone and left
//! invalid; each partition gets its own CONCURRENTLY, one at a time, which is then attached; with the last one the parent becomes
//! valid. What there is to do is read from the catalogs each time (`steps.rs`), so that whoever is killed at any point, and whoever
//! comes next, goes on from what is there.

mod add;
mod brief;
mod build;
mod drop;
mod functions;
mod overview;
mod rebuild;
mod steps;

pub use brief::often_with_partitions as briefly_with_partitions;
pub use build::{is_wanted, next_statement};
pub use steps::steps as unfinished;
