//! What rows of `alert_rules` say instead of what is built in.

use std::collections::HashMap;

use pgrx::datum::Interval;

use super::machine::{Time, Tuning};
use super::rules::{self, Rule};
use crate::error::Error;
use crate::installed::{Installed, Readable, Table};
use crate::sql::read;

/// One row; None leaves a field as it is built in.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Override {
    pub enabled: Option<bool>,
    pub warn: Option<f64>,
    pub critical: Option<f64>,
    pub clear: Option<f64>,
    pub lasts: Option<Time>,
    pub keep: Option<Time>,
}

#[derive(Debug, Default)]
pub struct Overrides(HashMap<String, Override>);

impl Overrides {
    pub fn read(installed: &Installed) -> Result<Overrides, Error> {
        match installed.readable(Table::AlertRules)? {
            Readable::Missing => return Ok(Overrides::default()),
            Readable::Locked => return Err(Error::TableLocked(installed.qualified(Table::AlertRules))),
            Readable::Yes => {}
        }
        let text = format!(
            "SELECT alert, enabled, warn, critical, clear, for_duration, keep_for FROM {}",
            installed.qualified(Table::AlertRules)
        );
        read(&text, vec![], |rows| {
            let mut found = HashMap::new();
            for row in rows {
                let micros = |interval: Option<Interval>| {
                    interval.map(|interval| Time::try_from(interval.as_micros()).unwrap_or(Time::MAX).max(0))
                };
                found.insert(
                    row.get::<String>(1)?.unwrap_or_default(),
                    Override {
                        enabled: row.get(2)?,
                        warn: row.get(3)?,
                        critical: row.get(4)?,
                        clear: row.get(5)?,
                        lasts: micros(row.get(6)?),
                        keep: micros(row.get(7)?),
                    },
                );
            }
            Ok(Overrides(found))
        })
    }

    /// None: it is turned off.
    pub fn tuning(&self, rule: &Rule) -> Option<Tuning> {
        tuned(rule.tuning(), self.0.get(rule.name))
    }

    /// Names that no rule has, in order.
    pub fn strangers(&self) -> Vec<&str> {
        let mut found: Vec<&str> = self
            .0
            .keys()
            .map(String::as_str)
            .filter(|name| rules::named(name).is_none())
            .collect();
        found.sort_unstable();
        found
    }
}

fn tuned(built_in: Tuning, row: Option<&Override>) -> Option<Tuning> {
    let Some(row) = row else {
        return Some(built_in);
    };
    (row.enabled != Some(false)).then(|| Tuning {
        worse: built_in.worse,
        warn: row.warn.or(built_in.warn),
        critical: row.critical.or(built_in.critical),
        clear: row.clear.unwrap_or(built_in.clear),
        lasts: row.lasts.unwrap_or(built_in.lasts),
        keep: row.keep.unwrap_or(built_in.keep),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_overridden_by_itself() {
        let rule = rules::all().next().unwrap();
        let built_in = rule.tuning();
        assert_eq!(tuned(built_in, None), Some(built_in));
        assert_eq!(tuned(built_in, Some(&Override::default())), Some(built_in));
        let row = Override {
            critical: Some(7.0),
            keep: Some(0),
            ..Override::default()
        };
        let expected = Tuning {
            critical: Some(7.0),
            keep: 0,
            ..built_in
        };
        assert_eq!(tuned(built_in, Some(&row)), Some(expected));
        let off = Override {
            enabled: Some(false),
            ..row
        };
        assert_eq!(tuned(built_in, Some(&off)), None);
    }
}
