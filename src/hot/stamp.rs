//! When a value was observed, as far as it decides which value is the latest. Pure.

/// The order of observations, before the value itself decides. It is made of what is in the fact and of nothing else, so that
/// whoever looks at the same facts finds the same value, whatever the order in which they arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// When it was observed, but not after it came in: a clock that is ahead would freeze its value.
    pub event: i64,
    /// When it came in. Never before `event`.
    pub ingested: i64,
}

impl Stamp {
    #[inline]
    pub fn of(ingested_at: i64, observed_at: Option<i64>) -> Stamp {
        Stamp {
            event: observed_at.map_or(ingested_at, |observed| observed.min(ingested_at)),
            ingested: ingested_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_ahead_does_not_count() {
        assert_eq!(
            Stamp::of(10, None),
            Stamp {
                event: 10,
                ingested: 10
            }
        );
        assert_eq!(
            Stamp::of(10, Some(7)),
            Stamp {
                event: 7,
                ingested: 10
            }
        );
        assert_eq!(
            Stamp::of(10, Some(99)),
            Stamp {
                event: 10,
                ingested: 10
            }
        );
    }

    #[test]
    fn the_later_observation_wins_and_then_the_later_arrival() {
        assert!(Stamp::of(10, Some(7)) < Stamp::of(9, Some(8)));
        assert!(Stamp::of(10, Some(7)) < Stamp::of(11, Some(7)));
        assert!(Stamp::of(10, Some(99)) < Stamp::of(11, Some(99)));
    }
}
