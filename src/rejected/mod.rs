//! Readings that were refused: putting them back, bounding what is kept of them, and an overview.

pub mod filter;
mod retry;
mod ring;
mod summary;
pub mod trim;
