//! How long readings are kept, and what that means for a partition. Pure.

use super::bounds::Micros;

/// One row of `retention_policies`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub tenant_id: i64,
    /// What came in before may go; None: it never may.
    pub before: Option<Micros>,
    pub legal_hold: bool,
}

impl Policy {
    fn lets_go(&self, until: Micros) -> bool {
        !self.legal_hold && self.before.is_some_and(|before| until <= before)
    }
}

/// The row of tenant 0 counts for every tenant without a row of its own; without it such tenants keep everything.
#[derive(Debug, Default, Clone)]
pub struct Policies {
    pub all: Vec<Policy>,
    /// Readings that came in since then are still accepted.
    pub accepted_since: Micros,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Stays,
    /// It may go if none of these tenants has readings in it.
    GoesWithout(Vec<i64>),
}

impl Policies {
    /// What becomes of a partition that ends at `until`. One into which a late reading could still come stays.
    pub fn fate(&self, until: Micros) -> Fate {
        let general = self.all.iter().find(|policy| policy.tenant_id == 0);
        if until > self.accepted_since || !general.is_some_and(|policy| policy.lets_go(until)) {
            return Fate::Stays;
        }
        let keeping = self.all.iter().filter(|policy| !policy.lets_go(until));
        Fate::GoesWithout(keeping.map(|policy| policy.tenant_id).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(tenant_id: i64, before: Option<Micros>, legal_hold: bool) -> Policy {
        Policy {
            tenant_id,
            before,
            legal_hold,
        }
    }

    fn fate(all: &[Policy], until: Micros) -> Fate {
        let policies = Policies {
            all: all.to_vec(),
            accepted_since: 1000,
        };
        policies.fate(until)
    }

    #[test]
    fn nothing_goes_without_a_policy_for_all() {
        assert_eq!(fate(&[], 10), Fate::Stays);
        assert_eq!(fate(&[policy(7, Some(500), false)], 10), Fate::Stays);
        assert_eq!(fate(&[policy(0, None, false)], 10), Fate::Stays);
        assert_eq!(fate(&[policy(0, Some(500), true)], 10), Fate::Stays);
    }

    #[test]
    fn a_partition_goes_when_all_of_it_is_old_enough() {
        let all = [policy(0, Some(500), false)];
        assert_eq!(fate(&all, 500), Fate::GoesWithout(vec![]));
        assert_eq!(fate(&all, 501), Fate::Stays);
    }

    #[test]
    fn what_is_still_accepted_stays_however_short_the_time() {
        let all = [policy(0, Some(5000), false)];
        assert_eq!(fate(&all, 1000), Fate::GoesWithout(vec![]));
        assert_eq!(fate(&all, 1001), Fate::Stays);
    }

    #[test]
    fn tenants_that_keep_longer_or_are_on_hold_keep_the_partitions_that_they_are_in() {
        let all = [
            policy(0, Some(500), false),
            policy(1, Some(400), false),
            policy(2, Some(100), false),
            policy(3, None, false),
            policy(4, Some(900), true),
            policy(5, Some(900), false),
        ];
        assert_eq!(fate(&all, 300), Fate::GoesWithout(vec![2, 3, 4]));
        assert_eq!(fate(&all, 450), Fate::GoesWithout(vec![1, 2, 3, 4]));
    }
}
