//! Questions about readings: those of one attribute over a time, and which entities have certain values.

pub mod attribute;
mod candidate;
mod cold;
mod explain;
pub mod fault;
mod filter;
mod functions;
mod hot;
mod question;
mod readings;
mod search;
mod sieve;
mod slices;
mod steps;

pub use fault::Fault;
pub use hot::stored_value;
