//! What a DBA sees.

mod flush_stats;
mod partition_health;
mod staging_backlog;
mod worker_status;
