//! What people call: acknowledge, silence, try out.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::machine::{Level, Time};
use super::notes::{self, Kind, New};
use super::round::fires;
use super::rules::{self, Rule};
use super::state;
use crate::argument::reason;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::{identity, process, xact};
use crate::sql::moment;

const DAY: Time = 24 * 3600 * 1_000_000;
const YEAR: Time = 366 * DAY;

fn rule(alert: Option<String>) -> Result<&'static Rule, Error> {
    let name = alert.ok_or(Error::NullArgument { argument: "alert" })?;
    rules::named(&name).ok_or(Error::UnknownAlert(name))
}

fn end(ends_in: Option<Interval>, most: Time) -> Result<Time, Error> {
    let micros = ends_in
        .ok_or(Error::NullArgument { argument: "ends_in" })?
        .as_micros();
    match Time::try_from(micros) {
        Ok(micros) if micros > 0 && micros <= most => Ok(process::now() + micros),
        _ => Err(Error::InvalidText {
            argument: "ends_in",
            fault: format!("it must be more than nothing and at most {} days", most / DAY),
        }),
    }
}

fn to_write() -> Result<Installed, Error> {
    xact::check_writable()?;
    let installed = Installed::require()?;
    installed.require_table(Table::AlertNotes)?;
    installed.require_table(Table::AlertState)?;
    Ok(installed)
}

#[pg_extern]
fn ack_alert(
    alert: Option<String>,
    object: Option<String>,
    ends_in: Option<Interval>,
    why: Option<String>,
) -> Result<i64, ErrorReport> {
    let by = identity::current_name();
    Ok(identity::as_owner(|| {
        let (rule, why, ends_at) = (rule(alert)?, reason(why)?, end(ends_in, YEAR)?);
        let installed = to_write()?;
        let mut count = 0;
        for entry in state::read_entries(&installed)?.unwrap_or_default() {
            let meant =
                entry.rule.name == rule.name && object.as_ref().is_none_or(|object| *object == entry.object);
            if meant && fires(&entry) {
                notes::say(
                    &installed,
                    &New {
                        kind: Kind::Acknowledged,
                        alert: rule.name,
                        object: &entry.object,
                        ends_at,
                        by: &by,
                        reason: why.as_deref(),
                        about: entry.course.fired_at,
                        level: None,
                    },
                )?;
                count += 1;
            }
        }
        Ok(count)
    })?)
}

#[pg_extern]
fn silence_alert(
    alert: Option<String>,
    ends_in: Option<Interval>,
    object: Option<String>,
    why: Option<String>,
) -> Result<TimestampWithTimeZone, ErrorReport> {
    let by = identity::current_name();
    Ok(identity::as_owner(|| {
        let (rule, why, ends_at) = (rule(alert)?, reason(why)?, end(ends_in, YEAR)?);
        notes::say(
            &to_write()?,
            &New {
                kind: Kind::Silenced,
                alert: rule.name,
                object: object.as_deref().unwrap_or_default(),
                ends_at,
                by: &by,
                reason: why.as_deref(),
                about: None,
                level: None,
            },
        )?;
        Ok(moment(ends_at))
    })?)
}

#[pg_extern]
fn unack_alert(alert: Option<String>, object: Option<String>) -> Result<i64, ErrorReport> {
    Ok(take_back(Kind::Acknowledged, alert, object)?)
}

#[pg_extern]
fn unsilence_alert(alert: Option<String>, object: Option<String>) -> Result<i64, ErrorReport> {
    Ok(take_back(Kind::Silenced, alert, object)?)
}

fn take_back(kind: Kind, alert: Option<String>, object: Option<String>) -> Result<i64, Error> {
    identity::as_owner(|| notes::take_back(&to_write()?, kind, rule(alert)?.name, object.as_deref()))
}

#[pg_extern]
fn test_alert(
    alert: Option<String>,
    severity: Option<String>,
    ends_in: Option<Interval>,
) -> Result<TimestampWithTimeZone, ErrorReport> {
    let by = identity::current_name();
    Ok(identity::as_owner(|| {
        let (rule, ends_at) = (rule(alert)?, end(ends_in, DAY)?);
        let severity = severity.ok_or(Error::NullArgument { argument: "severity" })?;
        let level = Level::named(&severity).ok_or(Error::InvalidText {
            argument: "severity",
            fault: format!("\"{severity}\" is neither warning nor critical"),
        })?;
        notes::say(
            &to_write()?,
            &New {
                kind: Kind::Test,
                alert: rule.name,
                object: "",
                ends_at,
                by: &by,
                reason: None,
                about: None,
                level: Some(level),
            },
        )?;
        Ok(moment(ends_at))
    })?)
}
