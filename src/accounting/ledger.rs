//! The ledger in shared memory: for each database what its flushes did lately. Plain data without pointers, as the board; it has a
//! lock of its own, so that counting a flush waits for nobody who looks at the board.

use super::minutes::{Counters, Minutes, Source};
use super::progress::Progress;
use super::samples::Samples;
use crate::worker::board::DATABASES;

#[derive(Clone, Copy)]
pub struct Account {
    /// 0: a free place.
    oid: u32,
    pub minutes: Minutes,
    pub progress: Progress,
    /// Of the fast and the durable door.
    pub samples: [Samples; 2],
    /// Everything since this memory came to be, by workers and by SQL: it only grows.
    pub totals: [Counters; 2],
    /// Grows with every flush that moved rows: whoever sees the same number twice knows that nothing happened.
    pub moves: u64,
    /// Grows with pause() and resume().
    pub pauses: u32,
    /// When the keeper last looked at all alerts that were due; 0: not yet.
    pub alerts_looked_at: i64,
}

impl Account {
    const FREE: Self = Account {
        oid: 0,
        minutes: Minutes::EMPTY,
        progress: Progress::NONE,
        samples: [Samples::NONE; 2],
        totals: [Counters::NONE; 2],
        moves: 0,
        pauses: 0,
        alerts_looked_at: 0,
    };

    pub fn count(&mut self, now: i64, source: Source, counters: &Counters) {
        self.minutes.add(now, source, counters);
        self.totals[source as usize].add(counters);
        self.moves += 1;
    }
}

pub struct Ledger {
    /// When this memory came to be: at the start of the server, and again after each crash of one of its processes.
    pub born: i64,
    accounts: [Account; DATABASES],
}

impl Ledger {
    pub const fn new(born: i64) -> Self {
        Ledger {
            born,
            accounts: [Account::FREE; DATABASES],
        }
    }

    pub fn account(&self, oid: u32) -> Option<&Account> {
        self.accounts
            .iter()
            .find(|account| account.oid == oid && oid != 0)
    }

    /// Entered if it is new; None where there is no place. Nobody gives way: an account that begins anew while flushes run would
    /// take what they hold for flushed.
    pub fn account_mut(&mut self, oid: u32) -> Option<&mut Account> {
        let known = self.accounts.iter().position(|account| account.oid == oid);
        let place = known.or_else(|| self.accounts.iter().position(|account| account.oid == 0))?;
        let account = &mut self.accounts[place];
        account.oid = oid;
        Some(account)
    }

    /// Forgets databases that are no more.
    pub fn retain(&mut self, exists: impl Fn(u32) -> bool) {
        for account in &mut self.accounts {
            if account.oid != 0 && !exists(account.oid) {
                *account = Account::FREE;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_full_ledger_takes_nobody_until_a_database_is_gone() {
        let mut ledger = Box::new(Ledger::new(0));
        for oid in 1..=DATABASES as u32 {
            let account = ledger.account_mut(oid).unwrap();
            account.count(1, Source::Sql, &Counters::NONE);
        }
        assert!(ledger.account_mut(5000).is_none());
        ledger.retain(|oid| oid != 2);
        assert_eq!(ledger.account_mut(5000).unwrap().moves, 0);
        assert!(ledger.account(2).is_none());
        assert_eq!(ledger.account_mut(1).unwrap().moves, 1);
    }

    #[test]
    fn totals_go_on_when_minutes_are_given_up() {
        let mut ledger = Box::new(Ledger::new(0));
        let batch = Counters {
            batches: 1,
            rows_flushed: 7,
            ..Counters::NONE
        };
        for minute in 0..1000 {
            let account = ledger.account_mut(1).unwrap();
            account.count(minute * 60_000_000, Source::Worker, &batch);
        }
        let totals = ledger.account(1).unwrap().totals;
        assert_eq!(totals[Source::Worker as usize].rows_flushed, 7000);
        assert_eq!(totals[Source::Sql as usize], Counters::NONE);
    }

    #[test]
    fn it_takes_less_than_a_megabyte() {
        assert!(size_of::<Ledger>() < 1 << 20, "{}", size_of::<Ledger>());
    }
}
