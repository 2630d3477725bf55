//! health(): all alerts in one number and one sentence, for a load balancer, Nagios or a probe of Kubernetes.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::machine::{Level, Time};
use super::round::fires;
use super::state::Entry;
use super::view::{Known, Source, known};
use crate::installed::Installed;
use crate::pg::{identity, process, xact};
use crate::sql::moment;

/// As the plugins of Nagios end.
const OK: i16 = 0;
const WARNING: i16 = 1;
const CRITICAL: i16 = 2;
const UNKNOWN: i16 = 3;

/// A rule that could not be looked at once may only have been too slow.
const PATIENCE: Time = 60_000_000;

/// Alerts that the sentence names.
const NAMED: usize = 3;

struct Health {
    status: i16,
    firing: i32,
    unknown: i32,
    since: Option<Time>,
    summary: String,
    checked_at: Option<Time>,
}

fn of(known: &Known) -> Health {
    let counts = |entry: &&Entry| known.silence(entry).is_none() && known.suppressed_by(entry).is_none();
    let is_live = known.source == Source::Live;
    let mut firing: Vec<&Entry> = known
        .entries
        .iter()
        .filter(|entry| fires(entry) && !known.is_unknown(entry))
        .filter(counts)
        .collect();
    firing.sort_by_key(|entry| (std::cmp::Reverse(entry.course.level), entry.course.since));
    let unknown: Vec<&Entry> = known
        .entries
        .iter()
        .filter(|entry| {
            entry
                .course
                .unknown_since
                .is_some_and(|since| is_live || known.now - since >= PATIENCE)
        })
        .filter(counts)
        .collect();
    let is_stale = matches!(known.source, Source::Stale(_));
    let worst = firing.iter().map(|entry| entry.course.level).max();
    let status = match worst {
        _ if is_stale => UNKNOWN,
        Some(Level::Critical) => CRITICAL,
        _ if !unknown.is_empty() => UNKNOWN,
        Some(Level::Warning) => WARNING,
        None => OK,
    };
    let since = firing
        .iter()
        .map(|entry| entry.course.since)
        .chain(unknown.iter().filter_map(|entry| entry.course.unknown_since))
        .min();
    Health {
        status,
        firing: count(firing.len()),
        unknown: count(unknown.len()),
        since,
        summary: summary(known, status, &firing, &unknown),
        checked_at: known.evaluated_at(),
    }
}

fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn summary(known: &Known, status: i16, firing: &[&Entry], unknown: &[&Entry]) -> String {
    let word = match status {
        OK => "ok",
        WARNING => "warning",
        CRITICAL => "critical",
        _ => "unknown",
    };
    let mut parts = Vec::new();
    if matches!(known.source, Source::Stale(_)) {
        parts.push(known.silence_in_words());
    }
    parts.extend(firing.iter().take(NAMED).map(|entry| {
        let object = if entry.object.is_empty() {
            String::new()
        } else {
            format!(" ({})", entry.object)
        };
        format!("{}{object}: {}", entry.rule.name, entry.rule.title)
    }));
    if firing.len() > NAMED {
        parts.push(format!("{} more", firing.len() - NAMED));
    }
    if let Some(entry) = unknown.first() {
        let others = match unknown.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        let detail = entry.detail.as_deref().unwrap_or("no reason is known");
        parts.push(format!("{}{others} cannot be judged: {detail}", entry.rule.name));
    }
    if parts.is_empty() {
        parts.push("no alert fires".to_owned());
    }
    format!("{word}: {}", parts.join("; "))
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn health() -> Result<
    TableIterator<
        'static,
        (
            name!(status, i16),
            name!(firing, Option<i32>),
            name!(unknown, Option<i32>),
            name!(oldest_problem_since, Option<TimestampWithTimeZone>),
            name!(summary, String),
            name!(node_role, String),
            name!(checked_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    // Whatever goes wrong here is no reason to answer nothing.
    let found = xact::subtransaction(|| identity::as_owner(|| Ok(of(&known(&Installed::require()?)?))));
    let role = if xact::in_recovery() { "standby" } else { "primary" };
    let row = match found {
        Ok(health) => (
            health.status,
            Some(health.firing),
            Some(health.unknown),
            health.since.map(moment),
            health.summary,
            role.to_owned(),
            health.checked_at.map(moment),
        ),
        Err(failure) => (
            UNKNOWN,
            None,
            None,
            None,
            format!("unknown: {}", failure.message),
            role.to_owned(),
            Some(moment(process::now())),
        ),
    };
    Ok(TableIterator::once(row))
}
