//! The rows of `telemetry_alerts`: every rule that has something to say on this node, the good ones too.
//!
//! Where somebody looks again and again, the keeper or pg_cron by evaluate_alerts(), they are what was found last. Where nobody is
//! expected to, on a standby or without preload, all is looked at when asked. Where the keeper should and does not, nothing is known.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::machine::{Course, Level, Phase, Time};
use super::notes::{self, Kind, Note};
use super::overrides::Overrides;
use super::probes::named;
use super::round::{Memory, applies, evaluate, fires, longest_silence};
use super::rules::{self, Rule};
use super::state::{self, Entry};
use crate::error::Error;
use crate::guc;
use crate::installed::Installed;
use crate::pg::{identity, process, xact};
use crate::shmem;
use crate::sql::moment;

/// pg_cron looks once a minute at most.
const LONGEST_SILENCE_BY_HAND: Time = 90_000_000;

/// What the board in shared memory says whoever asks, and whether the keeper lives or not.
const ALWAYS_KNOWN: [&str; 2] = ["worker_missing", "task_late"];

/// Whose knowledge it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Of a look at that time.
    Kept(Time),
    /// Nobody has looked since that time, or ever, who should have.
    Stale(Option<Time>),
    /// All was looked at just now.
    Live,
}

pub struct Known {
    pub source: Source,
    pub entries: Vec<Entry>,
    pub notes: Vec<Note>,
    pub now: Time,
}

/// What is known of alerts now. As telemetry_owner.
pub fn known(installed: &Installed) -> Result<Known, Error> {
    let now = process::now();
    let source = source(installed, now)?;
    let notes = notes::in_force(installed, now)?;
    let entries = match source {
        Source::Kept(_) => state::read_entries(installed)?.unwrap_or_default(),
        Source::Live => evaluate(installed, &Overrides::read(installed)?, &[], Memory::None, |_| {
            true
        }),
        Source::Stale(_) => {
            let kept = state::read_entries(installed)?.unwrap_or_default();
            let mut entries: Vec<Entry> = evaluate(
                installed,
                &Overrides::read(installed)?,
                &[],
                Memory::None,
                is_always_known,
            );
            entries.extend(kept.into_iter().filter(|entry| !is_always_known(entry.rule)));
            entries
        }
    };
    // What a rule says that has nothing to say here any more is old.
    let entries = entries.into_iter().filter(|entry| applies(entry.rule)).collect();
    Ok(Known {
        source,
        entries,
        notes: if xact::in_recovery() {
            // Tests are of the node on which they were called for.
            notes.into_iter().filter(|note| note.kind != Kind::Test).collect()
        } else {
            notes
        },
        now,
    })
}

fn is_always_known(rule: &'static Rule) -> bool {
    ALWAYS_KNOWN.contains(&rule.name)
}

fn source(installed: &Installed, now: Time) -> Result<Source, Error> {
    if xact::in_recovery() {
        return Ok(Source::Live);
    }
    let has_keeper = shmem::is_available() && guc::background_workers();
    let by_hand = state::evaluated_by_hand(installed, now)?;
    let by_keeper = state::evaluated_by_keeper(now);
    let limit = if has_keeper {
        longest_silence()
    } else {
        LONGEST_SILENCE_BY_HAND
    };
    let is_fresh = |at: &Time| now - at <= limit;
    let fresh = by_hand
        .filter(is_fresh)
        .max(by_keeper.filter(is_fresh).filter(|_| has_keeper));
    Ok(match fresh {
        Some(at) => Source::Kept(at),
        None if has_keeper => Source::Stale(by_hand.max(by_keeper)),
        None => Source::Live,
    })
}

impl Known {
    fn note(&self, kind: Kind, entry: &Entry) -> Option<&Note> {
        self.notes
            .iter()
            .find(|note| note.kind == kind && note.concerns(entry))
    }

    /// The alert that explains this one.
    pub fn suppressed_by(&self, entry: &Entry) -> Option<&'static str> {
        let explains = |cause: &str| {
            self.entries.iter().any(|other| {
                other.rule.name == cause && fires(other) && other.course.level >= entry.course.level
            })
        };
        fires(entry)
            .then(|| entry.rule.causes.iter().copied().find(|cause| explains(cause)))
            .flatten()
    }

    pub fn is_unknown(&self, entry: &Entry) -> bool {
        entry.course.unknown_since.is_some()
            || matches!(self.source, Source::Stale(_)) && !is_always_known(entry.rule)
    }

    pub fn silence(&self, entry: &Entry) -> Option<&Note> {
        self.note(Kind::Silenced, entry)
    }

    pub fn evaluated_at(&self) -> Option<Time> {
        match self.source {
            Source::Kept(at) => Some(at),
            Source::Stale(at) => at,
            Source::Live => Some(self.now),
        }
    }

    pub fn silence_in_words(&self) -> String {
        match self.source {
            Source::Stale(Some(at)) => {
                format!("alerts were not looked at for {} s", (self.now - at) / 1_000_000)
            }
            _ => "alerts were not looked at since the server started".to_owned(),
        }
    }

    fn state(&self, entry: &Entry) -> &'static str {
        match entry.course.phase {
            Phase::Resolved if !self.is_unknown(entry) => "resolved",
            Phase::Pending if !self.is_unknown(entry) => "pending",
            _ if self.silence(entry).is_some() => "silenced",
            _ if self.is_unknown(entry) => "unknown",
            _ if self.suppressed_by(entry).is_some() => "silenced",
            _ => "firing",
        }
    }
}

struct Row {
    rule: Option<&'static Rule>,
    alert: String,
    object: Option<String>,
    level: Option<Level>,
    state: &'static str,
    value: Option<f64>,
    threshold: Option<f64>,
    course: Option<Course>,
    detail: Option<String>,
    run: Option<String>,
    suppressed_by: Option<&'static str>,
    acknowledged: Option<(String, Time)>,
    silenced: Option<(String, Option<Time>)>,
    is_test: bool,
}

impl Row {
    fn of_rule(rule: &'static Rule, state: &'static str) -> Row {
        Row {
            rule: Some(rule),
            ..Row::named(rule.name, state)
        }
    }

    fn named(alert: &str, state: &'static str) -> Row {
        Row {
            rule: None,
            alert: alert.to_owned(),
            object: None,
            level: None,
            state,
            value: None,
            threshold: None,
            course: None,
            detail: None,
            run: None,
            suppressed_by: None,
            acknowledged: None,
            silenced: None,
            is_test: false,
        }
    }
}

fn rows(installed: &Installed) -> Result<(Known, Vec<Row>), Error> {
    let known = known(installed)?;
    let overrides = Overrides::read(installed)?;
    let mut rows = Vec::new();
    for rule in rules::all().filter(|rule| applies(rule)) {
        let Some(tuning) = overrides.tuning(rule) else {
            rows.push(Row {
                detail: Some("turned off in alert_rules".to_owned()),
                silenced: Some(("alert_rules".to_owned(), None)),
                ..Row::of_rule(rule, "silenced")
            });
            continue;
        };
        let own: Vec<&Entry> = known
            .entries
            .iter()
            .filter(|entry| entry.rule.name == rule.name)
            .collect();
        let is_stale = matches!(known.source, Source::Stale(_)) && !is_always_known(rule);
        // What was bad and is over does not say how it is now.
        if own.iter().all(|entry| entry.course.phase == Phase::Resolved) {
            rows.push(Row {
                detail: is_stale.then(|| known.silence_in_words()),
                run: is_stale.then(|| evaluate_statement(installed)),
                threshold: tuning.threshold(Level::Warning),
                ..Row::of_rule(rule, if is_stale { "unknown" } else { "ok" })
            });
        }
        for entry in own {
            let state = known.state(entry);
            let is_stale = is_stale && entry.course.phase != Phase::Resolved;
            let said = entry.detail.clone();
            rows.push(Row {
                object: (!entry.object.is_empty()).then(|| entry.object.clone()),
                level: (entry.course.phase != Phase::Unknown).then_some(entry.course.level),
                value: entry.course.value,
                threshold: tuning.threshold(entry.course.level),
                course: Some(entry.course),
                detail: if is_stale {
                    let last = said.map_or(String::new(), |said| format!(": {said}"));
                    Some(format!(
                        "{}; it was {} then{last}",
                        known.silence_in_words(),
                        entry.course.phase.name()
                    ))
                } else {
                    said
                },
                run: if is_stale {
                    Some(evaluate_statement(installed))
                } else {
                    entry.run.clone()
                },
                suppressed_by: known.suppressed_by(entry),
                acknowledged: known
                    .note(Kind::Acknowledged, entry)
                    .map(|note| (note.by.clone(), note.ends_at)),
                silenced: known
                    .silence(entry)
                    .map(|note| (note.by.clone(), Some(note.ends_at))),
                ..Row::of_rule(rule, state)
            });
        }
    }
    rows.extend(overrides.strangers().into_iter().map(|name| Row {
        detail: Some("alert_rules has a row for it, and there is no such alert".to_owned()),
        ..Row::named(name, "unknown")
    }));
    rows.extend(tests(&known));
    Ok((known, rows))
}

fn all_unknown(why: &str) -> Vec<Row> {
    rules::all()
        .filter(|rule| applies(rule))
        .map(|rule| Row {
            detail: Some(why.to_owned()),
            ..Row::of_rule(rule, "unknown")
        })
        .collect()
}

fn evaluate_statement(installed: &Installed) -> String {
    format!("SELECT {}.evaluate_alerts();", installed.quoted_schema())
}

fn tests(known: &Known) -> impl Iterator<Item = Row> {
    known
        .notes
        .iter()
        .filter(|note| note.kind == Kind::Test)
        .filter_map(|note| {
            let rule = rules::named(&note.alert)?;
            let level = note.level.unwrap_or(Level::Warning);
            Some(Row {
                object: Some("test".to_owned()),
                level: Some(level),
                threshold: rule.tuning().threshold(level),
                course: Some(Course {
                    phase: Phase::Firing,
                    level,
                    value: None,
                    since: note.made_at,
                    fired_at: Some(note.made_at),
                    calm_since: None,
                    resolved_at: None,
                    unknown_since: None,
                }),
                detail: Some(format!("this is a test by {}, and nothing is wrong", note.by)),
                is_test: true,
                ..Row::of_rule(rule, "firing")
            })
        })
        .collect::<Vec<_>>()
        .into_iter()
}

fn time(time: Option<Time>) -> Option<TimestampWithTimeZone> {
    time.map(moment)
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn telemetry_alerts_rows() -> Result<
    TableIterator<
        'static,
        (
            name!(alert, String),
            name!(object, Option<String>),
            name!(severity, Option<String>),
            name!(state, String),
            name!(value, Option<f64>),
            name!(threshold, Option<f64>),
            name!(unit, Option<String>),
            name!(since, Option<TimestampWithTimeZone>),
            name!(fired_at, Option<TimestampWithTimeZone>),
            name!(resolved_at, Option<TimestampWithTimeZone>),
            name!(evaluated_at, Option<TimestampWithTimeZone>),
            name!(what, Option<String>),
            name!(detail, Option<String>),
            name!(why, Option<String>),
            name!(remedy, Option<String>),
            name!(run, Option<String>),
            name!(link, Option<String>),
            name!(suppressed_by, Option<String>),
            name!(acknowledged_by, Option<String>),
            name!(acknowledged_until, Option<TimestampWithTimeZone>),
            name!(silenced_by, Option<String>),
            name!(silenced_until, Option<TimestampWithTimeZone>),
            name!(is_test, bool),
            name!(dedupe_key, String),
        ),
    >,
    ErrorReport,
> {
    let installed = Installed::require()?;
    // Whatever goes wrong here is no reason to answer nothing.
    let found = xact::subtransaction(|| {
        identity::as_owner(|| rows(&installed)).map(|(known, rows)| (known.evaluated_at(), rows))
    });
    let (evaluated_at, rows) = found.unwrap_or_else(|failure| (None, all_unknown(&failure.message)));
    let (schema, quoted) = (installed.schema.clone(), installed.quoted_schema());
    Ok(TableIterator::new(rows.into_iter().map(move |row| {
        let is_well = row.state == "ok";
        let rule = row.rule;
        let of_rule = |text: fn(&Rule) -> &'static str| rule.map(|rule| text(rule).to_owned());
        let course = row.course;
        let (acknowledged_by, acknowledged_until) = row.acknowledged.unzip();
        let (silenced_by, silenced_until) = row.silenced.unzip();
        let key = match &row.object {
            Some(object) => format!("{}:{object}", row.alert),
            None => row.alert.clone(),
        };
        (
            row.alert,
            row.object,
            row.level.map(|level| level.name().to_owned()),
            row.state.to_owned(),
            row.value,
            row.threshold,
            of_rule(|rule| rule.unit),
            time(course.map(|course| course.unknown_since.unwrap_or(course.since))),
            time(course.and_then(|course| course.fired_at)),
            time(course.and_then(|course| course.resolved_at)),
            time(evaluated_at),
            of_rule(|rule| rule.title),
            row.detail,
            of_rule(|rule| rule.why),
            of_rule(|rule| rule.remedy).filter(|_| !is_well),
            row.run
                .or_else(|| rule.map(|rule| named(rule.run, &schema, &quoted)))
                .filter(|_| !is_well),
            rule.map(Rule::link),
            row.suppressed_by.map(str::to_owned),
            acknowledged_by,
            time(acknowledged_until),
            silenced_by,
            time(silenced_until.flatten()),
            row.is_test,
            key,
        )
    })))
}
