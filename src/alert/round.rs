//! One look at all rules.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::machine::{Phase, Reading, Time, step};
use super::notes;
use super::overrides::Overrides;
use super::probes::{Finding, look};
use super::rules::{self, Rule, USUAL_INTERVAL, Where};
use super::state::{self, Entry};
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::{identity, lock, process, xact};
use crate::shmem;
use crate::worker::runs;
use crate::worker::task::{Context, Report};

/// What must last for longer is not believed at first sight: it stays pending.
const TAKEN_ON_TRUST: Time = 60_000_000;

/// Looks that a rule is left out of which took too long.
const REST: u32 = 6;

/// Whether a look can be told from the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    Kept,
    /// Nobody looks again and again: what is bad now fires, unless it must have lasted for long.
    None,
}

/// Whether the rule has anything to say on this node.
pub fn applies(rule: &Rule) -> bool {
    match rule.place {
        Where::Anywhere => true,
        Where::Primary => !xact::in_recovery(),
        Where::Standby => xact::in_recovery(),
        Where::Workers => !xact::in_recovery() && (shmem::is_available() || runs::are_kept()),
    }
}

/// The rules that are `due`, looked at; what is known of the others stays. Nothing is written.
pub fn evaluate(
    installed: &Installed,
    overrides: &Overrides,
    before: &[Entry],
    memory: Memory,
    mut due: impl FnMut(&'static Rule) -> bool,
) -> Vec<Entry> {
    let mut after = Vec::new();
    for rule in rules::all().filter(|rule| applies(rule)) {
        let own: Vec<&Entry> = before
            .iter()
            .filter(|entry| entry.rule.name == rule.name)
            .collect();
        if overrides.tuning(rule).is_none() {
            continue;
        }
        if due(rule) {
            after.extend(next(installed, overrides, rule, &own, memory));
        } else {
            after.extend(own.into_iter().cloned());
        }
    }
    after
}

fn next(
    installed: &Installed,
    overrides: &Overrides,
    rule: &'static Rule,
    own: &[&Entry],
    memory: Memory,
) -> Vec<Entry> {
    let Some(mut tuning) = overrides.tuning(rule) else {
        return Vec::new();
    };
    if memory == Memory::None && tuning.lasts <= TAKEN_ON_TRUST {
        tuning.lasts = 0;
    }
    let found = match look(installed, rule) {
        Ok(found) => first_of_each(found),
        Err(failure) => {
            rest(rule);
            let detail = format!("cannot be looked at: {} ({})", failure.message, failure.sqlstate);
            let mut found: Vec<Finding> = own
                .iter()
                .filter(|entry| !entry.object.is_empty())
                .map(|entry| unknown(entry.object.clone(), detail.clone()))
                .collect();
            found.push(unknown(String::new(), detail));
            found
        }
    };
    let now = process::now();
    let gone: Vec<Finding> = own
        .iter()
        .filter(|entry| !found.iter().any(|finding| finding.object == entry.object))
        .map(|entry| Finding {
            object: entry.object.clone(),
            reading: Reading::Gone,
            detail: None,
            run: None,
        })
        .collect();
    found
        .into_iter()
        .chain(gone)
        .filter_map(|finding| {
            let known = own.iter().find(|entry| entry.object == finding.object);
            let course = step(known.map(|entry| entry.course), finding.reading, &tuning, now)?;
            // What is over keeps what was said last of it.
            let over = course.phase == Phase::Resolved || finding.reading == Reading::Gone;
            let (detail, run) = match known {
                Some(known) if over => (known.detail.clone(), known.run.clone()),
                _ => (finding.detail, finding.run),
            };
            Some(Entry {
                rule,
                object: finding.object,
                course,
                detail,
                run: run.map(|run| super::probes::named(&run, &installed.schema, &installed.quoted_schema())),
            })
        })
        .collect()
}

/// The worst comes first.
fn first_of_each(found: Vec<Finding>) -> Vec<Finding> {
    let mut kept: Vec<Finding> = Vec::new();
    for finding in found {
        if !kept.iter().any(|known| known.object == finding.object) {
            kept.push(finding);
        }
    }
    kept
}

fn unknown(object: String, detail: String) -> Finding {
    Finding {
        object,
        reading: Reading::Unknown,
        detail: Some(detail),
        run: None,
    }
}

thread_local! {
    /// Looks until a rule is due again.
    static WAITS: RefCell<HashMap<&'static str, u32>> = RefCell::default();
}

fn rest(rule: &'static Rule) {
    WAITS.with_borrow_mut(|waits| {
        waits
            .entry(rule.name)
            .and_modify(|looks| *looks = (*looks).max(REST))
            .or_insert(REST);
    });
}

fn is_due(rule: &'static Rule) -> bool {
    WAITS.with_borrow_mut(|waits| {
        let left = waits.entry(rule.name).or_insert(0);
        if *left > 0 {
            *left -= 1;
            return false;
        }
        *left = (rule.every / USUAL_INTERVAL).saturating_sub(1);
        true
    })
}

/// The keeper's task.
pub fn watch_alerts(context: &Context) -> Result<Report, Error> {
    let installed = context.installed;
    let Some(table) = installed.table_oid(Table::AlertState)? else {
        return Ok(Report::default());
    };
    // Somebody else looks at this moment.
    if !lock::try_alone(table) {
        return Ok(Report::default());
    }
    look_at_all(installed, is_due)?;
    notes::forget_old(installed)?;
    if !shmem::is_available() && installed.table_oid(Table::AlertEvaluations)?.is_some() {
        state::note_evaluation(installed, "run_worker()".to_owned())?;
    }
    let now = process::now();
    xact::after_commit(move || {
        shmem::account(|account| account.alerts_looked_at = now);
    });
    Ok(Report::default())
}

fn look_at_all(installed: &Installed, due: impl FnMut(&'static Rule) -> bool) -> Result<Vec<Entry>, Error> {
    let before = state::read_entries(installed)?.unwrap_or_default();
    let overrides = Overrides::read(installed)?;
    let after = evaluate(installed, &overrides, &before, Memory::Kept, due);
    state::save(installed, &before, &after)?;
    Ok(after)
}

#[pg_extern]
fn evaluate_alerts() -> Result<i64, ErrorReport> {
    let by = identity::current_name();
    Ok(identity::as_owner(|| evaluate_here(by))?)
}

/// All rules at once; how many alerts fire.
fn evaluate_here(by: String) -> Result<i64, Error> {
    xact::check_writable()?;
    let installed = Installed::require()?;
    let table = installed.require_table(Table::AlertState)?;
    installed.require_table(Table::AlertEvaluations)?;
    if !lock::try_alone(table) {
        return Err(Error::TableLocked(installed.qualified(Table::AlertState)));
    }
    let after = look_at_all(&installed, |_| true)?;
    notes::forget_old(&installed)?;
    state::note_evaluation(&installed, by)?;
    Ok(after.iter().filter(|entry| fires(entry)).count() as i64)
}

pub fn fires(entry: &Entry) -> bool {
    entry.course.phase == Phase::Firing && entry.course.unknown_since.is_none()
}

/// How old a look of the keeper may be; those of pg_cron come each minute.
pub fn longest_silence() -> Time {
    const SECOND: Time = 1_000_000;
    let interval = Time::try_from(crate::guc::alert_interval().as_micros()).unwrap_or(Time::MAX / 8);
    (3 * interval).max(15 * SECOND)
}
