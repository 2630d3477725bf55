//! How fresh is this node, and may it answer? The heartbeat that the primary writes, and what every node makes of it.

mod classes;
mod freshness;
pub mod heartbeat;
mod peers;
mod ring;
mod routing;
mod token;
mod tokens;
mod verdict;
