//! The only layer that talks to the server's C interface. Everything unsafe lives here, behind functions that are not;
//! what differs between major versions is in `compat`.

pub mod activity;
pub mod backtrace;
pub mod compat;
pub mod databases;
pub mod extension_script;
pub mod identity;
pub mod loading;
pub mod lock;
pub mod partitions;
pub mod process;
pub mod settings;
pub mod signals;
pub mod timeout;
pub mod toplevel;
pub mod utility_hook;
pub mod worker;
pub mod xact;
