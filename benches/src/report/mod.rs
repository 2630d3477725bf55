//! What a run says: one table for people, one JSON file a case for whoever compares runs.

mod environment;
mod json;
mod table;

pub use environment::{Environment, load};
pub use json::write as write_json;
pub use table::{print, print_goals, print_head, print_legend};
