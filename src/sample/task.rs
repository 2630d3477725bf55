//! Which source is sampled when: by the keeper one after the other, each in a transaction of its own, or all at once by
//! `take_samples()`.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::turn::{Outcome, Turn, note};
use super::{baseline, indexes, relations, room, server, sizes, statements, tenants};
use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Table};
use crate::pg::{identity, process, signals, xact};
use crate::worker::task::{Context, Report};

type Look = fn(&Turn) -> Result<Outcome, Error>;

struct Source {
    name: &'static str,
    /// None: with each tick.
    pace: Option<Duration>,
    /// Writes so much that it stops when there is no room.
    is_large: bool,
    look: Look,
}

const SOURCES: [Source; 6] = [
    Source {
        name: "server",
        pace: None,
        is_large: false,
        look: server::sample,
    },
    Source {
        name: "relations",
        pace: None,
        is_large: true,
        look: relations::sample,
    },
    Source {
        name: "statements",
        pace: None,
        is_large: true,
        look: statements::sample,
    },
    Source {
        name: "sizes",
        pace: Some(Duration::from_secs(600)),
        is_large: true,
        look: sizes::sample,
    },
    Source {
        name: "tenants",
        pace: Some(Duration::from_secs(600)),
        is_large: true,
        look: tenants::sample,
    },
    Source {
        name: "indexes",
        pace: Some(Duration::from_secs(1800)),
        is_large: false,
        look: indexes::sample,
    },
];

/// How often and in what steps `take_samples()` looks whether the keeper is done.
const LOOKS: usize = 50;
const LOOK: Duration = Duration::from_millis(40);

/// How often old samples are looked for.
const CLEARING: Duration = Duration::from_secs(600);

/// A source that takes long is looked at so much less often that it never takes more than this part of the time.
const SHARE: u32 = 400;

/// A difference over a longer time than so many ticks, or than this, is no sample: nothing says when in between it was.
const TICKS: i64 = 5;
const LONG: i64 = 600;

pub fn longest_gap() -> i64 {
    let interval = guc::sample_interval().map_or(0, |interval| interval.as_secs() as i64);
    (TICKS * interval).max(LONG) * 1_000_000
}

/// What this process knows of a source.
#[derive(Default, Clone, Copy)]
struct Course {
    begun: Option<Instant>,
    /// On a CPU, in all pieces.
    took: Duration,
    in_pieces: bool,
}

impl Course {
    fn ran(&mut self, begun: Instant, spent: Duration, more: bool) {
        if self.in_pieces {
            self.took += spent;
        } else {
            (self.begun, self.took) = (Some(begun), spent);
        }
        self.in_pieces = more;
    }

    fn is_due(&self, pace: Duration, tick: Duration) -> bool {
        // A tick that comes a little early is meant.
        let pace = pace.max(self.took * SHARE).saturating_sub(tick / 4);
        self.in_pieces || self.begun.is_none_or(|begun| begun.elapsed() >= pace)
    }
}

thread_local! {
    static COURSES: RefCell<[Course; SOURCES.len()]> = RefCell::default();
    static CLEARED: Cell<Option<Instant>> = const { Cell::new(None) };
    static FULL: Cell<bool> = const { Cell::new(false) };
}

/// The keeper's task: one source, or one piece of it, at a time, so that the heartbeat gets its turn in between.
pub fn take_some(context: &Context) -> Result<Report, Error> {
    let installed = context.installed;
    let Some(tick) = guc::sample_interval() else {
        return Ok(Report::default());
    };
    if !are_kept(installed)? {
        return Ok(Report::default());
    }
    if !baseline::claim(installed)? {
        return Ok(Report {
            waiting: Some("take_samples() is running elsewhere".to_owned()),
            ..Report::default()
        });
    }
    let turn = Turn::new(installed, false);
    room::make(installed, turn.now)?;
    if CLEARED.get().is_none_or(|cleared| cleared.elapsed() >= CLEARING) {
        CLEARED.set(Some(Instant::now()));
        let waiting = clear(&turn)?;
        return Ok(Report {
            again: true,
            waiting,
            ..Report::default()
        });
    }
    if let Some(place) = next_due(tick) {
        let source = &SOURCES[place];
        let (begun, before) = (Instant::now(), process::time_on_cpu());
        let outcome = take(&turn, source)?;
        let spent = process::time_on_cpu().saturating_sub(before);
        COURSES.with_borrow_mut(|courses| courses[place].ran(begun, spent, outcome.more));
    }
    Ok(Report {
        again: next_due(tick).is_some(),
        ..Report::default()
    })
}

fn next_due(tick: Duration) -> Option<usize> {
    COURSES.with_borrow(|courses| {
        SOURCES
            .iter()
            .zip(courses)
            .position(|(source, course)| course.is_due(source.pace.unwrap_or(tick).max(tick), tick))
    })
}

/// Whether the tables are there: those of an older version came without, until somebody calls setup().
fn are_kept(installed: &Installed) -> Result<bool, Error> {
    for table in
        room::TABLES
            .into_iter()
            .chain([Table::StatementTexts, Table::IndexUse, Table::SampleBaseline])
    {
        if installed.table_oid(table)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn clear(turn: &Turn) -> Result<Option<String>, Error> {
    let cleared = room::clear(turn.installed, turn.now)?;
    FULL.set(cleared.is_full);
    tenants::forget_dropped(turn.installed)?;
    Ok(cleared.waiting)
}

/// One source; its failure is written down and stays its own.
fn take(turn: &Turn, source: &Source) -> Result<Outcome, Error> {
    let begun = Instant::now();
    let outcome = if FULL.get() && source.is_large {
        Outcome::without(
            "full",
            "today's samples have reached pg_telemetry.sample_max_size".to_owned(),
        )
    } else {
        xact::subtransaction(|| (source.look)(turn)).unwrap_or_else(|failure| {
            Outcome::without("failed", format!("{} ({})", failure.message, failure.sqlstate))
        })
    };
    if !outcome.more {
        note(
            turn,
            source.name,
            &outcome,
            begun.elapsed().as_secs_f64() * 1000.0,
        )?;
    }
    Ok(outcome)
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn take_samples() -> Result<
    TableIterator<
        'static,
        (
            name!(source, String),
            name!(state, String),
            name!(samples, i64),
            name!(message, Option<String>),
        ),
    >,
    ErrorReport,
> {
    xact::check_writable()?;
    let installed = Installed::require()?;
    // Two that see the same counters of the last time would both count what came since.
    if !xact::is_read_committed() {
        return Err(Error::NotReadCommitted("take_samples()").into());
    }
    let rows = identity::as_owner(|| {
        for table in room::TABLES {
            installed.require_table(table)?;
        }
        let mut looks = 0;
        while !baseline::claim(&installed)? {
            looks += 1;
            if looks == LOOKS {
                return Err(Error::SamplesTaken);
            }
            signals::pause(LOOK);
        }
        let turn = Turn::new(&installed, true);
        room::make(&installed, turn.now)?;
        clear(&turn)?;
        let mut rows = Vec::new();
        for source in &SOURCES {
            let outcome = take(&turn, source)?;
            rows.push((
                source.name.to_owned(),
                outcome.state.to_owned(),
                outcome.samples,
                outcome.message,
            ));
        }
        Ok(rows)
    })?;
    Ok(TableIterator::new(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_comes_less_often() {
        let tick = Duration::from_secs(60);
        let ago = |seconds: u64| Instant::now().checked_sub(Duration::from_secs(seconds));
        let course = |seconds, took| Course {
            begun: ago(seconds),
            took: Duration::from_millis(took),
            in_pieces: false,
        };
        assert!(Course::default().is_due(tick, tick));
        assert!(!course(30, 1).is_due(tick, tick));
        assert!(course(50, 1).is_due(tick, tick), "a tick that is early");
        // A second each 400 at most.
        assert!(!course(300, 1000).is_due(tick, tick));
        assert!(course(400, 1000).is_due(tick, tick));
        let piece = Course {
            in_pieces: true,
            ..course(1, 1)
        };
        assert!(piece.is_due(tick, tick));
    }
}
