//! Whether a standby is fresh, from what can be seen on it. Pure: the clock is an argument.
//!
//! The heartbeat is the only truth that holds at any depth of a cascade. Everything committed before the newest beat that is
//! visible here is visible here, so its age is what the data are old at most. All else only says why.

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
    Streaming {
        /// By the sender's clock.
        sent_at: Time,
        /// By ours.
        received_at: Time,
    },
}

impl Receiver {
    pub fn name(self) -> &'static str {
        match self {
            Receiver::NotWanted => "none",
            Receiver::Down => "down",
            Receiver::Starting => "starting",
            Receiver::Streaming { .. } => "streaming",
        }
    }
}

/// What can be seen on a standby.
#[derive(Debug, Clone, Copy)]
pub struct Standby {
    pub now: Time,
    /// The time in the newest beat that is visible, by the clock of the primary.
    pub beat: Option<Time>,
    pub receiver: Receiver,
    pub paused: bool,
    pub replayed: Position,
    /// The furthest position that this server has heard of.
    pub heard_of: Position,
    /// Time between two beats.
    pub interval: Time,
    /// By how much clocks may differ.
    pub max_skew: Time,
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

pub fn judge(seen: &Standby) -> Judged {
    let skew = match seen.receiver {
        Receiver::Streaming {
            sent_at, received_at, ..
        } => Some(received_at.saturating_sub(sent_at)),
        _ => None,
    };
    let heard_ago = match seen.receiver {
        Receiver::Streaming { received_at, .. } => Some(seen.now.saturating_sub(received_at)),
        _ => None,
    };
    let age = seen.beat.map(|beat| seen.now.saturating_sub(beat));
    let (verdict, why) = verdict(seen, age, skew, heard_ago);
    let (at_least, at_most) = match (verdict, age) {
        (Verdict::Skewed | Verdict::Unknown, _) | (_, None) => (None, None),
        (_, Some(age)) => {
            // A clock that is behind makes a beat look younger than it is.
            let behind = skew.map_or(0, |skew| (-skew).max(0));
            let at_most = age.max(0).saturating_add(behind);
            // What is here and not yet replayed holds a later beat, as long as the primary writes them.
            let pending = seen.heard_of > seen.replayed;
            let at_least = if pending { at_most - seen.interval } else { 0 };
            (Some(seconds(at_least.max(0))), Some(seconds(at_most)))
        }
    };
    Judged {
        verdict,
        at_most,
        at_least,
        bytes_behind: seen.heard_of.saturating_sub(seen.replayed),
        skew: skew.map(seconds),
        beat_age: age.map(seconds),
        heard_ago: heard_ago.map(seconds),
        why,
    }
}

fn verdict(
    seen: &Standby,
    age: Option<Time>,
    skew: Option<Time>,
    heard_ago: Option<Time>,
) -> (Verdict, Option<&'static str>) {
    let patience = 2 * seen.interval;
    let Some(age) = age else {
        return (
            Verdict::Unknown,
            Some("no heartbeat has arrived here; does the primary write it (pg_telemetry.heartbeat)?"),
        );
    };
    if age < -seen.max_skew || heard_ago.is_some_and(|ago| ago < -seen.max_skew) {
        return (
            Verdict::Skewed,
            Some("a time in the future: this clock is behind"),
        );
    }
    if skew.is_some_and(|skew| skew < -seen.max_skew) {
        return (Verdict::Skewed, Some("this clock is behind the sender's"));
    }
    if skew.is_some_and(|skew| skew > seen.max_skew) {
        return (
            Verdict::Skewed,
            Some("this clock is ahead of the sender's, or what it sends takes long to arrive"),
        );
    }
    if seen.paused {
        return (Verdict::Paused, Some("replay is paused: pg_wal_replay_resume()"));
    }
    match seen.receiver {
        Receiver::Down => return (Verdict::Disconnected, Some("no WAL receiver is running")),
        Receiver::Starting if age > patience => {
            return (
                Verdict::Disconnected,
                Some("the WAL receiver is connecting, or waiting for more"),
            );
        }
        Receiver::Streaming { .. } if heard_ago.is_some_and(|ago| ago > patience) => {
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
    let why = if seen.heard_of > seen.replayed {
        "replay is behind what has arrived"
    } else {
        "all that arrived is replayed, but no heartbeat comes: the keeper of the primary is down, or the server above is cut off"
    };
    (Verdict::Stale, Some(why))
}

/// Whether data that are allowed to be this old may be served; 0: only the primary may. Fails closed.
pub fn may_serve(judged: &Judged, allowed: Time) -> bool {
    let bounded = match judged.verdict {
        Verdict::Skewed | Verdict::Unknown => false,
        Verdict::Fresh | Verdict::Stale | Verdict::Disconnected | Verdict::Paused => true,
    };
    bounded && allowed > 0 && judged.at_most.is_some_and(|old| old <= seconds(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Time = 1_000_000;
    const NOW: Time = 1_000_000 * S;
    const HOUR: Time = 3600 * S;

    /// A standby that is well: the last beat came half a second ago.
    fn well() -> Standby {
        Standby {
            now: NOW,
            beat: Some(NOW - S / 2),
            receiver: streaming(S / 2, 1000),
            paused: false,
            replayed: 1000,
            heard_of: 1000,
            interval: S,
            max_skew: S / 2,
        }
    }

    /// Last heard of so long ago, with what was sent then taking so long.
    fn streaming(ago: Time, took: Time) -> Receiver {
        Receiver::Streaming {
            sent_at: NOW - ago - took,
            received_at: NOW - ago,
        }
    }

    /// What it is called, what is seen, the verdict, and the bounds of the lag.
    type Situation = (&'static str, Standby, Verdict, Option<f64>, Option<f64>);

    #[test]
    fn every_situation_has_its_verdict() {
        use Verdict::*;
        let old = Some(NOW - 10 * S);
        let table: &[Situation] = &[
            ("well", well(), Fresh, Some(0.0), Some(0.5)),
            (
                "nothing ever arrived",
                Standby { beat: None, ..well() },
                Unknown,
                None,
                None,
            ),
            (
                "receiver stopped just now",
                Standby {
                    receiver: Receiver::Down,
                    ..well()
                },
                Disconnected,
                Some(0.0),
                Some(0.5),
            ),
            (
                "receiver stopped, everything received is replayed",
                Standby {
                    receiver: Receiver::Down,
                    beat: old,
                    ..well()
                },
                Disconnected,
                Some(0.0),
                Some(10.0),
            ),
            (
                "receiver starting, data still young",
                Standby {
                    receiver: Receiver::Starting,
                    ..well()
                },
                Fresh,
                Some(0.0),
                Some(0.5),
            ),
            (
                "starting up with old data",
                Standby {
                    receiver: Receiver::Starting,
                    beat: old,
                    heard_of: 5000,
                    ..well()
                },
                Disconnected,
                Some(9.0),
                Some(10.0),
            ),
            (
                "archive only, young",
                Standby {
                    receiver: Receiver::NotWanted,
                    ..well()
                },
                Fresh,
                Some(0.0),
                Some(0.5),
            ),
            (
                "archive only, old",
                Standby {
                    receiver: Receiver::NotWanted,
                    beat: old,
                    ..well()
                },
                Stale,
                Some(0.0),
                Some(10.0),
            ),
            (
                "replay paused",
                Standby {
                    paused: true,
                    ..well()
                },
                Paused,
                Some(0.0),
                Some(0.5),
            ),
            (
                "replay paused for long",
                Standby {
                    paused: true,
                    beat: old,
                    heard_of: 9000,
                    ..well()
                },
                Paused,
                Some(9.0),
                Some(10.0),
            ),
            (
                "network cut, the receiver has not noticed",
                Standby {
                    receiver: streaming(10 * S, 1000),
                    beat: old,
                    ..well()
                },
                Disconnected,
                Some(0.0),
                Some(10.0),
            ),
            (
                "slow replay",
                Standby {
                    beat: old,
                    heard_of: 9000,
                    ..well()
                },
                Stale,
                Some(9.0),
                Some(10.0),
            ),
            (
                "keeper of the primary dead",
                Standby { beat: old, ..well() },
                Stale,
                Some(0.0),
                Some(10.0),
            ),
            (
                "clock ahead",
                Standby {
                    receiver: streaming(S / 2, 5 * S),
                    beat: Some(NOW - 5 * S),
                    ..well()
                },
                Skewed,
                None,
                None,
            ),
            (
                "clock an hour ahead",
                Standby {
                    receiver: streaming(S / 2, HOUR),
                    beat: Some(NOW - HOUR),
                    ..well()
                },
                Skewed,
                None,
                None,
            ),
            (
                "clock behind",
                Standby {
                    receiver: streaming(S / 2, -5 * S),
                    beat: Some(NOW + 4 * S),
                    ..well()
                },
                Skewed,
                None,
                None,
            ),
            (
                "clock behind, and replay too, so that the beat looks young",
                Standby {
                    receiver: streaming(S / 2, -5 * S),
                    ..well()
                },
                Skewed,
                None,
                None,
            ),
            (
                "clock behind on a server that hears nobody",
                Standby {
                    receiver: Receiver::NotWanted,
                    beat: Some(NOW + HOUR),
                    ..well()
                },
                Skewed,
                None,
                None,
            ),
            (
                "this clock was set back after the last message",
                Standby {
                    receiver: streaming(-HOUR, 1000),
                    beat: Some(NOW + HOUR),
                    ..well()
                },
                Skewed,
                None,
                None,
            ),
            (
                "clock a little behind: the bound grows by it",
                Standby {
                    receiver: streaming(S / 2, -S / 4),
                    ..well()
                },
                Fresh,
                Some(0.0),
                Some(0.75),
            ),
            (
                "a beat from a moment ahead is no negative lag",
                Standby {
                    beat: Some(NOW + S / 4),
                    ..well()
                },
                Fresh,
                Some(0.0),
                Some(0.0),
            ),
        ];
        for (situation, seen, verdict, at_least, at_most) in table {
            let judged = judge(seen);
            assert_eq!(judged.verdict, *verdict, "{situation}");
            assert_eq!(
                (judged.at_least, judged.at_most),
                (*at_least, *at_most),
                "{situation}"
            );
            assert_eq!(judged.why.is_none(), *verdict == Fresh, "{situation}");
        }
    }

    #[test]
    fn only_a_known_bound_within_the_allowance_may_serve() {
        let may = |seen: Standby, allowed: Time| may_serve(&judge(&seen), allowed);
        assert!(may(well(), 3 * S));
        assert!(
            !may(well(), 0),
            "only the primary answers where nothing may be old"
        );
        assert!(!may(well(), S / 4));
        let cut = Standby {
            beat: Some(NOW - 10 * S),
            receiver: Receiver::Down,
            ..well()
        };
        assert!(!may(cut, 3 * S));
        assert!(may(cut, 300 * S), "the bound holds, connected or not");
        assert!(!may(Standby { beat: None, ..well() }, HOUR));
        let skewed = Standby {
            receiver: streaming(S / 2, 5 * S),
            ..well()
        };
        assert!(!may(skewed, HOUR));
    }
}
