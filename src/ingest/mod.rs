//! Readings from applications that have names and documents instead of ids and columns: all of a call is staged, or, with an
//! error that says where and why, nothing.

pub mod document;
pub mod fault;
pub mod functions;
pub mod ledger;
pub mod names;
pub mod near;
mod request;
pub mod stage;
pub mod value;

pub use fault::Fault;
