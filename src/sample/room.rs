//! Room for samples: partitions ahead, and those that go because they are too old or because all of them together are too large. What
//! is dropped is a whole day of one kind of sample; nothing else is touched.

use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Table};
use crate::partition::create::{Parent, ensure_at};
use crate::partition::drop::drop_impatiently;
use crate::partition::parts::{Part, parts};
use crate::pg::partitions::EPOCH_2000;
use crate::sql::{argument, time, write};

/// Kinds of samples.
pub const TABLES: [Table; 6] = [
    Table::SampleRuns,
    Table::RelationSamples,
    Table::StatementSamples,
    Table::ServerSamples,
    Table::SizeSamples,
    Table::TenantSamples,
];

const SECOND: i64 = 1_000_000;
const DAY: i64 = 24 * 3600 * SECOND;

/// Texts that are kept at most, by when they were last seen.
const TEXTS: i64 = 20_000;

/// The partitions of today and tomorrow. Cheap when they are there.
pub fn make(installed: &Installed, now: i64) -> Result<(), Error> {
    for table in TABLES {
        ensure_at(
            installed,
            Parent::Samples(table),
            &[now + EPOCH_2000, now + DAY + EPOCH_2000],
            2,
        )?;
    }
    Ok(())
}

/// What is too old or too much goes; says why there is no room, if there is none.
pub fn clear(installed: &Installed, now: i64) -> Result<Cleared, Error> {
    let mut kept: Vec<(Table, Part)> = Vec::new();
    for table in TABLES {
        kept.extend(parts(installed, table)?.into_iter().map(|part| (table, part)));
    }
    let since = guc::sample_keep_seconds().map_or(i64::MIN, |keep| now.saturating_sub(keep * SECOND));
    let most = guc::sample_max_bytes().unwrap_or(i64::MAX);
    let (gone, rest) = split(kept, now, since, most);
    let mut cleared = Cleared {
        is_full: rest > most,
        ..Cleared::default()
    };
    for (table, part) in gone {
        match drop_impatiently(&installed.qualified(table), &part.name, || Ok(()))? {
            Ok(()) => cleared.dropped += 1,
            Err(failure) => {
                cleared.waiting = Some(format!("{} could not be dropped: {}", part.name, failure.message));
            }
        }
    }
    let texts = installed.qualified(Table::StatementTexts);
    write(
        &format!(
            "DELETE FROM {texts} WHERE last_seen_at < $1 - interval '1 day'
                OR last_seen_at < (SELECT last_seen_at FROM {texts} ORDER BY last_seen_at DESC OFFSET $2 LIMIT 1)"
        ),
        vec![time(since), argument(TEXTS)],
        |_| Ok(()),
    )?;
    Ok(cleared)
}

#[derive(Debug, Default)]
pub struct Cleared {
    pub dropped: i64,
    /// What is left, today's samples above all, is more than there may be.
    pub is_full: bool,
    pub waiting: Option<String>,
}

/// The partitions that go, and the size of those that stay. The oldest day goes first, of all kinds; today's stay. Pure.
fn split(mut kept: Vec<(Table, Part)>, now: i64, since: i64, most: i64) -> (Vec<(Table, Part)>, i64) {
    kept.sort_by_key(|(_, part)| part.until);
    let mut total: i64 = kept.iter().map(|(_, part)| part.bytes).sum();
    let mut gone = Vec::new();
    for (table, part) in kept {
        // What the days to come take, next to nothing, is no reason to give up the past.
        let is_past = part.until <= now;
        if is_past && (part.until <= since || total > most) {
            total -= part.bytes;
            gone.push((table, part));
        }
    }
    (gone, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(day: i64, bytes: i64) -> Part {
        Part {
            oid: 0,
            name: day.to_string(),
            from: day * DAY,
            until: (day + 1) * DAY,
            bytes,
            pages: bytes / 8192,
        }
    }

    fn kept() -> Vec<(Table, Part)> {
        let mut kept: Vec<_> = (5..=11)
            .map(|day| (Table::RelationSamples, part(day, 100)))
            .collect();
        kept.extend((5..=11).map(|day| (Table::StatementSamples, part(day, 10))));
        kept
    }

    fn gone(since: i64, most: i64) -> (Vec<String>, i64) {
        let (gone, rest) = split(kept(), 10 * DAY + 7, since, most);
        (gone.into_iter().map(|(_, part)| part.name).collect(), rest)
    }

    #[test]
    fn whole_days_that_are_too_old_go() {
        assert_eq!(gone(i64::MIN, i64::MAX), (vec![], 770));
        assert_eq!(gone(7 * DAY, i64::MAX).0, ["5", "5", "6", "6"]);
        assert_eq!(gone(7 * DAY - 1, i64::MAX).0, ["5", "5"]);
    }

    #[test]
    fn the_oldest_of_all_kinds_go_until_the_rest_fits_and_today_stays() {
        assert_eq!(gone(i64::MIN, 660), (vec!["5".to_owned(), "5".to_owned()], 660));
        assert_eq!(gone(i64::MIN, 659).0.len(), 3);
        let (days, rest) = gone(i64::MIN, 0);
        assert_eq!((days.len(), rest), (10, 220));
        assert!(!days.contains(&"10".to_owned()) && !days.contains(&"11".to_owned()));
    }
}
