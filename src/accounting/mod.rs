//! What flushes did, what waits, and what a crash took: counters in shared memory, history in tables.

pub mod backlog;
pub mod crash;
mod histogram;
pub mod history;
pub mod keeper;
pub mod ledger;
pub mod minutes;
pub mod pause;
mod progress;
pub mod samples;
pub mod session;
pub mod state;
pub mod tally;
