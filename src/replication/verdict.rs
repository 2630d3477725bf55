//! Whether a standby is fresh, from what can be seen on it. Pure: the clock is an argument.
//!
//! The heartbeat is the only truth that holds at any depth of a cascade. Everything committed before the newest beat that is
//! visible here is visible here, so its age is what the data are old at most. All else only says why.

use super::clocks::Clocks;
use super::ring::{Time, seconds};
use crate::pg::replication::Position;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Fresh,
    /// Older than two heartbeats.
    Stale,
    /// The upstream server cannot be heard.
    Disconnected,
    /// Replay is paused.
    Paused,
    /// The clocks differ too much for any lag to be known.
    Skewed,
    Unknown,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Fresh => "fresh",
            Verdict::Stale => "stale",
            Verdict::Disconnected => "disconnected",
            Verdict::Paused => "paused",
            Verdict::Skewed => "skewed",
            Verdict::Unknown => "unknown",
        }
    }
}

/// What the WAL receiver is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// This standby reads an archive.
    NotWanted,
    Down,
    Starting,
    Streaming,
}

impl Receiver {
    pub fn name(self) -> &'static str {
        match self {
            Receiver::NotWanted => "none",
            Receiver::Down => "down",
            Receiver::Starting => "starting",
            Receiver::Streaming => "streaming",
        }
    }
}

/// The newest beat that is visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// By the clock of the primary.
    pub at: Time,
    /// Whether a primary of this cluster wrote it: a restored dump or a subscription may have brought it from elsewhere, and then
    /// no other need follow.
    pub own: bool,
}

/// What can be seen on a standby.
#[derive(Debug, Clone, Copy)]
pub struct Standby {
    pub beat: Option<Seen>,
    pub receiver: Receiver,
    pub clocks: Clocks,
    pub paused: bool,
    pub replayed: Position,
    /// The furthest position that this server has heard of.
    pub heard_of: Position,
    /// Time between two beats.
    pub interval: Time,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    pub verdict: Verdict,
    /// The data are not older than this. None: nobody knows.
    pub at_most: Option<f64>,
    /// The data are at least this old.
    pub at_least: Option<f64>,
    pub bytes_behind: u64,
    /// By how much this clock is ahead of the sender's; what the network takes counts as ahead.
    pub skew: Option<f64>,
    pub beat_age: Option<f64>,
    pub heard_ago: Option<f64>,
    pub why: Option<&'static str>,
}

pub fn judge(standby: &Standby) -> Judged {
    let clocks = &standby.clocks;
    let age = standby.beat.map(|beat| clocks.now.saturating_sub(beat.at));
    let (verdict, why) = verdict(standby, age);
    let bounds = match (verdict, standby.beat, age) {
        (Verdict::Skewed | Verdict::Unknown, ..) => None,
        (_, Some(beat), Some(age)) => {
            let awaits = beat.own && standby.heard_of > standby.replayed;
            Some(clocks.bounds(age, awaits, standby.interval))
        }
        _ => None,
    };
    let skew = clocks.skew();
    let heard = standby.receiver == Receiver::Streaming || skew.is_some();
    Judged {
        verdict,
        at_most: bounds.map(|(_, at_most)| seconds(at_most)),
        at_least: bounds.map(|(at_least, _)| seconds(at_least)),
        bytes_behind: standby.heard_of.saturating_sub(standby.replayed),
        skew: skew.map(seconds),
        beat_age: age.map(seconds),
        heard_ago: clocks.heard_ago().filter(|_| heard).map(seconds),
        why,
    }
}

fn verdict(standby: &Standby, age: Option<Time>) -> (Verdict, Option<&'static str>) {
    let patience = standby.interval.saturating_mul(2);
    let Some(age) = age else {
        return (
            Verdict::Unknown,
            Some("no heartbeat has arrived here; does the primary write it (pg_telemetry.heartbeat)?"),
        );
    };
    let connected = standby.receiver == Receiver::Streaming;
    if let Some(fault) = standby.clocks.fault(age, connected) {
        return (Verdict::Skewed, Some(fault));
    }
    if standby.paused {
        return (Verdict::Paused, Some("replay is paused: pg_wal_replay_resume()"));
    }
    match standby.receiver {
        Receiver::Down => return (Verdict::Disconnected, Some("no WAL receiver is running")),
        Receiver::Starting if age > patience => {
            return (
                Verdict::Disconnected,
                Some("the WAL receiver is connecting, or waiting for more"),
            );
        }
        Receiver::Streaming if standby.clocks.heard_ago().is_some_and(|ago| ago > patience) => {
            return (
                Verdict::Disconnected,
                Some(
                    "the sender is silent: the network is cut, or the primary writes neither heartbeat nor WAL",
                ),
            );
        }
        _ => {}
    }
    if age <= patience {
        return (Verdict::Fresh, None);
    }
    let why = if standby.heard_of > standby.replayed {
        "replay is behind what has arrived"
    } else {
        "all that arrived is replayed, but no heartbeat comes: the keeper of the primary is down, or the server above is cut off"
    };
    (Verdict::Stale, Some(why))
}

#[cfg(test)]
mod tests {
    use super::super::clocks::Heard;
    use super::Receiver::*;
    use super::Verdict::*;
    use super::*;

    const S: Time = 1_000_000;
    const NOW: Time = 1_000_000 * S;
    const HOUR: Time = 3600 * S;

    /// A standby that is well, but for one thing: the last beat came half a second ago.
    fn but(change: impl FnOnce(&mut Standby)) -> Standby {
        let mut standby = Standby {
            beat: beat(S / 2),
            receiver: Streaming,
            clocks: Clocks {
                now: NOW,
                heard: heard(S / 2, 1000),
                max_skew: S / 2,
            },
            paused: false,
            replayed: 1000,
            heard_of: 1000,
            interval: S,
        };
        change(&mut standby);
        standby
    }

    fn beat(ago: Time) -> Option<Seen> {
        Some(Seen {
            at: NOW - ago,
            own: true,
        })
    }

    /// The last message came so long ago, and took so long, as far as clocks say.
    fn heard(ago: Time, took: Time) -> Option<Heard> {
        Some(Heard {
            sent_at: NOW - ago - took,
            received_at: NOW - ago,
        })
    }

    /// The last beat is ten seconds old.
    fn late_but(change: impl FnOnce(&mut Standby)) -> Standby {
        but(|s| {
            s.beat = beat(10 * S);
            change(s);
        })
    }

    /// What is seen, the verdict, and the bounds of the lag.
    type Situation = (&'static str, Standby, Verdict, Option<(f64, f64)>);

    #[track_caller]
    fn check(table: &[Situation]) {
        for (situation, standby, verdict, bounds) in table {
            let judged = judge(standby);
            assert_eq!(judged.verdict, *verdict, "{situation}");
            assert_eq!(judged.at_least.zip(judged.at_most), *bounds, "{situation}");
            assert_eq!(judged.why.is_none(), *verdict == Fresh, "{situation}");
        }
    }

    const YOUNG: Option<(f64, f64)> = Some((0.0, 0.5));
    const OLD: Option<(f64, f64)> = Some((0.0, 10.0));
    /// What was heard of and is not replayed holds a later beat.
    const SURELY_OLD: Option<(f64, f64)> = Some((7.999, 10.0));

    #[test]
    fn where_the_wal_stops_on_its_way() {
        check(&[
            ("well", but(|_| ()), Fresh, YOUNG),
            ("nothing ever arrived", but(|s| s.beat = None), Unknown, None),
            (
                "receiver stopped just now",
                but(|s| s.receiver = Down),
                Disconnected,
                YOUNG,
            ),
            (
                "and all that came is replayed",
                late_but(|s| s.receiver = Down),
                Disconnected,
                OLD,
            ),
            (
                "receiver starting, data young",
                but(|s| s.receiver = Starting),
                Fresh,
                YOUNG,
            ),
            (
                "starting up with old data",
                late_but(|s| (s.receiver, s.heard_of) = (Starting, 5000)),
                Disconnected,
                SURELY_OLD,
            ),
            (
                "archive only, young",
                but(|s| s.receiver = NotWanted),
                Fresh,
                YOUNG,
            ),
            (
                "archive only, old",
                late_but(|s| s.receiver = NotWanted),
                Stale,
                OLD,
            ),
            ("paused", but(|s| s.paused = true), Paused, YOUNG),
            (
                "paused for long",
                late_but(|s| (s.paused, s.heard_of) = (true, 9000)),
                Paused,
                SURELY_OLD,
            ),
            (
                "network cut, and the receiver has not noticed",
                late_but(|s| s.clocks.heard = heard(10 * S, 1000)),
                Disconnected,
                OLD,
            ),
            ("slow replay", late_but(|s| s.heard_of = 9000), Stale, SURELY_OLD),
            ("keeper of the primary dead", late_but(|_| ()), Stale, OLD),
            (
                "a beat that came from another cluster says nothing of the next",
                late_but(|s| {
                    s.heard_of = 9000;
                    s.beat = s.beat.map(|beat| Seen { own: false, ..beat });
                }),
                Stale,
                OLD,
            ),
        ]);
    }

    #[test]
    fn where_a_clock_is_wrong() {
        let hears_nobody = |s: &mut Standby, receiver| (s.receiver, s.clocks.heard) = (receiver, None);
        check(&[
            (
                "ahead",
                but(|s| (s.beat, s.clocks.heard) = (beat(5 * S), heard(S / 2, 5 * S))),
                Skewed,
                None,
            ),
            (
                "an hour ahead",
                but(|s| (s.beat, s.clocks.heard) = (beat(HOUR), heard(S / 2, HOUR))),
                Skewed,
                None,
            ),
            (
                "behind",
                but(|s| (s.beat, s.clocks.heard) = (beat(-4 * S), heard(S / 2, -5 * S))),
                Skewed,
                None,
            ),
            (
                "behind, and replay too: the beat looks young",
                but(|s| s.clocks.heard = heard(S / 2, -5 * S)),
                Skewed,
                None,
            ),
            (
                "behind, where nobody is heard",
                but(|s| {
                    hears_nobody(s, NotWanted);
                    s.beat = beat(-HOUR);
                }),
                Skewed,
                None,
            ),
            (
                "set back after the last message",
                but(|s| (s.beat, s.clocks.heard) = (beat(-HOUR), heard(-HOUR, 1000))),
                Skewed,
                None,
            ),
            (
                "set back after the receiver has stopped, and the beat looks young",
                but(|s| (s.receiver, s.clocks.heard) = (Down, heard(-HOUR, 1000))),
                Skewed,
                None,
            ),
            (
                "the last message before the cut took long",
                late_but(|s| (s.receiver, s.clocks.heard) = (Down, heard(5 * S, 4 * S))),
                Disconnected,
                OLD,
            ),
            (
                "a little behind: the bounds grow by it",
                late_but(|s| (s.heard_of, s.clocks.heard) = (9000, heard(S / 2, -S / 4))),
                Stale,
                Some((8.25, 10.25)),
            ),
            (
                "a little ahead: the lower bound shrinks by it",
                late_but(|s| (s.heard_of, s.clocks.heard) = (9000, heard(S / 2, S / 4))),
                Stale,
                Some((7.75, 10.0)),
            ),
            (
                "a beat from a moment ahead is no negative lag",
                but(|s| s.beat = beat(-S / 4)),
                Fresh,
                Some((0.0, 0.0)),
            ),
        ]);
    }

    #[test]
    fn what_was_heard_last_is_shown_until_a_receiver_starts_anew() {
        let heard_ago =
            |receiver, heard| judge(&but(|s| (s.receiver, s.clocks.heard) = (receiver, heard))).heard_ago;
        assert_eq!(heard_ago(Streaming, heard(S, 1000)), Some(1.0));
        assert_eq!(heard_ago(Down, heard(S, 1000)), Some(1.0));
        // It has heard nothing, for a second.
        assert_eq!(heard_ago(Streaming, heard(S, 0)), Some(1.0));
        assert_eq!(heard_ago(Starting, heard(S, 0)), None);
        assert_eq!(heard_ago(NotWanted, None), None);
    }
}
