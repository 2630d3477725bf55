//! What becomes of an alert when its rule was looked at. Pure: times are microseconds, the clock is an argument.
//!
//! A value at or beyond a threshold makes it pending, and firing once that has gone on for long enough. A firing one ends when the
//! value has been on the good side of the clear threshold for long enough; between that and the warning it goes on. So neither
//! a moment nor a value that goes to and fro around a threshold makes noise.

pub type Time = i64;

/// How long what is over stays to be seen.
pub const SEEN_AFTERWARDS: Time = 3_600_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Warning,
    Critical,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Level::Warning => "warning",
            Level::Critical => "critical",
        }
    }

    pub fn named(name: &str) -> Option<Level> {
        [Level::Warning, Level::Critical]
            .into_iter()
            .find(|level| level.name() == name)
    }
}

/// Which side of a threshold is the bad one; the threshold itself belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worse {
    Higher,
    Lower,
}

impl Worse {
    fn reaches(self, value: f64, threshold: f64) -> bool {
        match self {
            Worse::Higher => value >= threshold,
            Worse::Lower => value <= threshold,
        }
    }
}

/// What a rule goes by, with what somebody set instead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    pub worse: Worse,
    pub warn: Option<f64>,
    pub critical: Option<f64>,
    pub clear: f64,
    pub lasts: Time,
    pub keep: Time,
}

impl Tuning {
    pub fn level(&self, value: f64) -> Option<Level> {
        let reached =
            |threshold: Option<f64>| threshold.is_some_and(|limit| self.worse.reaches(value, limit));
        match () {
            () if reached(self.critical) => Some(Level::Critical),
            () if reached(self.warn) => Some(Level::Warning),
            () => None,
        }
    }

    pub fn threshold(&self, level: Level) -> Option<f64> {
        match level {
            Level::Warning => self.warn.or(self.critical),
            Level::Critical => self.critical.or(self.warn),
        }
    }

    /// What a firing alert asks for: the clear threshold has to be passed as well. One that is on the wrong side of the
    /// warning does not count.
    fn level_of_firing(&self, value: f64) -> Option<Level> {
        let is_clear = !self.worse.reaches(value, self.clear);
        let first = if self.warn.is_some() {
            Level::Warning
        } else {
            Level::Critical
        };
        self.level(value)
            .or((!is_clear && self.clear_is_sane()).then_some(first))
    }

    fn clear_is_sane(&self) -> bool {
        self.threshold(Level::Warning)
            .is_some_and(|warn| self.worse.reaches(warn, self.clear))
    }
}

/// What was found of an object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading {
    Value(f64),
    /// It is there, and how it is cannot be known.
    Unknown,
    /// It is not there, or there is nothing to be said of it.
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Firing,
    Resolved,
    /// Nothing was ever known.
    Unknown,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Phase::Pending => "pending",
            Phase::Firing => "firing",
            Phase::Resolved => "resolved",
            Phase::Unknown => "unknown",
        }
    }

    pub fn named(name: &str) -> Option<Phase> {
        [Phase::Pending, Phase::Firing, Phase::Resolved, Phase::Unknown]
            .into_iter()
            .find(|phase| phase.name() == name)
    }
}

/// One alert about one object. Those that are well have none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Course {
    pub phase: Phase,
    pub level: Level,
    pub value: Option<f64>,
    pub since: Time,
    pub fired_at: Option<Time>,
    /// Since when the value asks for less than the level.
    pub calm_since: Option<Time>,
    pub resolved_at: Option<Time>,
    /// Since when nothing is known any more. Whatever came before goes on once it is.
    pub unknown_since: Option<Time>,
}

impl Course {
    fn begin(phase: Phase, level: Level, value: Option<f64>, now: Time) -> Course {
        Course {
            phase,
            level,
            value,
            since: now,
            fired_at: (phase == Phase::Firing).then_some(now),
            calm_since: None,
            resolved_at: None,
            unknown_since: (phase == Phase::Unknown).then_some(now),
        }
    }
}

/// The next of an alert; None: it is well, and was for long enough.
pub fn step(before: Option<Course>, reading: Reading, tuning: &Tuning, now: Time) -> Option<Course> {
    // After the clock was set back, nothing has begun in the future.
    let before = before.map(|course| clamped(course, now));
    let value = match reading {
        Reading::Unknown => return Some(unknown(before, now)),
        Reading::Value(value) => Some(value),
        Reading::Gone => None,
    };
    let before = before
        .filter(|course| course.phase != Phase::Unknown)
        .map(|course| Course {
            unknown_since: None,
            ..course
        });
    match before {
        Some(course) if course.phase == Phase::Firing => Some(firing(course, value, tuning, now)),
        Some(course) if course.phase == Phase::Pending => pending(course, value, tuning, now),
        _ => match value.and_then(|value| tuning.level(value)) {
            Some(level) => Some(begun(level, value, tuning, now)),
            None => before.filter(|course| {
                course
                    .resolved_at
                    .is_some_and(|resolved| now - resolved < SEEN_AFTERWARDS)
            }),
        },
    }
}

fn unknown(before: Option<Course>, now: Time) -> Course {
    match before.filter(|course| matches!(course.phase, Phase::Pending | Phase::Firing | Phase::Unknown)) {
        Some(course) => Course {
            unknown_since: course.unknown_since.or(Some(now)),
            ..course
        },
        None => Course::begin(Phase::Unknown, Level::Warning, None, now),
    }
}

fn begun(level: Level, value: Option<f64>, tuning: &Tuning, now: Time) -> Course {
    let phase = if tuning.lasts == 0 {
        Phase::Firing
    } else {
        Phase::Pending
    };
    Course::begin(phase, level, value, now)
}

fn pending(course: Course, value: Option<f64>, tuning: &Tuning, now: Time) -> Option<Course> {
    let level = tuning.level(value?)?;
    let fires = now - course.since >= tuning.lasts;
    Some(Course {
        phase: if fires { Phase::Firing } else { Phase::Pending },
        level,
        value,
        fired_at: fires.then_some(now),
        ..course
    })
}

fn firing(course: Course, value: Option<f64>, tuning: &Tuning, now: Time) -> Course {
    let asked = value.and_then(|value| tuning.level_of_firing(value));
    if let Some(level) = asked
        && level >= course.level
    {
        return Course {
            level,
            value,
            calm_since: None,
            ..course
        };
    }
    let calm_since = course.calm_since.unwrap_or(now);
    let calmed = now - calm_since >= tuning.keep;
    match asked {
        _ if !calmed => Course {
            value,
            calm_since: Some(calm_since),
            ..course
        },
        Some(level) => Course {
            level,
            value,
            calm_since: None,
            ..course
        },
        None => Course {
            phase: Phase::Resolved,
            value,
            calm_since: None,
            resolved_at: Some(now),
            ..course
        },
    }
}

fn clamped(course: Course, now: Time) -> Course {
    let earlier = |time: Option<Time>| time.map(|time| time.min(now));
    Course {
        since: course.since.min(now),
        fired_at: earlier(course.fired_at),
        calm_since: earlier(course.calm_since),
        resolved_at: earlier(course.resolved_at),
        unknown_since: earlier(course.unknown_since),
        ..course
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Time = 1_000_000;

    const TUNING: Tuning = Tuning {
        worse: Worse::Higher,
        warn: Some(30.0),
        critical: Some(300.0),
        clear: 15.0,
        lasts: 20 * SECOND,
        keep: 60 * SECOND,
    };

    /// One value after the other, ten seconds apart.
    fn run(tuning: &Tuning, values: &[f64]) -> Vec<Option<(Phase, Level)>> {
        let mut course = None;
        values
            .iter()
            .enumerate()
            .map(|(place, value)| {
                course = step(
                    course,
                    Reading::Value(*value),
                    tuning,
                    place as Time * 10 * SECOND,
                );
                course.map(|course| (course.phase, course.level))
            })
            .collect()
    }

    const PENDING: Option<(Phase, Level)> = Some((Phase::Pending, Level::Warning));
    const FIRING: Option<(Phase, Level)> = Some((Phase::Firing, Level::Warning));
    const CRITICAL: Option<(Phase, Level)> = Some((Phase::Firing, Level::Critical));
    const RESOLVED: Option<(Phase, Level)> = Some((Phase::Resolved, Level::Warning));

    #[test]
    fn it_fires_when_it_has_gone_on_for_long_enough() {
        assert_eq!(
            run(&TUNING, &[29.9, 30.0, 40.0, 50.0]),
            [None, PENDING, PENDING, FIRING]
        );
        assert_eq!(
            run(&TUNING, &[40.0, 20.0, 40.0, 40.0]),
            [PENDING, None, PENDING, PENDING]
        );
        let at_once = Tuning { lasts: 0, ..TUNING };
        assert_eq!(run(&at_once, &[40.0, 400.0]), [FIRING, CRITICAL]);
    }

    #[test]
    fn it_ends_below_the_clear_threshold_and_not_before() {
        let tuning = Tuning {
            lasts: 0,
            keep: 20 * SECOND,
            ..TUNING
        };
        assert_eq!(
            run(&tuning, &[30.0, 15.0, 29.0, 16.0, 14.0, 14.0, 14.0]),
            [FIRING, FIRING, FIRING, FIRING, FIRING, FIRING, RESOLVED]
        );
        // What comes back begins the wait anew.
        assert_eq!(
            run(&tuning, &[30.0, 14.0, 16.0, 14.0, 14.0]),
            [FIRING, FIRING, FIRING, FIRING, FIRING]
        );
    }

    #[test]
    fn a_milder_level_waits_as_well() {
        let tuning = Tuning {
            lasts: 0,
            keep: 10 * SECOND,
            ..TUNING
        };
        assert_eq!(
            run(&tuning, &[300.0, 200.0, 300.0, 200.0, 200.0, 300.0]),
            [CRITICAL, CRITICAL, CRITICAL, CRITICAL, FIRING, CRITICAL]
        );
        // Not quite clear: no longer critical, and not over.
        assert_eq!(run(&tuning, &[300.0, 20.0, 20.0]), [CRITICAL, CRITICAL, FIRING]);
    }

    #[test]
    fn lower_can_be_worse() {
        let tuning = Tuning {
            worse: Worse::Lower,
            warn: Some(0.2),
            critical: Some(0.1),
            clear: 0.25,
            lasts: 0,
            keep: 0,
        };
        assert_eq!(
            run(&tuning, &[0.3, 0.2, 0.22, 0.05, 0.15, 0.3]),
            [None, FIRING, FIRING, CRITICAL, FIRING, RESOLVED]
        );
    }

    #[test]
    fn a_clear_threshold_on_the_wrong_side_keeps_nothing_firing() {
        let tuning = Tuning {
            clear: 100.0,
            warn: Some(30.0),
            lasts: 0,
            keep: 0,
            ..TUNING
        };
        assert_eq!(run(&tuning, &[40.0, 29.0]), [FIRING, RESOLVED]);
        let below = Tuning {
            clear: -5.0,
            ..tuning
        };
        assert_eq!(run(&below, &[40.0, 29.0, -6.0]), [FIRING, FIRING, RESOLVED]);
    }

    #[test]
    fn what_is_resolved_stays_to_be_seen_for_a_while() {
        let tuning = Tuning {
            lasts: 0,
            keep: 0,
            ..TUNING
        };
        let fired = step(None, Reading::Value(30.0), &tuning, 0);
        let resolved = step(fired, Reading::Gone, &tuning, SECOND).unwrap();
        assert_eq!(
            (resolved.phase, resolved.resolved_at),
            (Phase::Resolved, Some(SECOND))
        );
        assert_eq!(
            step(Some(resolved), Reading::Gone, &tuning, SEEN_AFTERWARDS),
            Some(resolved)
        );
        assert_eq!(
            step(Some(resolved), Reading::Gone, &tuning, SEEN_AFTERWARDS + SECOND),
            None
        );
        let again = step(Some(resolved), Reading::Value(30.0), &tuning, 2 * SECOND).unwrap();
        assert_eq!(
            (again.phase, again.since, again.resolved_at),
            (Phase::Firing, 2 * SECOND, None)
        );
    }

    #[test]
    fn not_knowing_is_never_well_and_forgets_nothing() {
        let nothing = step(None, Reading::Unknown, &TUNING, SECOND).unwrap();
        assert_eq!(
            (nothing.phase, nothing.unknown_since),
            (Phase::Unknown, Some(SECOND))
        );
        let still = step(Some(nothing), Reading::Unknown, &TUNING, 9 * SECOND).unwrap();
        assert_eq!(still.unknown_since, Some(SECOND));
        assert_eq!(step(Some(still), Reading::Value(1.0), &TUNING, 10 * SECOND), None);
        assert_eq!(step(Some(still), Reading::Gone, &TUNING, 10 * SECOND), None);

        let at_once = Tuning { lasts: 0, ..TUNING };
        let fired = step(None, Reading::Value(400.0), &at_once, 0);
        let lost = step(fired, Reading::Unknown, &at_once, SECOND).unwrap();
        assert_eq!(
            (lost.phase, lost.level, lost.unknown_since),
            (Phase::Firing, Level::Critical, Some(SECOND))
        );
        let found = step(Some(lost), Reading::Value(400.0), &at_once, 2 * SECOND);
        assert_eq!(found, fired);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_prolong_anything() {
        let tuning = Tuning {
            keep: 10 * SECOND,
            ..TUNING
        };
        let hour = 3600 * SECOND;
        let waits = step(None, Reading::Value(40.0), &tuning, hour);
        let moved = step(waits, Reading::Value(40.0), &tuning, 0);
        let fired = step(moved, Reading::Value(40.0), &tuning, 20 * SECOND).unwrap();
        assert_eq!(fired.phase, Phase::Firing);
    }

    #[test]
    fn without_a_warning_there_is_only_the_critical_level() {
        let tuning = Tuning {
            warn: None,
            critical: Some(1.0),
            clear: 1.0,
            lasts: 0,
            keep: 0,
            worse: Worse::Higher,
        };
        assert_eq!(
            run(&tuning, &[0.0, 1.0, 0.0]),
            [None, CRITICAL, Some((Phase::Resolved, Level::Critical))]
        );
        let never = Tuning {
            critical: Some(f64::INFINITY),
            ..tuning
        };
        assert_eq!(run(&never, &[1e300]), [None]);
    }
}
