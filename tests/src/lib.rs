//! Real PostgreSQL clusters for the tests and benchmarks of pg_telemetry.
//!
//! Start with [`Cluster::builder`] for a server of one's own (needed to restart, crash or replicate it), or with
//! [`shared`] for a fresh database on the server that all tests of one binary use together.

mod account;
pub mod alerts;
mod background;
pub mod campaign;
pub mod catalog;
mod clock;
mod cluster;
mod cluster_dir;
pub mod cron;
mod database;
mod installation;
pub mod integrity;
mod log;
pub mod metrics;
pub mod old_day;
pub mod pooler;
mod process;
pub mod project;
mod proxy;
mod psql;
pub mod readings;
pub mod replicas;
pub mod samples;
pub mod scripts;
mod session;
pub mod shared;
mod small_disk;
mod standby;
mod template;
mod wait;
pub mod workers;
mod writer;

pub use background::{Background, SqlInBackground};
pub use clock::Clock;
pub use cluster::{Builder, Cluster, Stop};
pub use database::Database;
pub use installation::Installation;
pub use log::LogMark;
pub use proxy::Proxy;
pub use psql::ToolOutput;
pub use session::{Failure, NULL, Session};
pub use small_disk::SmallDisk;
pub use wait::{SOON, eventually, wait_for_lock, within};
pub use writer::Writer;
