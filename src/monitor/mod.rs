//! What a DBA sees.

pub mod checkpoint_activity;
mod flush_stats;
mod flush_totals;
mod metrics;
mod partition_health;
mod partition_totals;
mod staging_backlog;
mod worker_status;
