//! The only layer that talks to the server's C interface. Everything unsafe lives here, behind functions that are not;
//! what differs between major versions is in `compat`.

pub mod activity;
pub mod arena;
pub mod backtrace;
pub mod catalog;
pub mod claim;
pub mod compat;
pub mod conflict;
pub mod databases;
pub mod detoast;
pub mod door;
pub mod extension_script;
pub mod fault;
pub mod handover;
pub mod heap_page;
// Not shown anywhere yet; staging_backlog will.
#[allow(dead_code)]
pub mod holders;
pub mod horizon;
pub mod identity;
pub mod index;
pub mod jsonb;
pub mod layout;
pub mod leaf;
pub mod loading;
pub mod lock;
pub mod memory;
pub mod page_plan;
pub mod partitions;
pub mod past;
pub mod process;
pub mod relation;
pub mod settings;
pub mod signals;
pub mod slots;
pub mod sqlstate;
pub mod tail;
pub mod text_value;
pub mod timeout;
pub mod toplevel;
pub mod transaction_end;
pub mod utility_hook;
pub mod verdicts;
pub mod worker;
pub mod xact;
