//! One look at one source: what it works on, what it found, and what is written down about it.

use pgrx::datum::TimestampWithTimeZone;

use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::process;
use crate::sql::{argument, time, write};

/// What a look works on.
pub struct Turn<'a> {
    pub installed: &'a Installed,
    /// When it began, in the server's microseconds.
    pub now: i64,
    /// A call by SQL, which does everything at once; the keeper does it in pieces.
    pub at_once: bool,
}

impl<'a> Turn<'a> {
    /// From now on. Not before the samples are ours to take: one that began earlier and waited for another would count the time of
    /// that one once more.
    pub fn new(installed: &'a Installed, at_once: bool) -> Turn<'a> {
        Turn {
            installed,
            now: process::now(),
            at_once,
        }
    }
}

/// What came of it.
pub struct Outcome {
    pub state: &'static str,
    pub message: Option<String>,
    pub covers_from: Option<TimestampWithTimeZone>,
    pub samples: i64,
    /// Of statements: how often some had to go since the look before.
    pub evictions: Option<i64>,
    /// There is more of the same to do.
    pub more: bool,
}

impl Outcome {
    pub fn sampled(covers_from: Option<TimestampWithTimeZone>, samples: i64) -> Outcome {
        Outcome {
            state: if covers_from.is_some() { "sampled" } else { "began" },
            message: None,
            covers_from,
            samples,
            evictions: None,
            more: false,
        }
    }

    pub fn without(state: &'static str, message: String) -> Outcome {
        Outcome {
            state,
            message: Some(message),
            covers_from: None,
            samples: 0,
            evictions: None,
            more: false,
        }
    }

    /// A piece of a look that goes on; nothing is written about it yet.
    pub fn piece() -> Outcome {
        Outcome {
            more: true,
            ..Outcome::sampled(None, 0)
        }
    }
}

pub fn note(turn: &Turn, source: &str, outcome: &Outcome, took_ms: f64) -> Result<(), Error> {
    let text = format!(
        "INSERT INTO {} (sampled_at, source, covers_from, samples, took_ms, state, message, evictions)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        turn.installed.qualified(Table::SampleRuns)
    );
    let arguments = vec![
        time(turn.now),
        argument(source.to_owned()),
        argument(outcome.covers_from),
        argument(outcome.samples),
        argument(took_ms),
        argument(outcome.state.to_owned()),
        argument(outcome.message.clone()),
        argument(outcome.evictions),
    ];
    write(&text, arguments, |_| Ok(()))
}
