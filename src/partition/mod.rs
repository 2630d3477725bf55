//! Partitions by time: which should exist (pure), making them, and what becomes of them.

pub mod bounds;
pub mod budget;
pub mod create;
mod functions;
pub mod holders;
pub mod lacks;
mod likeness;
pub mod observed;
pub mod plan;
mod policy;
pub mod retention;
pub mod rotate;
pub mod seal;
pub mod state;
pub mod step;
pub mod storage;
