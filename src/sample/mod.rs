//! Samples over time: what statements, tables and indexes did between two looks, WAL and checkpoints, sizes, the share of each
//! tenant. Taken by the keeper, or by `take_samples()`, into partitions by the day that go by age and by size.
//!
//! What is kept are differences and not the counters of the server: a sum over any time is right whatever was reset meanwhile, the
//! oldest partition can go without taking the base of the others along, and what nobody used costs nothing.

mod baseline;
mod indexes;
mod relations;
mod room;
mod server;
mod sizes;
mod statements;
pub mod task;
mod tenants;
mod turn;
mod views;
