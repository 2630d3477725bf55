//! How fresh is this node, and may it answer? The heartbeat that the primary writes, and what every node makes of it.

mod freshness;
pub mod heartbeat;
mod ring;
mod verdict;
