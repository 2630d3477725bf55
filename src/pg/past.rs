//! Snapshots that this process took a while ago, kept as copies: they hold nothing back. Such a copy still says which
//! transactions had ended by then, and nothing else in the server does.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pgrx::pg_sys;
use pgrx::pg_sys::TransactionId;

use super::horizon::precedes;
use super::process;

/// So many copies are spread over the time that is looked back; an answer is at most that part of it older than asked for.
const STEPS: u32 = 16;

/// What was there at some moments, as far back as anybody asks. Pure.
struct Memory<T> {
    entries: VecDeque<(Instant, T)>,
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Memory {
            entries: VecDeque::new(),
        }
    }
}

impl<T> Memory<T> {
    /// Whether the newest entry is old enough for another one to be worth its memory.
    fn wants(&self, now: Instant, back: Duration) -> bool {
        self.entries
            .back()
            .is_none_or(|(at, _)| now.saturating_duration_since(*at) >= back / STEPS)
    }

    /// Keeps what is asked for `back` from now on: one entry that old, and all that are younger.
    fn add(&mut self, now: Instant, entry: T, back: Duration) {
        self.entries.push_back((now, entry));
        while self
            .entries
            .get(1)
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= back)
        {
            self.entries.pop_front();
        }
    }

    /// The newest entry that is at least so old.
    fn before(&self, now: Instant, back: Duration) -> Option<&T> {
        self.entries
            .iter()
            .rev()
            .find(|(at, _)| now.saturating_duration_since(*at) >= back)
            .map(|(_, entry)| entry)
    }
}

/// What a snapshot knew.
#[derive(Clone)]
pub struct Past {
    /// Not before the snapshot was taken, on the clock of the server.
    pub at: i64,
    xmin: TransactionId,
    xmax: TransactionId,
    running: Vec<TransactionId>,
    running_sub: Vec<TransactionId>,
    incomplete: bool,
}

thread_local! {
    static MEMORY: RefCell<Memory<Past>> = RefCell::default();
}

/// Keeps a copy of a snapshot that was taken up to now. Cheap when there is one that is young enough.
///
/// # Safety
/// It must be an MVCC snapshot that is active or registered.
pub unsafe fn remember(snapshot: pg_sys::Snapshot, back: Duration) {
    MEMORY.with_borrow_mut(|memory| {
        let now = Instant::now();
        if memory.wants(now, back) {
            // SAFETY: promised by the caller.
            memory.add(now, unsafe { Past::of(snapshot) }, back);
        }
    });
}

/// What was known so long ago; None when this process did not look so early.
pub fn before(back: Duration) -> Option<Past> {
    MEMORY.with_borrow(|memory| memory.before(Instant::now(), back).cloned())
}

impl Past {
    /// # Safety
    /// As for `remember`.
    unsafe fn of(snapshot: pg_sys::Snapshot) -> Past {
        // SAFETY: promised by the caller; the arrays have the lengths that the snapshot says.
        unsafe {
            let list = |start: *mut TransactionId, count: usize| match count {
                0 => Vec::new(),
                _ => std::slice::from_raw_parts(start, count).to_vec(),
            };
            Past {
                at: process::now(),
                xmin: (*snapshot).xmin,
                xmax: (*snapshot).xmax,
                running: list((*snapshot).xip, (*snapshot).xcnt as usize),
                running_sub: list(
                    (*snapshot).subxip,
                    usize::try_from((*snapshot).subxcnt).unwrap_or(0),
                ),
                incomplete: (*snapshot).suboverflowed,
            }
        }
    }

    /// A snapshot with this xmin is older than this look, because no later one can have one so small.
    pub fn is_younger_than(&self, xmin: TransactionId) -> bool {
        precedes(xmin, self.xmin)
    }

    /// Whether a transaction, which is known not to run any more, had ended by then. When that cannot be told, it had not.
    pub fn had_ended(&self, xid: TransactionId) -> bool {
        if precedes(xid, self.xmin) {
            return true;
        }
        let begun = precedes(xid, self.xmax);
        begun && !self.incomplete && !self.running.contains(&xid) && !self.running_sub.contains(&xid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACK: Duration = Duration::from_secs(32);

    #[test]
    fn what_was_there_is_found_at_most_one_step_too_old() {
        let start = Instant::now();
        let mut memory = Memory::default();
        for second in 0..200 {
            let now = start + Duration::from_secs(second);
            if memory.wants(now, BACK) {
                memory.add(now, second, BACK);
            }
            let expected = second.checked_sub(32).map(|wanted| wanted / 2 * 2);
            assert_eq!(memory.before(now, BACK).copied(), expected, "{second}");
            assert!(memory.entries.len() <= STEPS as usize + 2);
        }
    }

    #[test]
    fn without_a_look_back_the_present_will_do() {
        let now = Instant::now();
        let mut memory = Memory::default();
        assert!(memory.before(now, Duration::ZERO).is_none());
        assert!(memory.wants(now, Duration::ZERO));
        memory.add(now, 1, Duration::ZERO);
        assert!(memory.wants(now, Duration::ZERO));
        memory.add(now, 2, Duration::ZERO);
        assert_eq!(memory.before(now, Duration::ZERO), Some(&2));
        assert_eq!(memory.entries.len(), 1);
    }
}
