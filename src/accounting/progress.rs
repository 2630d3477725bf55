//! Up to when everything in the fast door has reached facts for good. Pure.
//!
//! A flush that found the end of staging has taken all that was committed before it began, except what other flushes held at
//! that moment: those have to commit as well, and if one of them rolls back, its rows are in staging again.

/// Flushes whose end is waited for; further ones at the same time make the answer unknown for as long as they run.
const FLUSHES: usize = 32;

/// The part of one transaction in it.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    place: Option<usize>,
    rollbacks: u32,
}

#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// One bit for each flush that has not ended.
    running: u32,
    untracked: u32,
    rollbacks: u32,
    /// When a flush that found the end began, and the flushes that still have to commit.
    candidate: Option<(i64, u32)>,
    /// 0: not known.
    flushed_until: i64,
}

impl Progress {
    pub const NONE: Self = Progress {
        running: 0,
        untracked: 0,
        rollbacks: 0,
        candidate: None,
        flushed_until: 0,
    };

    pub fn flushed_until(&self) -> Option<i64> {
        (self.flushed_until != 0).then_some(self.flushed_until)
    }

    pub fn begin(&mut self) -> Ticket {
        let place = (0..FLUSHES).find(|place| self.running & (1 << place) == 0);
        match place {
            Some(place) => self.running |= 1 << place,
            None => self.untracked += 1,
        }
        Ticket {
            place,
            rollbacks: self.rollbacks,
        }
    }

    /// It committed; `complete` is when it began, if it found the end of staging.
    pub fn commit(&mut self, ticket: Ticket, complete: Option<i64>) {
        let bit = self.leave(ticket);
        if let Some((at, others)) = self.candidate {
            self.settle(at, others & !bit);
        }
        let Some(at) = complete else { return };
        if ticket.rollbacks != self.rollbacks || self.untracked > 0 {
            return;
        }
        if self.running == 0 || self.candidate.is_none() {
            self.settle(at, self.running);
        }
    }

    /// It rolled back, or nobody knows yet what becomes of it.
    pub fn roll_back(&mut self, ticket: Ticket) {
        self.leave(ticket);
        self.rollbacks = self.rollbacks.wrapping_add(1);
        self.candidate = None;
    }

    fn settle(&mut self, at: i64, others: u32) {
        if others == 0 {
            self.flushed_until = self.flushed_until.max(at);
            self.candidate = None;
        } else {
            self.candidate = Some((at, others));
        }
    }

    fn leave(&mut self, ticket: Ticket) -> u32 {
        match ticket.place {
            Some(place) => {
                self.running &= !(1 << place);
                1 << place
            }
            None => {
                self.untracked = self.untracked.saturating_sub(1);
                0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_alone_is_complete_when_it_commits() {
        let mut progress = Progress::NONE;
        let flush = progress.begin();
        assert_eq!(progress.flushed_until(), None);
        progress.commit(flush, Some(10));
        assert_eq!(progress.flushed_until(), Some(10));
        let next = progress.begin();
        progress.commit(next, None);
        assert_eq!(progress.flushed_until(), Some(10));
    }

    #[test]
    fn rows_that_another_flush_holds_count_only_when_it_commits() {
        let mut progress = Progress::NONE;
        let holder = progress.begin();
        let flush = progress.begin();
        progress.commit(flush, Some(10));
        assert_eq!(progress.flushed_until(), None);
        // One that came later is not waited for.
        let later = progress.begin();
        progress.commit(holder, None);
        assert_eq!(progress.flushed_until(), Some(10));
        progress.roll_back(later);
        assert_eq!(progress.flushed_until(), Some(10));
    }

    #[test]
    fn a_rollback_gives_rows_back_whether_it_comes_before_or_after() {
        let mut progress = Progress::NONE;
        let holder = progress.begin();
        let flush = progress.begin();
        progress.roll_back(holder);
        progress.commit(flush, Some(10));
        assert_eq!(progress.flushed_until(), None);
        let holder = progress.begin();
        let flush = progress.begin();
        progress.commit(flush, Some(20));
        progress.roll_back(holder);
        assert_eq!(progress.flushed_until(), None);
        let flush = progress.begin();
        progress.commit(flush, Some(30));
        assert_eq!(progress.flushed_until(), Some(30));
    }

    #[test]
    fn two_that_always_overlap_get_on_all_the_same() {
        let mut progress = Progress::NONE;
        let mut running = progress.begin();
        for time in 1..100 {
            let next = progress.begin();
            progress.commit(running, Some(time));
            running = next;
        }
        assert!(progress.flushed_until().is_some_and(|until| until >= 97));
    }

    #[test]
    fn more_flushes_than_places_make_it_unknown_for_as_long_as_they_run() {
        let mut progress = Progress::NONE;
        let many: Vec<Ticket> = (0..FLUSHES).map(|_| progress.begin()).collect();
        let beyond = progress.begin();
        for ticket in many {
            progress.commit(ticket, Some(10));
        }
        assert_eq!(progress.flushed_until(), None);
        progress.commit(beyond, Some(20));
        assert_eq!(progress.flushed_until(), Some(20));
        assert_eq!((progress.running, progress.untracked), (0, 0));
    }
}
