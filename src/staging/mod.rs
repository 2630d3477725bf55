//! Staging to facts.

pub mod batch;
pub mod compose;
mod dictionary;
mod fallback;
pub mod flush;
mod functions;
pub mod json_text;
pub mod judge;
pub mod reading;
pub mod route;
pub mod store;
