//! What a DBA sees.

pub mod checkpoint_activity;
mod flush_stats;
mod flush_totals;
mod partition_health;
mod staging_backlog;
mod worker_status;
