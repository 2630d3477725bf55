//! Whether the times that other nodes wrote can be believed here, and how far. Pure: the clock is an argument.

use super::ring::Time;

/// What the server above said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// By the sender's clock.
    pub sent_at: Time,
    /// By ours. A WAL receiver that has heard nothing yet has written its own start into both.
    pub received_at: Time,
}

impl Heard {
    /// By how much this clock is ahead of the sender's; what the network takes counts as ahead. None: nothing was heard yet.
    pub fn skew(self) -> Option<Time> {
        (self.sent_at != self.received_at).then(|| self.received_at.saturating_sub(self.sent_at))
    }
}

/// The clocks, as far as they can be compared.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    pub now: Time,
    pub heard: Option<Heard>,
    /// By how much clocks may differ.
    pub max_skew: Time,
}

impl Clocks {
    pub fn skew(&self) -> Option<Time> {
        self.heard.and_then(Heard::skew)
    }

    /// Since the last word from above, or since the receiver began to listen.
    pub fn heard_ago(&self) -> Option<Time> {
        self.heard.map(|heard| self.now.saturating_sub(heard.received_at))
    }

    /// Why a beat of this age cannot be believed. The words of a sender that is gone prove that this clock is behind, but not that
    /// it is ahead: the last of them may just have been long on their way.
    pub fn fault(&self, age: Time, connected: bool) -> Option<&'static str> {
        let behind = -self.max_skew;
        if age < behind || self.heard_ago().is_some_and(|ago| ago < behind) {
            return Some("a time in the future: this clock is behind");
        }
        match self.skew() {
            Some(skew) if skew < behind => Some("this clock is behind the sender's"),
            Some(skew) if skew > self.max_skew && connected => {
                Some("this clock is ahead of the sender's, or what it sends takes long to arrive")
            }
            _ => None,
        }
    }

    /// How old the data are at least and at most when the newest beat here has this age. `awaits`: a later beat is on its way or
    /// here and not replayed, if the primary writes one within two intervals.
    ///
    /// Say this clock is ahead of that of the primary by `x`, and the last message took `d`. Then `age = truth + x` and
    /// `skew = d + x`, with `d >= 0`. So `truth >= age - max(skew, 0)`, and `truth <= age + max(-skew, 0) + d` where `d` is
    /// what no node can measure alone, and matters only when this clock is behind (`-x` bounds it as well).
    pub fn bounds(&self, age: Time, awaits: bool, interval: Time) -> (Time, Time) {
        let skew = self.skew().unwrap_or(0);
        let at_most = age.max(0).saturating_add(skew.saturating_neg().max(0));
        let at_least = if awaits {
            at_most
                .saturating_sub(skew.max(0))
                .saturating_sub(interval.saturating_mul(2))
        } else {
            0
        };
        (at_least.max(0), at_most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Time = 1_000_000;
    const NOW: Time = 1_000_000 * S;

    fn clocks(heard: Option<(Time, Time)>) -> Clocks {
        Clocks {
            now: NOW,
            heard: heard.map(|(sent_at, received_at)| Heard { sent_at, received_at }),
            max_skew: S / 2,
        }
    }

    #[test]
    fn a_receiver_that_has_heard_nothing_compares_nothing() {
        let silent = clocks(Some((NOW - S, NOW - S)));
        assert_eq!((silent.skew(), silent.heard_ago()), (None, Some(S)));
        assert_eq!(silent.fault(S, true), None);
        assert_eq!(clocks(None).fault(S, true), None);
    }

    #[test]
    fn a_clock_that_is_behind_is_seen_also_by_the_last_words_of_who_is_gone() {
        for connected in [true, false] {
            assert!(clocks(Some((NOW + S, NOW - S))).fault(S, connected).is_some());
            assert!(clocks(Some((NOW + S, NOW + S))).fault(S, connected).is_some());
            assert!(clocks(None).fault(-S, connected).is_some());
            assert!(clocks(None).fault(-S / 4, connected).is_none());
        }
        let late = clocks(Some((NOW - 9 * S, NOW - S)));
        assert!(late.fault(S, true).is_some());
        assert!(late.fault(S, false).is_none(), "only the message was late");
    }

    #[test]
    fn no_time_is_too_far_off() {
        for age in [Time::MIN, -1, 0, 1, Time::MAX] {
            for (sent, received) in [(Time::MIN, Time::MAX), (Time::MAX, Time::MIN), (0, 0)] {
                let clocks = clocks(Some((sent, received)));
                let (at_least, at_most) = clocks.bounds(age, true, Time::MAX);
                assert!(0 <= at_least && at_least <= at_most, "{age} {sent} {received}");
                clocks.fault(age, true);
            }
        }
    }
}
