//! Views over the samples: sums over a window, and what follows from them. They read as telemetry_owner, on a standby what was
//! replicated, and say how much of the window was observed and when the last sample was taken.

mod cache_hit;
mod index_health;
mod slow_queries;
mod table_usage;
mod tenant_usage;

use pgrx::datum::Interval;

use crate::error::Error;
use crate::installed::{Installed, Readable, Table};
use crate::registry::required;
use crate::sample::relations::SAMPLES;

/// The length of a window.
fn window(within: Option<Interval>) -> Result<Interval, Error> {
    let within = required(within, "within")?;
    if within.as_micros() <= 0 {
        return Err(Error::InvalidText {
            argument: "within",
            fault: "it must be longer than nothing".to_owned(),
        });
    }
    Ok(within)
}

/// Says of the name of a table whether it is one of samples, whose use is in none of them; $2 is our schema, quoted.
fn not_watched(relation: &str) -> String {
    format!("starts_with({relation}, $2 || '.') AND substr({relation}, length($2) + 2) ~ '^{SAMPLES}'")
}

/// Whether all of these can be read now: they came with a version of their own, and somebody may be at work on one of them.
fn readable(installed: &Installed, tables: &[Table]) -> Result<Option<&'static str>, Error> {
    for table in tables {
        match installed.readable(*table)? {
            Readable::Yes => {}
            Readable::Missing => return Ok(Some("no tables for samples: call setup()")),
            Readable::Locked => return Ok(Some("a table of samples is locked")),
        }
    }
    Ok(None)
}
