//! Staging to facts.

pub mod flush;
mod functions;
