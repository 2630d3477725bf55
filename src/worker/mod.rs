//! The background workers: one launcher for the cluster, and for each database with the extension its flushers, a keeper and,
//! on demand, a janitor. README.md beside this file tells their story.

pub mod board;
mod by_hand;
mod entry;
mod hold;
mod janitor;
mod last_flush;
mod launcher;
pub mod maintenance;
mod place;
mod readiness;
mod record;
mod role;
pub mod runs;
pub mod schedule;
mod service;
pub mod task;
mod task_state;
mod upkeep;

pub use entry::register;
