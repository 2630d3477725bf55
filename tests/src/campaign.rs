//! What campaigns share: many sessions that write and flush for a while, and a ledger on the client's side of the rows whose
//! commit was acknowledged.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::log::LogMark;
use crate::session::Session;

/// `make soak` asks for the long version.
pub fn soaking() -> bool {
    std::env::var_os("PG_TELEMETRY_SOAK").is_some()
}

/// Says something that the reader of a passing run is to see too: what a test prints is shown only when it fails.
pub fn announce(text: &str) {
    // There is nobody to tell that nobody listens.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Stops background work.
#[derive(Clone, Default)]
pub struct Bell(Arc<AtomicBool>);

impl Bell {
    pub fn ring(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn silent(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

/// Numbers that no two calls get.
#[derive(Clone, Default)]
pub struct Numbers(Arc<AtomicI64>);

impl Numbers {
    pub fn from(first: i64) -> Numbers {
        Numbers(Arc::new(AtomicI64::new(first - 1)))
    }

    /// The first of so many.
    pub fn take(&self, count: i64) -> i64 {
        self.0.fetch_add(count, Ordering::Relaxed) + 1
    }

    /// The last that somebody got.
    pub fn last(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Rows that were acknowledged, each named by its entity: first and last of each transaction.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Vec<(i64, i64)>>>);

impl Ledger {
    pub fn add(&self, first: i64, last: i64) {
        self.ranges().push((first, last));
    }

    pub fn rows(&self) -> i64 {
        self.ranges().iter().map(|(first, last)| last - first + 1).sum()
    }

    /// As it is now; others may go on adding.
    pub fn copy(&self) -> Vec<(i64, i64)> {
        self.ranges().clone()
    }

    fn ranges(&self) -> MutexGuard<'_, Vec<(i64, i64)>> {
        // A writer that panicked has not left half an entry.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What is wrong with `found`, the entities that are there, sorted: every row of the ledger must be among them, and none
/// twice. Rows that are not in the ledger may be there, since a commit may happen without its acknowledgement.
pub fn faults(ledger: &[(i64, i64)], found: &[i64]) -> Vec<String> {
    let mut faults: Vec<String> = found
        .windows(2)
        .filter(|pair| pair[0] == pair[1])
        .map(|pair| format!("{} is there twice", pair[0]))
        .collect();
    for (first, last) in ledger {
        let there =
            found.partition_point(|entity| entity <= last) - found.partition_point(|entity| entity < first);
        if (there as i64) < last - first + 1 {
            faults.push(format!(
                "of {first} to {last} only {there} of {} are there",
                last - first + 1
            ));
        }
    }
    faults.truncate(20);
    faults
}

/// Lines for [`COPIED`], one for each entity from `first` on.
pub fn copy_lines(id: i64, first: i64, count: i64) -> String {
    (first..first + count)
        .map(|entity| format!("1\t{entity}\t{id}\t{entity}.5\n"))
        .collect()
}

/// The columns that [`copy_lines`] fills.
pub const COPIED: &str = "(tenant_id, entity_id, attribute_id, value_num)";

/// The entities of those facts, sorted.
#[track_caller]
pub fn entities_in_facts(session: &mut Session, condition: &str) -> Vec<i64> {
    let sql = format!("SELECT entity_id FROM entity_values_ts WHERE {condition}");
    let found = session
        .client()
        .query(&sql, &[])
        .unwrap_or_else(|error| panic!("facts cannot be read: {error:?}"));
    let mut entities: Vec<i64> = found.iter().map(|row| row.get(0)).collect();
    entities.sort_unstable();
    entities
}

/// Everything of the level of an error that the server logged, but for these SQLSTATEs. That autovacuum makes way is its nature,
/// and so does a probe for whoever makes a database after the one that it looks at.
pub fn errors_but(log: &LogMark, expected: &[&str]) -> Vec<String> {
    let serious = |line: &&str| {
        ["ERROR: ", "FATAL: ", "PANIC: ", "deadlock detected"]
            .iter()
            .any(|sign| line.contains(sign))
    };
    let is_expected = |line: &&str| {
        line.contains("canceling autovacuum task")
            || line.contains("terminating background worker \"pg_telemetry probe\"")
            || expected.iter().any(|code| line.contains(&format!(" {code} ")))
    };
    let text = log.text();
    let lines = text.lines().filter(serious).filter(|line| !is_expected(line));
    lines.map(str::to_owned).collect()
}

/// Moments that differ from run to run. What a test needs to be repeated is the seed, which it announces.
pub struct Chance(u64);

impl Chance {
    pub fn new() -> Chance {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Chance(now.map_or(1, |now| now.as_nanos() as u64) | 1)
    }

    /// From `low` to below `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        low + self.0 % (high - low)
    }
}

impl Default for Chance {
    fn default() -> Self {
        Chance::new()
    }
}
