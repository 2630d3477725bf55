//! What is kept of alerts between one look and the next.

use pgrx::datum::TimestampWithTimeZone;

use super::machine::{Course, Level, Phase, Time};
use super::rules::{self, Rule};
use crate::error::Error;
use crate::installed::{Installed, Readable, Table};
use crate::pg::process;
use crate::shmem;
use crate::sql::{Argument, argument, moment, read, value, write};

/// One alert about one object.
#[derive(Clone)]
pub struct Entry {
    pub rule: &'static Rule,
    pub object: String,
    pub course: Course,
    pub detail: Option<String>,
    pub run: Option<String>,
}

impl Entry {
    pub fn is_same_object(&self, other: &Entry) -> bool {
        self.rule.name == other.rule.name && self.object == other.object
    }

    fn says_the_same(&self, other: &Entry) -> bool {
        self.course == other.course && self.detail == other.detail && self.run == other.run
    }
}

/// Of the table; None where it is not there, as with the SQL objects of an older version.
pub fn read_entries(installed: &Installed) -> Result<Option<Vec<Entry>>, Error> {
    match installed.readable(Table::AlertState)? {
        Readable::Missing => return Ok(None),
        Readable::Locked => return Err(Error::TableLocked(installed.qualified(Table::AlertState))),
        Readable::Yes => {}
    }
    let text = format!(
        "SELECT alert, object, phase, severity, value, since, fired_at, calm_since, resolved_at, unknown_since, detail, statement
         FROM {} ORDER BY alert, object",
        installed.qualified(Table::AlertState)
    );
    read(&text, vec![], |rows| {
        let mut found = Vec::new();
        for row in rows {
            let time = |column: usize| -> Result<Option<Time>, Error> {
                Ok(row.get::<TimestampWithTimeZone>(column)?.map(Time::from))
            };
            let name = row.get::<String>(1)?.unwrap_or_default();
            let phase = row.get::<String>(3)?.unwrap_or_default();
            let level = row.get::<String>(4)?.unwrap_or_default();
            // What another version wrote, and somebody else made up, is not there.
            let (Some(rule), Some(phase), Some(level)) =
                (rules::named(&name), Phase::named(&phase), Level::named(&level))
            else {
                continue;
            };
            found.push(Entry {
                rule,
                object: row.get(2)?.unwrap_or_default(),
                course: Course {
                    phase,
                    level,
                    value: row.get(5)?,
                    since: time(6)?.unwrap_or(0),
                    fired_at: time(7)?,
                    calm_since: time(8)?,
                    resolved_at: time(9)?,
                    unknown_since: time(10)?,
                },
                detail: row.get(11)?,
                run: row.get(12)?,
            });
        }
        Ok(Some(found))
    })
}

/// Writes what is different.
pub fn save(installed: &Installed, before: &[Entry], after: &[Entry]) -> Result<(), Error> {
    let table = installed.qualified(Table::AlertState);
    let insert = format!(
        "INSERT INTO {table} AS s (alert, object, phase, severity, value, since, fired_at, calm_since, resolved_at, unknown_since,
                                   detail, statement)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (alert, object) DO UPDATE
             SET phase = excluded.phase, severity = excluded.severity, value = excluded.value, since = excluded.since,
                 fired_at = excluded.fired_at, calm_since = excluded.calm_since, resolved_at = excluded.resolved_at,
                 unknown_since = excluded.unknown_since, detail = excluded.detail, statement = excluded.statement"
    );
    for entry in after {
        let known = before.iter().find(|known| known.is_same_object(entry));
        if !known.is_some_and(|known| known.says_the_same(entry)) {
            write(&insert, columns(entry), |_| Ok(()))?;
        }
    }
    let delete = format!("DELETE FROM {table} WHERE alert = $1 AND object = $2");
    for entry in before {
        if !after.iter().any(|known| known.is_same_object(entry)) {
            let key = vec![argument(entry.rule.name), argument(entry.object.clone())];
            write(&delete, key, |_| Ok(()))?;
        }
    }
    Ok(())
}

fn columns(entry: &Entry) -> Vec<Argument> {
    let time = |time: Option<Time>| argument(time.map(moment));
    let course = &entry.course;
    vec![
        argument(entry.rule.name),
        argument(entry.object.clone()),
        argument(course.phase.name()),
        argument(course.level.name()),
        argument(course.value),
        time(Some(course.since)),
        time(course.fired_at),
        time(course.calm_since),
        time(course.resolved_at),
        time(course.unknown_since),
        argument(entry.detail.clone()),
        argument(entry.run.clone()),
    ]
}

/// When the keeper last looked; None: not since the server started. What comes from the future, by a clock that was set back, says
/// nothing.
pub fn evaluated_by_keeper(now: Time) -> Option<Time> {
    let database = process::my_database();
    let at = shmem::look_at_ledger(|ledger| ledger.account(database).map(|account| account.alerts_looked_at));
    at.flatten().filter(|at| *at != 0 && *at <= now)
}

/// When evaluate_alerts() was last called, which a dump may have brought.
pub fn evaluated_by_hand(installed: &Installed, now: Time) -> Result<Option<Time>, Error> {
    if installed.readable(Table::AlertEvaluations)? != Readable::Yes {
        return Ok(None);
    }
    let text = format!(
        "SELECT evaluated_at FROM {}",
        installed.qualified(Table::AlertEvaluations)
    );
    let at = read(&text, vec![], value::<TimestampWithTimeZone>)?;
    Ok(at.map(Time::from).filter(|at| *at <= now))
}

/// Called when a look by a session ends well.
pub fn note_evaluation(installed: &Installed, by: String) -> Result<(), Error> {
    let table = installed.qualified(Table::AlertEvaluations);
    write(
        &format!(
            "INSERT INTO {table} (evaluated_at, evaluated_by) VALUES (clock_timestamp(), $1)
             ON CONFLICT (only_row) DO UPDATE SET evaluated_at = excluded.evaluated_at, evaluated_by = excluded.evaluated_by"
        ),
        vec![argument(by)],
        |_| Ok(()),
    )
}
