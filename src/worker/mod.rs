//! The background workers: one launcher for the cluster, and for each database with the extension its flushers, a keeper and,
//! on demand, a janitor. README.md beside this file tells their story.

pub mod board;
mod entry;
mod hold;
mod janitor;
mod launcher;
pub mod maintenance;
mod readiness;
pub mod schedule;
mod service;
pub mod task;
mod upkeep;

pub use entry::register;
