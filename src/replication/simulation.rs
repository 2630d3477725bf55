//! The promise `lag_seconds_low <= true lag <= lag_seconds`, tried on simulated servers: clocks that differ, and messages and
//! replay that take any time. Only tests.

use std::collections::BTreeMap;

use super::clocks::{Clocks, Heard};
use super::ring::{Beat, Ring, Time, rows_of_beat, seconds};
use super::verdict::{Receiver, Seen, Standby, Verdict, judge};
use crate::pg::replication::Position;

const MS: Time = 1000;
const S: Time = 1000 * MS;
const INTERVAL: Time = S;
const MAX_SKEW: Time = S / 2;

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: Time) -> Time {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.unsigned_abs()) as Time
    }

    /// Mostly short; now and then far longer, as when a network is cut or replay stands still.
    fn delay(&mut self) -> Time {
        match self.below(40) {
            0 => self.below(8 * S),
            1..5 => self.below(300 * MS),
            _ => self.below(5 * MS),
        }
    }
}

/// A transaction on the primary, and its way to the standby, in true time.
struct Commit {
    at: Time,
    position: Position,
    arrives: Time,
    replayed: Time,
    /// The clock and the position as a beat read them.
    beat: Option<Beat>,
}

/// Two minutes of a primary whose clock is right, with beats that come late, but never by a whole interval.
fn history(dice: &mut Dice) -> Vec<Commit> {
    let (mut commits, mut position): (Vec<Commit>, Position) = (Vec::new(), 1000);
    let (mut now, mut next_beat) = (0, 0);
    let busy = dice.below(2) == 0;
    while now < 120 * S {
        let step = if busy { 1 + dice.below(200 * MS) } else { Time::MAX };
        let beat = (now.saturating_add(step) >= next_beat).then(|| {
            now = next_beat.max(now + 1);
            next_beat = now + INTERVAL + dice.below(INTERVAL - 20 * MS);
            let beat = Beat { position, at: now };
            // It commits a little later than it looked at the clock.
            now += 1 + dice.below(10 * MS);
            beat
        });
        if beat.is_none() {
            now += step;
        }
        position += 50;
        let (arrived, done) = commits
            .last()
            .map_or((0, 0), |last| (last.arrives, last.replayed));
        let arrives = arrived.max(now + dice.delay());
        commits.push(Commit {
            at: now,
            position,
            arrives,
            replayed: done.max(arrives + dice.delay()),
            beat,
        });
    }
    commits
}

/// Since when a server at that position lacks something; 0: it lacks nothing.
fn true_lag(commits: &[Commit], position: Position, now: Time) -> Time {
    let lacks = |commit: &&Commit| commit.position > position && commit.at <= now;
    commits.iter().find(lacks).map_or(0, |commit| now - commit.at)
}

#[test]
fn a_standby_is_as_old_as_it_says() {
    let mut dice = Dice(6);
    let (mut verdicts, mut surely_old) = (BTreeMap::new(), 0);
    for _ in 0..300 {
        let commits = history(&mut dice);
        // How far the clock of the standby is ahead.
        let ahead = match dice.below(4) {
            0 => 0,
            1 => dice.below(20 * S) - 10 * S,
            _ => dice.below(2 * MAX_SKEW) - MAX_SKEW,
        };
        for _ in 0..100 {
            let now = S + dice.below(119 * S);
            let Some(last) = commits.iter().rfind(|commit| commit.arrives <= now) else {
                continue;
            };
            let replayed = commits.iter().rfind(|commit| commit.replayed <= now);
            let position = replayed.map_or(0, |commit| commit.position);
            let beat = commits
                .iter()
                .filter(|commit| commit.position <= position)
                .filter_map(|commit| commit.beat)
                .next_back();
            let judged = judge(&Standby {
                beat: beat.map(|beat| Seen {
                    at: beat.at,
                    own: true,
                }),
                receiver: [Receiver::Streaming, Receiver::Down, Receiver::Starting][dice.below(3) as usize],
                clocks: Clocks {
                    now: now + ahead,
                    heard: Some(Heard {
                        sent_at: last.at,
                        received_at: last.arrives + ahead,
                    }),
                    max_skew: MAX_SKEW,
                },
                paused: dice.below(10) == 0,
                replayed: position,
                heard_of: last.position,
                interval: INTERVAL,
            });
            *verdicts.entry(judged.verdict.name()).or_insert(0) += 1;
            let truth = true_lag(&commits, position, now);
            // What nobody can measure alone: how long the message was on its way, when this clock is behind.
            let hidden = (last.arrives - last.at).min(-ahead).max(0);
            if let (Some(at_least), Some(at_most)) = (judged.at_least, judged.at_most) {
                let place = format!("at {now}, {ahead} ahead: {judged:?}, in truth {truth}");
                assert!(at_least <= seconds(truth), "{place}");
                assert!(seconds(truth) <= at_most + seconds(hidden), "{place}");
                surely_old += usize::from(at_least > 0.0);
            } else {
                assert!(matches!(judged.verdict, Verdict::Skewed | Verdict::Unknown));
            }
        }
    }
    assert!(
        verdicts.len() == 6 && verdicts.values().all(|seen| *seen > 10),
        "{verdicts:?}"
    );
    assert!(surely_old > 1000, "{surely_old}");
}

#[test]
fn a_position_in_the_ring_is_no_younger_than_it_says() {
    let mut dice = Dice(7);
    let (mut known, mut most) = (0, 0.0_f64);
    for _ in 0..100 {
        let commits = history(&mut dice);
        let (mut rows, mut before) = (BTreeMap::new(), None);
        for commit in &commits {
            if let Some(beat) = commit.beat {
                for row in rows_of_beat(beat.at, before) {
                    rows.insert(row, beat);
                }
                before = Some(beat.at);
            }
            if dice.below(20) != 0 {
                continue;
            }
            let ring = Ring::new(rows.values().copied().collect());
            let now = commit.at + dice.below(S);
            let now = now.min(
                commits
                    .iter()
                    .find(|next| next.at > commit.at)
                    .map_or(now, |next| next.at - 1),
            );
            let position = (commit.position as Time - dice.below(3000)).max(0) as Position;
            let truth = seconds(true_lag(&commits, position, now));
            if let Some(behind) = ring.seconds_behind(position, commit.position, now) {
                assert!(truth <= behind, "{position}: {behind} s, in truth {truth}");
                known += 1;
                most = most.max(behind);
            }
        }
    }
    assert!(known > 500 && most > 60.0, "{known}, {most}");
}
