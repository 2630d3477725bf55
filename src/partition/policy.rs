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

/// Whose readings in a partition are over, while the partition stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expired {
    Nobodys,
    Of(Vec<i64>),
    /// The time for all is over; these keep longer, or are on hold.
    AllBut(Vec<i64>),
}

impl Expired {
    pub fn tenants(&self) -> &[i64] {
        match self {
            Expired::Nobodys => &[],
            Expired::Of(tenants) | Expired::AllBut(tenants) => tenants,
        }
    }

    /// Whether all that is over here was over there already.
    pub fn is_within(&self, other: &Expired) -> bool {
        let all_in = |some: &[i64], others: &[i64]| some.iter().all(|tenant| others.contains(tenant));
        match (self, other) {
            (Expired::Nobodys, _) => true,
            (Expired::Of(some), Expired::Of(others)) => all_in(some, others),
            (Expired::Of(some), Expired::AllBut(keeping)) => {
                some.iter().all(|tenant| !keeping.contains(tenant))
            }
            (Expired::AllBut(some), Expired::AllBut(others)) => all_in(others, some),
            _ => false,
        }
    }
}

impl Policies {
    /// Whose readings are to be deleted from a partition that ends at `until`, as far as it stays: of those whose time is over
    /// for all of it. A hold on all stops that as well.
    pub fn expired(&self, until: Micros) -> Expired {
        let general = self.all.iter().find(|policy| policy.tenant_id == 0);
        if until > self.accepted_since || general.is_some_and(|policy| policy.legal_hold) {
            return Expired::Nobodys;
        }
        let mut own: Vec<&Policy> = self.all.iter().filter(|policy| policy.tenant_id != 0).collect();
        own.sort_unstable_by_key(|policy| policy.tenant_id);
        let of = |lets_go: bool| {
            let chosen = own.iter().filter(|policy| policy.lets_go(until) == lets_go);
            chosen.map(|policy| policy.tenant_id).collect::<Vec<_>>()
        };
        if general.is_some_and(|policy| policy.lets_go(until)) {
            return Expired::AllBut(of(false));
        }
        match of(true) {
            none if none.is_empty() => Expired::Nobodys,
            tenants => Expired::Of(tenants),
        }
    }

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

    fn expired(all: &[Policy], until: Micros) -> Expired {
        let policies = Policies {
            all: all.to_vec(),
            accepted_since: 1000,
        };
        policies.expired(until)
    }

    #[test]
    fn a_tenant_with_a_shorter_time_is_over_before_the_partition_is() {
        let all = [
            policy(0, Some(100), false),
            policy(2, Some(500), false),
            policy(1, Some(400), false),
            policy(3, Some(900), true),
        ];
        assert_eq!(expired(&all, 400), Expired::Of(vec![1, 2]));
        assert_eq!(expired(&all, 401), Expired::Of(vec![2]));
        assert_eq!(expired(&all, 501), Expired::Nobodys);
        assert_eq!(
            expired(&all[1..], 401),
            Expired::Of(vec![2]),
            "without a time for all"
        );
    }

    #[test]
    fn when_the_time_for_all_is_over_those_who_keep_longer_are_left() {
        let all = [
            policy(0, Some(500), false),
            policy(1, Some(100), false),
            policy(2, None, false),
            policy(3, Some(900), true),
            policy(4, Some(600), false),
        ];
        assert_eq!(expired(&all, 500), Expired::AllBut(vec![1, 2, 3]));
        assert_eq!(expired(&all, 501), Expired::Of(vec![4]));
    }

    #[test]
    fn nobodys_time_is_over_on_a_hold_for_all_or_while_readings_are_accepted() {
        let held = [policy(0, Some(500), true), policy(1, Some(900), false)];
        assert_eq!(expired(&held, 100), Expired::Nobodys);
        let all = [policy(0, Some(5000), false), policy(1, Some(5000), false)];
        assert_eq!(expired(&all, 1001), Expired::Nobodys);
        assert_eq!(expired(&[], 10), Expired::Nobodys);
    }

    #[test]
    fn what_was_deleted_already_is_known_again() {
        let of = |tenants: &[i64]| Expired::Of(tenants.to_vec());
        let but = |tenants: &[i64]| Expired::AllBut(tenants.to_vec());
        for (some, other) in [
            (Expired::Nobodys, of(&[1])),
            (of(&[1]), of(&[1, 2])),
            (of(&[1]), but(&[2, 3])),
            (but(&[1, 2]), but(&[1])),
        ] {
            assert!(some.is_within(&other), "{some:?} {other:?}");
        }
        for (some, other) in [
            (of(&[1, 3]), of(&[1, 2])),
            (of(&[2]), but(&[2, 3])),
            (but(&[1]), but(&[1, 2])),
            (but(&[1]), of(&[1, 2])),
            (of(&[1]), Expired::Nobodys),
        ] {
            assert!(!some.is_within(&other), "{some:?} {other:?}");
        }
    }
}
