//! A document or its times that nobody of ours can have written. Pure.

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt(pub &'static str);
