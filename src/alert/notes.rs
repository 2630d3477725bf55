//! What people say about alerts: acknowledgements, silences, tests. Each ends by itself.

use pgrx::datum::TimestampWithTimeZone;

use super::machine::{Level, Time};
use super::state::Entry;
use crate::error::Error;
use crate::installed::{Installed, Readable, Table};
use crate::sql::{argument, moment, read, value, write};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Acknowledged,
    Silenced,
    Test,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Acknowledged => "acknowledged",
            Kind::Silenced => "silenced",
            Kind::Test => "test",
        }
    }

    fn named(name: &str) -> Option<Kind> {
        [Kind::Acknowledged, Kind::Silenced, Kind::Test]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

#[derive(Debug, Clone)]
pub struct Note {
    pub kind: Kind,
    pub alert: String,
    /// Empty: of the whole alert, or of the only object.
    pub object: String,
    pub ends_at: Time,
    pub made_at: Time,
    pub by: String,
    about: Option<Time>,
    pub level: Option<Level>,
}

impl Note {
    /// Whether it says something of this alert.
    pub fn concerns(&self, entry: &Entry) -> bool {
        self.alert == entry.rule.name
            && match self.kind {
                // Of what fired anew nobody has said anything.
                Kind::Acknowledged => self.object == entry.object && self.about == entry.course.fired_at,
                Kind::Silenced => self.object.is_empty() || self.object == entry.object,
                Kind::Test => false,
            }
    }
}

/// Those that have not ended.
pub fn in_force(installed: &Installed, now: Time) -> Result<Vec<Note>, Error> {
    match installed.readable(Table::AlertNotes)? {
        Readable::Missing => return Ok(Vec::new()),
        Readable::Locked => return Err(Error::TableLocked(installed.qualified(Table::AlertNotes))),
        Readable::Yes => {}
    }
    let text = format!(
        "SELECT kind, alert, object, ends_at, made_at, made_by, about, severity FROM {} WHERE ends_at > $1 ORDER BY 1, 2, 3",
        installed.qualified(Table::AlertNotes)
    );
    read(&text, vec![argument(moment(now))], |rows| {
        let mut found = Vec::new();
        for row in rows {
            let time = |column: usize| -> Result<Option<Time>, Error> {
                Ok(row.get::<TimestampWithTimeZone>(column)?.map(Time::from))
            };
            let Some(kind) = Kind::named(&row.get::<String>(1)?.unwrap_or_default()) else {
                continue;
            };
            found.push(Note {
                kind,
                alert: row.get(2)?.unwrap_or_default(),
                object: row.get(3)?.unwrap_or_default(),
                ends_at: time(4)?.unwrap_or(0),
                made_at: time(5)?.unwrap_or(0),
                by: row.get(6)?.unwrap_or_default(),
                about: time(7)?,
                level: row.get::<String>(8)?.as_deref().and_then(Level::named),
            });
        }
        Ok(found)
    })
}

/// What is said anew takes the place of what was said before.
pub struct New<'a> {
    pub kind: Kind,
    pub alert: &'a str,
    pub object: &'a str,
    pub ends_at: Time,
    pub by: &'a str,
    pub reason: Option<&'a str>,
    pub about: Option<Time>,
    pub level: Option<Level>,
}

pub fn say(installed: &Installed, new: &New) -> Result<(), Error> {
    let text = format!(
        "INSERT INTO {} AS n (kind, alert, object, ends_at, made_by, reason, about, severity) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (kind, alert, object) DO UPDATE
             SET ends_at = excluded.ends_at, made_at = excluded.made_at, made_by = excluded.made_by, reason = excluded.reason,
                 about = excluded.about, severity = excluded.severity",
        installed.qualified(Table::AlertNotes)
    );
    let arguments = vec![
        argument(new.kind.name()),
        argument(new.alert.to_owned()),
        argument(new.object.to_owned()),
        argument(moment(new.ends_at)),
        argument(new.by.to_owned()),
        argument(new.reason.map(str::to_owned)),
        argument(new.about.map(moment)),
        argument(new.level.map(Level::name)),
    ];
    write(&text, arguments, |_| Ok(()))
}

/// How many were taken back that had not ended. Without an object: all of the alert.
pub fn take_back(installed: &Installed, kind: Kind, alert: &str, object: Option<&str>) -> Result<i64, Error> {
    let text = format!(
        "WITH gone AS (
             DELETE FROM {} WHERE kind = $1 AND alert = $2 AND ($3 IS NULL OR object = $3) RETURNING ends_at)
         SELECT count(*) FROM gone WHERE ends_at > clock_timestamp()",
        installed.qualified(Table::AlertNotes)
    );
    let arguments = vec![
        argument(kind.name()),
        argument(alert.to_owned()),
        argument(object.map(str::to_owned)),
    ];
    let count: Option<i64> = write(&text, arguments, value)?;
    Ok(count.unwrap_or(0))
}

/// Those that ended a day ago. Waits for nobody, and writes nothing where there are none.
pub fn forget_old(installed: &Installed) -> Result<(), Error> {
    if installed.readable(Table::AlertNotes)? != Readable::Yes {
        return Ok(());
    }
    let table = installed.qualified(Table::AlertNotes);
    let old = "ends_at < clock_timestamp() - interval '1 day'";
    let found: Option<bool> = read(
        &format!("SELECT EXISTS (SELECT FROM {table} WHERE {old})"),
        vec![],
        value,
    )?;
    if found != Some(true) {
        return Ok(());
    }
    write(
        &format!(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {old} LIMIT 1000 FOR UPDATE SKIP LOCKED))"
        ),
        vec![],
        |_| Ok(()),
    )
}
