//! Partitions by time: which should exist (pure), making them, and what becomes of them.

pub mod bounds;
pub mod create;
mod functions;
pub mod holders;
mod likeness;
pub mod plan;
mod policy;
pub mod retention;
pub mod rotate;
pub mod state;
pub mod step;
