//! Questions about readings: those of one attribute over a time, and which entities have certain values.

mod attribute;
pub mod fault;
mod filter;
mod readings;
mod slices;

pub use fault::Fault;
