//! Partitions by time: which should exist (pure), making them, and what becomes of them.

pub mod bounds;
pub mod create;
mod functions;
mod holders;
mod likeness;
mod plan;
mod rotate;
pub mod step;
