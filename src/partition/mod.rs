//! Partitions by time: which should exist (pure), and making them.

pub mod bounds;
pub mod create;
