//! How fresh is this node, and may it answer? The heartbeat that the primary writes, and what every node makes of it.

mod classes;
mod clocks;
mod freshness;
pub mod heartbeat;
mod lag;
mod peers;
mod publications;
mod ring;
mod routing;
#[cfg(test)]
mod simulation;
mod slot_verdict;
mod slots;
mod token;
mod tokens;
mod verdict;
