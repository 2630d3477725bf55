//! What flushes did, by minute, until the keeper has written it into a table. Pure; the clock is an argument.

use super::histogram::Histogram;

const MINUTE: i64 = 60_000_000;

/// Minutes that one database can have in shared memory: those of a quarter of an hour and more during which the keeper
/// cannot write. Beyond, the oldest is given up.
const ENTRIES: usize = 32;

/// Who flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Worker,
    Sql,
}

impl Source {
    pub fn name(self) -> &'static str {
        match self {
            Source::Worker => "worker",
            Source::Sql => "sql",
        }
    }

    pub fn from_name(name: &str) -> Self {
        match name {
            "worker" => Source::Worker,
            _ => Source::Sql,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    pub batches: u64,
    pub rows_flushed: u64,
    pub rows_rejected: u64,
    /// The most that waited after one flush.
    pub rows_waiting: u64,
    pub wal_bytes: u64,
    pub fallback_claims: u64,
    pub fallback_leaves: u64,
    pub retries: u64,
    pub errors: u64,
    pub partitions_created: u64,
    pub longest_us: u64,
    pub durations: Histogram,
}

impl Counters {
    pub const NONE: Self = Counters {
        batches: 0,
        rows_flushed: 0,
        rows_rejected: 0,
        rows_waiting: 0,
        wal_bytes: 0,
        fallback_claims: 0,
        fallback_leaves: 0,
        retries: 0,
        errors: 0,
        partitions_created: 0,
        longest_us: 0,
        durations: Histogram::EMPTY,
    };

    pub fn add(&mut self, other: &Counters) {
        self.batches += other.batches;
        self.rows_flushed += other.rows_flushed;
        self.rows_rejected += other.rows_rejected;
        self.rows_waiting = self.rows_waiting.max(other.rows_waiting);
        self.wal_bytes += other.wal_bytes;
        self.fallback_claims += other.fallback_claims;
        self.fallback_leaves += other.fallback_leaves;
        self.retries += other.retries;
        self.errors += other.errors;
        self.partitions_created += other.partitions_created;
        self.longest_us = self.longest_us.max(other.longest_us);
        self.durations.add(&other.durations);
    }
}

/// Names what was counted in one minute, from one moment on until it was sealed: never twice the same, so that what is both
/// in the table and in shared memory is known to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub minute: i64,
    pub source: Source,
    pub since: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Free,
    Open,
    /// Nothing is added any more: it may be written.
    Sealed,
    /// In the table, for sure.
    Written,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    key: Key,
    stage: Stage,
    counters: Counters,
}

#[derive(Clone, Copy)]
pub struct Minutes {
    entries: [Entry; ENTRIES],
    last_since: i64,
}

impl Minutes {
    pub const EMPTY: Self = Minutes {
        entries: [Entry {
            key: Key {
                minute: 0,
                source: Source::Worker,
                since: 0,
            },
            stage: Stage::Free,
            counters: Counters::NONE,
        }; ENTRIES],
        last_since: 0,
    };

    pub fn add(&mut self, now: i64, source: Source, counters: &Counters) {
        let minute = now - now.rem_euclid(MINUTE);
        let open = self.entries.iter().position(|entry| {
            entry.stage == Stage::Open && entry.key.minute == minute && entry.key.source == source
        });
        let place = open.unwrap_or_else(|| self.make_room());
        let entry = &mut self.entries[place];
        if open.is_none() {
            // Also where the clock was set back.
            self.last_since = now.max(self.last_since + 1);
            *entry = Entry {
                key: Key {
                    minute,
                    source,
                    since: self.last_since,
                },
                stage: Stage::Open,
                counters: Counters::NONE,
            };
        }
        entry.counters.add(counters);
    }

    fn make_room(&self) -> usize {
        let order = |entry: &Entry| match entry.stage {
            Stage::Free => (0, 0),
            Stage::Written => (1, entry.key.since),
            Stage::Sealed | Stage::Open => (2, entry.key.since),
        };
        (0..ENTRIES)
            .min_by_key(|place| order(&self.entries[*place]))
            .unwrap_or(0)
    }

    /// What is to be written now: the minutes that are over, or all when the server is about to stop.
    pub fn seal(&mut self, now: i64, all: bool) -> Vec<(Key, Counters)> {
        let current = now - now.rem_euclid(MINUTE);
        for entry in &mut self.entries {
            if entry.stage == Stage::Open && (all || entry.key.minute != current) {
                entry.stage = Stage::Sealed;
            }
        }
        self.in_stage(|stage| stage == Stage::Sealed)
    }

    pub fn has_finished(&self, now: i64, all: bool) -> bool {
        let current = now - now.rem_euclid(MINUTE);
        self.entries.iter().any(|entry| match entry.stage {
            Stage::Sealed => true,
            Stage::Open => all || entry.key.minute != current,
            Stage::Free | Stage::Written => false,
        })
    }

    pub fn written(&mut self, keys: &[Key]) {
        for entry in &mut self.entries {
            if entry.stage == Stage::Sealed && keys.contains(&entry.key) {
                entry.stage = Stage::Written;
            }
        }
    }

    /// All that is remembered, written or not.
    pub fn all(&self) -> Vec<(Key, Counters)> {
        self.in_stage(|stage| stage != Stage::Free)
    }

    fn in_stage(&self, wanted: impl Fn(Stage) -> bool) -> Vec<(Key, Counters)> {
        self.entries
            .iter()
            .filter(|entry| wanted(entry.stage))
            .map(|entry| (entry.key, entry.counters))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: u64) -> Counters {
        Counters {
            batches: 1,
            rows_flushed: rows,
            ..Counters::NONE
        }
    }

    fn flushed(found: &[(Key, Counters)]) -> u64 {
        found.iter().map(|(_, counters)| counters.rows_flushed).sum()
    }

    #[test]
    fn a_minute_is_written_once_it_is_over_and_counts_go_on_in_another_entry() {
        let mut minutes = Minutes::EMPTY;
        minutes.add(10 * MINUTE + 1, Source::Worker, &rows(1));
        minutes.add(10 * MINUTE + 2, Source::Worker, &rows(2));
        minutes.add(10 * MINUTE + 2, Source::Sql, &rows(4));
        assert!(minutes.seal(10 * MINUTE + 3, false).is_empty());
        let over = minutes.seal(11 * MINUTE, false);
        assert_eq!((over.len(), flushed(&over)), (2, 7));
        // Until it is known to be written it is offered again.
        assert_eq!(minutes.seal(11 * MINUTE, false), over);
        let keys: Vec<Key> = over.iter().map(|(key, _)| *key).collect();
        minutes.written(&keys);
        assert!(!minutes.has_finished(11 * MINUTE, true));
        // A clock that was set back, or a late commit, makes a new entry of its own.
        minutes.add(10 * MINUTE + 1, Source::Worker, &rows(8));
        let late = minutes.seal(11 * MINUTE, false);
        assert_eq!(flushed(&late), 8);
        assert!(!keys.contains(&late[0].0));
        assert_eq!(flushed(&minutes.all()), 15);
    }

    #[test]
    fn a_stop_writes_the_minute_that_is_not_over() {
        let mut minutes = Minutes::EMPTY;
        minutes.add(5, Source::Sql, &rows(3));
        assert!(!minutes.has_finished(6, false) && minutes.has_finished(6, true));
        assert_eq!(flushed(&minutes.seal(6, true)), 3);
    }

    #[test]
    fn where_nothing_can_be_written_the_oldest_gives_way() {
        let mut minutes = Minutes::EMPTY;
        for minute in 0..ENTRIES as i64 + 3 {
            minutes.add(minute * MINUTE, Source::Worker, &rows(1));
        }
        let all = minutes.all();
        assert_eq!(all.len(), ENTRIES);
        assert!(all.iter().all(|(key, _)| key.minute >= 3 * MINUTE));
    }
}
