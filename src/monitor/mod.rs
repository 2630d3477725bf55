//! What a DBA sees.

mod checkpoint_activity;
mod flush_stats;
mod staging_backlog;
mod worker_status;
