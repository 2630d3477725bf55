//! Partitions by time: which should exist (pure), making them, and what becomes of them.

pub mod archive;
pub mod bounds;
pub mod budget;
pub mod create;
pub mod drop;
pub mod expire;
mod functions;
pub mod holders;
pub mod lacks;
mod likeness;
pub mod observed;
pub mod parts;
pub mod plan;
mod policy;
mod removed;
pub mod retention;
pub mod rewrite;
pub mod rotate;
pub mod seal;
pub mod state;
pub mod step;
pub mod storage;
pub mod summaries;
