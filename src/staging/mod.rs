//! Staging to facts.

pub mod batch;
mod bisect;
pub mod blame;
mod careful;
pub mod compose;
pub mod course;
mod deferred;
pub mod dictionary;
mod fallback;
mod fault;
pub mod flush;
mod functions;
mod ids;
pub mod json_text;
pub mod judge;
pub mod kept;
pub mod reading;
mod rejected;
pub mod route;
mod spare;
pub mod standstill;
pub mod store;
pub mod tour;
mod value_type;
mod window;
