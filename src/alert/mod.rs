//! Alerts as data: rules are looked at again and again, what becomes of each is kept in a table, and whoever asks is told what is
//! wrong, since when, how bad, why it matters and what to run. Never "ok" for what is not known.

mod functions;
mod health;
mod machine;
mod notes;
mod overrides;
mod probes;
mod round;
mod rules;
mod state;
mod view;

pub use round::watch_alerts;
