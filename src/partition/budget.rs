//! Locks: the server has room for so many, of all sessions together (`max_locks_per_transaction`). A query over all partitions takes
//! one for each of them and each of their indexes, and making a partition takes some.

use crate::error::Error;
use crate::sql::read;

/// Locks that one new partition takes until the commit: the table, what belongs to it, and the indexes.
const TO_MAKE_ONE: i64 = 10;

/// How many locks there is room for; the server lets them use a little more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub locks: i64,
}

impl Budget {
    pub fn of_this_server() -> Result<Budget, Error> {
        let text = "SELECT current_setting('max_locks_per_transaction')::bigint
                           * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint)";
        let locks: Option<i64> = read(text, vec![], crate::sql::value)?;
        Ok(Budget {
            locks: locks.unwrap_or(i64::MAX),
        })
    }

    /// Partitions that one transaction may make: with a quarter of all locks, and one in any case.
    pub fn partitions_at_once(self) -> usize {
        usize::try_from(self.locks / 4 / TO_MAKE_ONE).unwrap_or(0).max(1)
    }

    /// What is to be said of a table with so many partitions and indexes, if half of all locks do not suffice for a query over
    /// all of it: two such queries at once, or one and the rest of the server, would fail.
    pub fn warning(self, partitions: i64, indexes: i64) -> Option<String> {
        let needed = partitions.saturating_mul(indexes + 1);
        (needed > self.locks / 2).then(|| {
            format!(
                "a query over all {partitions} partitions takes {needed} locks, and all sessions together have room for {}: \
                 raise max_locks_per_transaction, or make longer partitions",
                self.locks
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_said_before_it_fails() {
        let budget = Budget { locks: 6400 };
        assert_eq!(budget.warning(1000, 2), None);
        let warning = budget.warning(1067, 2).unwrap_or_default();
        assert!(warning.contains("takes 3201 locks"), "{warning}");
        assert!(warning.contains("max_locks_per_transaction"), "{warning}");
        assert!(Budget { locks: 10 }.warning(i64::MAX, 2).is_some());
    }

    #[test]
    fn a_transaction_makes_as_many_as_fit_and_never_none() {
        assert_eq!(Budget { locks: 6400 }.partitions_at_once(), 160);
        assert_eq!(Budget { locks: 20 }.partitions_at_once(), 1);
        assert_eq!(Budget { locks: 0 }.partitions_at_once(), 1);
    }
}
