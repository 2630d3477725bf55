//! Staging to facts.

pub mod batch;
mod dictionary;
mod fallback;
pub mod flush;
mod functions;
pub mod judge;
pub mod reading;
mod rejected;
pub mod route;
mod standstill;
pub mod store;
