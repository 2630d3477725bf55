//! Attributes become hot, searchable, or neither, while everybody goes on writing: the flags change at once, and what is there already
//! follows in batches. Until it has, searches do not rely on it.

mod build;
mod documents;
mod functions;
mod phase;
mod search;

pub use build::{build_statement, watch_builds};
