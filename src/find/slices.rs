//! In which pieces the readings of a time are read, so that whoever wants the newest few reads no more than these. Pure: times are the
//! server's microseconds.
//!
//! Facts lie in partitions by the time they came in, and are asked for by the time they were measured. A piece is a stretch of the
//! latter, and with it the stretch of the former in which its readings can be. Pieces do not overlap, so one after the other
//! they come in order, and each is twice as wide as the one before: a series that is seldom measured costs few of them.

/// A partition: readings that came in from `from` up to `until`, measured between `low` and `high`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub from: i64,
    pub until: i64,
    pub low: i64,
    pub high: i64,
}

/// All stretches without their ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    pub measured: (i64, i64),
    /// In order, with something in between.
    pub came_in: Vec<(i64, i64)>,
}

/// Stretches that one query is told of; more are taken for one.
const MOST_STRETCHES: usize = 16;

/// Reading partitions so many times on the average is worse than reading all of them once.
const MOST_VISITS: usize = 5;

/// What has to be read for the readings that were measured from `since` up to `until`, in one piece.
pub fn whole(parts: &[Part], since: i64, until: i64) -> Option<Slice> {
    let mut came_in: Vec<(i64, i64)> = Vec::new();
    let mut goes_on = false;
    for part in parts {
        let wanted = part.low < until && part.high >= since;
        match came_in.last_mut() {
            // Between two partitions there is nothing.
            Some(last) if wanted && goes_on => last.1 = part.until,
            _ if wanted => came_in.push((part.from, part.until)),
            _ => {}
        }
        goes_on = wanted;
    }
    let (first, last) = (*came_in.first()?, *came_in.last()?);
    if came_in.len() > MOST_STRETCHES {
        came_in = vec![(first.0, last.1)];
    }
    Some(Slice {
        measured: (since, until),
        came_in,
    })
}

/// The same in pieces, in the order in which they are wanted. `parts` in order.
pub fn pieces(parts: &[Part], since: i64, until: i64, newest_first: bool) -> Vec<Slice> {
    let relevant: Vec<Part> = parts
        .iter()
        .filter(|part| part.low < until && part.high >= since)
        .copied()
        .collect();
    let mut cuts = Vec::new();
    let (mut place, mut width) = (0, 1);
    while place + width < relevant.len() {
        place += width;
        width *= 2;
        cuts.push(if newest_first {
            relevant[relevant.len() - place].from
        } else {
            relevant[place - 1].until
        });
    }
    let mut slices = Vec::new();
    let mut edge = if newest_first { until } else { since };
    let last = if newest_first { since } else { until };
    for cut in cuts.into_iter().chain([last]) {
        let cut = cut.clamp(since, until);
        let (from, to) = if newest_first { (cut, edge) } else { (edge, cut) };
        if from < to {
            slices.extend(whole(parts, from, to));
            edge = cut;
        }
    }
    let touches = |slice: &Slice| {
        relevant
            .iter()
            .filter(|part| {
                slice
                    .came_in
                    .iter()
                    .any(|(from, until)| part.from < *until && part.until > *from)
            })
            .count()
    };
    let visits: usize = slices.iter().map(touches).sum();
    if visits > MOST_VISITS * relevant.len() {
        return whole(parts, since, until).into_iter().collect();
    }
    slices
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVER: (i64, i64) = (i64::MIN, i64::MAX);

    /// Partitions of 100, measured up to `late` before they came in and `early` after.
    fn parts(count: i64, late: i64, early: i64) -> Vec<Part> {
        (0..count)
            .map(|number| Part {
                from: number * 100,
                until: number * 100 + 100,
                low: number * 100 - late,
                high: number * 100 + 99 + early,
            })
            .collect()
    }

    /// Which slice a reading is found in; each must be in exactly one.
    fn found(slices: &[Slice], measured: i64, came_in: i64) -> Option<usize> {
        let holds = |slice: &Slice| {
            (slice.measured.0..slice.measured.1).contains(&measured)
                && slice
                    .came_in
                    .iter()
                    .any(|(from, until)| (*from..*until).contains(&came_in))
        };
        let places: Vec<usize> = (0..slices.len()).filter(|place| holds(&slices[*place])).collect();
        assert!(places.len() <= 1, "{measured} is in {places:?}");
        places.first().copied()
    }

    #[test]
    fn every_reading_is_in_exactly_one_piece_and_pieces_are_in_order() {
        for (count, late, early) in [(1, 0, 0), (2, 0, 0), (9, 30, 0), (40, 250, 10), (16, 5000, 5000)] {
            let parts = parts(count, late, early);
            for (since, until) in [
                EVER,
                (0, count * 100),
                (150, 151),
                (count * 50, i64::MAX),
                (-500, 77),
            ] {
                for newest_first in [false, true] {
                    let slices = pieces(&parts, since, until, newest_first);
                    for pair in slices.windows(2) {
                        let (first, second) = (pair[0].measured, pair[1].measured);
                        assert!(if newest_first {
                            second.1 <= first.0
                        } else {
                            first.1 <= second.0
                        });
                    }
                    for part in &parts {
                        for measured in (part.low..=part.high).step_by(7) {
                            let wanted = since <= measured && measured < until;
                            let place = found(&slices, measured, part.from + 50);
                            assert_eq!(place.is_some(), wanted, "{measured} of {part:?} in {slices:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_newest_few_cost_one_partition_and_all_of_them_few_pieces() {
        let parts = parts(1000, 0, 0);
        let slices = pieces(&parts, i64::MIN, i64::MAX, true);
        assert_eq!(slices[0].came_in, [(99_900, 100_000)]);
        assert_eq!(slices[1].came_in, [(99_700, 99_900)]);
        assert!(slices.len() <= 11, "{}", slices.len());
        let oldest = pieces(&parts, i64::MIN, i64::MAX, false);
        assert_eq!(oldest[0].came_in, [(0, 100)]);
    }

    #[test]
    fn what_is_outside_is_not_read() {
        let parts = parts(10, 0, 0);
        assert_eq!(whole(&parts, 1000, 2000), None);
        assert_eq!(
            whole(&parts, 250, 260).map(|slice| slice.came_in),
            Some(vec![(200, 300)])
        );
        let mut late = parts.clone();
        late[8].low = 255;
        assert_eq!(
            whole(&late, 250, 260).map(|slice| slice.came_in),
            Some(vec![(200, 300), (800, 900)])
        );
        assert!(pieces(&parts, -100, 0, true).is_empty());
        assert!(pieces(&[], i64::MIN, i64::MAX, true).is_empty());
    }

    #[test]
    fn partitions_that_may_all_hold_anything_are_read_once() {
        let parts = parts(64, 1_000_000, 0);
        assert_eq!(pieces(&parts, i64::MIN, i64::MAX, false).len(), 1);
        assert!(pieces(&parts, i64::MIN, i64::MAX, true).len() > 1);
    }
}
