//! What rules look at: queries, and what no query can say.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::machine::Reading;
use super::rules::{Code, Probe, Rule, USUAL_INTERVAL};
use crate::accounting::history;
use crate::accounting::minutes::Source;
use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Table};
use crate::partition::bounds::{Micros, Period, covered_until};
use crate::partition::create::{Parent, missing_now};
use crate::partition::state;
use crate::pg::xact::{self, Failure};
use crate::pg::{disk, identity, lock, partitions, process};
use crate::shmem;
use crate::sql::{read, read_once, value};

/// What is found of one object.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Empty where there is only one.
    pub object: String,
    pub reading: Reading,
    pub detail: Option<String>,
    pub run: Option<String>,
}

/// More than this is as bad, and not told one by one.
const MOST_OBJECTS: usize = 20;

/// A rule that takes longer is not known: the keeper has heartbeats to write.
const LIMIT: Duration = Duration::from_millis(250);

/// Of one that is looked at once a minute.
const LIMIT_OF_COSTLY: Duration = Duration::from_secs(1);

/// Bytes of a text that comes from elsewhere.
const LONGEST: usize = 500;

/// Looks. Whatever goes wrong is undone, and comes out as the failure of this rule only.
pub fn look(installed: &Installed, rule: &Rule) -> Result<Vec<Finding>, Failure> {
    let limit = if rule.every > USUAL_INTERVAL {
        LIMIT_OF_COSTLY
    } else {
        LIMIT
    };
    let mut found = xact::bounded(limit, || match rule.probe {
        Probe::Monitor(text) => identity::as_monitor(|| ask(installed, text)),
        Probe::Owner(text) => identity::as_owner(|| ask(installed, text)),
        Probe::Code(code) => identity::as_owner(|| run(installed, code)),
    })?;
    found.truncate(MOST_OBJECTS);
    for finding in &mut found {
        shorten(&mut finding.object);
        finding.detail.iter_mut().for_each(shorten);
    }
    Ok(found)
}

fn shorten(text: &mut String) {
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
}

fn ask(installed: &Installed, text: &str) -> Result<Vec<Finding>, Error> {
    read(
        &named(text, &installed.schema, &installed.quoted_schema()),
        vec![],
        |rows| {
            let mut found = Vec::new();
            for row in rows {
                let (detail, run) = told(row.get(3)?, row.get(4)?);
                found.push(Finding {
                    object: row.get(1)?.unwrap_or_default(),
                    reading: row
                        .get::<f64>(2)?
                        .filter(|value| !value.is_nan())
                        .map_or(Reading::Unknown, Reading::Value),
                    detail,
                    run,
                });
            }
            Ok(found)
        },
    )
}

/// What a view advises need not be a statement to run; then it is something to read.
fn told(detail: Option<String>, advice: Option<String>) -> (Option<String>, Option<String>) {
    match (detail, advice) {
        (Some(detail), Some(advice)) if !advice.ends_with(';') => (Some(format!("{detail}; {advice}")), None),
        (None, Some(advice)) if !advice.ends_with(';') => (Some(advice), None),
        other => other,
    }
}

/// Puts the schema in, also inside of literals.
pub fn named(text: &str, schema: &str, quoted: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut in_literal = false;
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let literal = |name: &str| {
            if in_literal {
                name.replace('\'', "''")
            } else {
                name.to_owned()
            }
        };
        if let Some(after) = rest.strip_prefix("@extschema@") {
            out.push_str(&literal(quoted));
            rest = after;
        } else if let Some(after) = rest.strip_prefix("@schema@") {
            out.push_str(&literal(schema));
            rest = after;
        } else {
            in_literal ^= character == '\'';
            out.push(character);
            rest = &rest[character.len_utf8()..];
        }
    }
    out
}

fn run(installed: &Installed, code: Code) -> Result<Vec<Finding>, Error> {
    match code {
        Code::Nothing => Ok(Vec::new()),
        Code::Rejects => rejects(installed),
        Code::Coverage => coverage(installed),
        Code::Gaps => gaps(installed),
        Code::Disks => disks(),
        Code::Clock => clock(installed),
    }
}

fn only(reading: Reading, detail: Option<String>) -> Finding {
    Finding {
        object: String::new(),
        reading,
        detail,
        run: None,
    }
}

/// Rejections are a storm when they are many, by themselves and in proportion.
const FEW_REJECTS: u64 = 10;

fn rejects(installed: &Installed) -> Result<Vec<Finding>, Error> {
    const MINUTES: i64 = 5 * 60_000_000;
    let database = process::my_database();
    let since = process::now() - MINUTES;
    let mut minutes: HashMap<(i64, &str, i64), (u64, u64)> = HashMap::new();
    let remembered = shmem::look_at_ledger(|ledger| {
        ledger
            .account(database)
            .map(|account| account.minutes.all())
            .unwrap_or_default()
    });
    // What is in both is one.
    for (key, counters) in history::read_since(installed, since)?
        .into_iter()
        .chain(remembered.unwrap_or_default())
        .filter(|(key, _)| key.minute >= since)
    {
        minutes.insert(
            (key.minute, Source::name(key.source), key.since),
            (counters.rows_flushed, counters.rows_rejected),
        );
    }
    let flushed: u64 = minutes.values().map(|(flushed, _)| flushed).sum();
    let rejected: u64 = minutes.values().map(|(_, rejected)| rejected).sum();
    if rejected < FEW_REJECTS {
        return Ok(Vec::new());
    }
    let share = rejected as f64 / (flushed + rejected) as f64;
    let detail = format!("{rejected} readings rejected, {flushed} stored in the last five minutes");
    Ok(vec![only(Reading::Value(share), Some(detail))])
}

/// Periods of the partitions of facts, in order. None while somebody keeps the table locked.
fn periods(installed: &Installed) -> Result<Option<Vec<Period>>, Error> {
    let facts = installed.require_table(Table::Facts)?;
    if !lock::try_read(facts) {
        return Ok(None);
    }
    let mut periods = partitions::periods(facts);
    periods.sort();
    Ok(Some(periods))
}

fn coverage(installed: &Installed) -> Result<Vec<Finding>, Error> {
    let Some(periods) = periods(installed)? else {
        return Ok(vec![only(
            Reading::Unknown,
            Some("entity_values_ts is locked".to_owned()),
        )]);
    };
    let now = state::now();
    let until = covered_until(&periods, now);
    let ahead = periods_ahead(now, until);
    // As many as were asked for are enough, however few that is.
    if ahead >= guc::premake() as f64 {
        return Ok(Vec::new());
    }
    let detail = match until {
        Some(_) => format!(
            "partitions for {ahead:.1} periods ahead, {} are wanted",
            guc::premake()
        ),
        None => "there is no partition for now".to_owned(),
    };
    Ok(vec![only(Reading::Value(ahead), Some(detail))])
}

/// How many periods of the current length go into the time that has partitions.
fn periods_ahead(now: Micros, until: Option<Micros>) -> f64 {
    match (until, guc::partition_step().period_at(now)) {
        (Some(until), Some(current)) => {
            let length = (current.end - current.start).max(1);
            (until.saturating_sub(now) as f64 / length as f64).max(0.0)
        }
        (Some(_), None) => f64::MAX,
        (None, _) => 0.0,
    }
}

fn gaps(installed: &Installed) -> Result<Vec<Finding>, Error> {
    let Some(periods) = periods(installed)? else {
        return Ok(vec![only(
            Reading::Unknown,
            Some("entity_values_ts is locked".to_owned()),
        )]);
    };
    let now = state::now();
    let missing = missing_now(installed, Parent::Facts)?;
    // At the end of all nothing is missing in between; that is a matter of coverage.
    let last = periods.last().map_or(Micros::MIN, |last| last.start);
    let gaps: Vec<Period> = missing
        .gaps
        .into_iter()
        .chain(missing.ahead)
        .filter(|gap| gap.start < last)
        .collect();
    let Some(first) = gaps.first() else {
        return Ok(Vec::new());
    };
    let detail = match (first.start - now) / 3_600_000_000 {
        hours if hours > 0 => format!("the first begins in {hours} hours"),
        _ => "the first has begun".to_owned(),
    };
    Ok(vec![only(Reading::Value(gaps.len() as f64), Some(detail))])
}

/// Folders that must have room, as people call them and as the server's processes find them.
fn folders() -> Result<Vec<(String, String)>, Error> {
    let mut folders = vec![
        ("data directory".to_owned(), ".".to_owned()),
        ("WAL".to_owned(), "pg_wal".to_owned()),
    ];
    read(
        "SELECT spcname::text, oid::bigint::text FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY 1",
        vec![],
        |rows| {
            for row in rows {
                if let (Some(name), Some(oid)) = (row.get::<String>(1)?, row.get::<String>(2)?) {
                    folders.push((format!("tablespace {name}"), format!("pg_tblspc/{oid}")));
                }
            }
            Ok(())
        },
    )?;
    Ok(folders)
}

fn disks() -> Result<Vec<Finding>, Error> {
    let mut known: Vec<u64> = Vec::new();
    let mut found = Vec::new();
    for (name, folder) in folders()? {
        let (reading, detail) = match disk::room(&folder) {
            // Folders on one file system are one object.
            Ok(room) if known.contains(&room.file_system) => continue,
            Ok(room) => {
                known.push(room.file_system);
                let share = room.free as f64 / room.total.max(1) as f64;
                let mebibytes = |bytes: u64| bytes >> 20;
                (
                    Reading::Value(share),
                    format!("{} of {} MB free", mebibytes(room.free), mebibytes(room.total)),
                )
            }
            Err(error) => (Reading::Unknown, error.to_string()),
        };
        found.push(Finding {
            object: name,
            reading,
            detail: Some(detail),
            run: None,
        });
    }
    Ok(found)
}

thread_local! {
    /// The clock of the server and one that nobody sets, at the last look.
    static CLOCKS: RefCell<Option<(i64, Instant)>> = const { RefCell::new(None) };
}

/// Both ways of a step: this process saw it, or a heartbeat comes from the future.
fn clock(installed: &Installed) -> Result<Vec<Finding>, Error> {
    let (now, steady) = (process::now(), Instant::now());
    let before = CLOCKS.replace(Some((now, steady)));
    let stepped = before.map_or(0.0, |(then, begun)| {
        let passed = steady.duration_since(begun).as_micros() as f64;
        (now - then) as f64 - passed
    });
    let ahead: Option<f64> = if installed.table_oid(Table::Heartbeat)?.is_some() {
        read_once(
            &format!(
                "SELECT extract(epoch FROM max(written_at) - clock_timestamp())::double precision FROM {}",
                installed.qualified(Table::Heartbeat)
            ),
            vec![],
            value,
        )?
    } else {
        None
    };
    let stepped = stepped / 1e6;
    let ahead = ahead.unwrap_or(0.0).max(0.0);
    if stepped.abs() < 1.0 && ahead < 1.0 {
        return Ok(Vec::new());
    }
    let detail = if stepped.abs() >= ahead {
        format!(
            "it was set {} by {:.0} s",
            if stepped < 0.0 { "back" } else { "ahead" },
            stepped.abs()
        )
    } else {
        format!("the newest heartbeat is {ahead:.0} s ahead of it")
    };
    Ok(vec![only(Reading::Value(stepped.abs().max(ahead)), Some(detail))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_quoted_where_it_stands() {
        let text = "SELECT x FROM @extschema@.t WHERE n = '@schema@' AND r = 'call @extschema@.f(''a'')' AND @extschema@.ok";
        assert_eq!(
            named(text, "a'b", "\"a'b\""),
            "SELECT x FROM \"a'b\".t WHERE n = 'a''b' AND r = 'call \"a''b\".f(''a'')' AND \"a'b\".ok"
        );
        assert_eq!(named("ä@extschema@", "s", "s"), "äs");
    }
}
