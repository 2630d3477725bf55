//! Staging to facts.

pub mod batch;
mod dictionary;
mod fallback;
pub mod flush;
mod functions;
pub mod judge;
pub mod reading;
pub mod route;
mod store;
