//! What a DBA sees.

mod flush_stats;
mod staging_backlog;
mod worker_status;
