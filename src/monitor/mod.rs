//! What a DBA sees.

mod worker_status;
