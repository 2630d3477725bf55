//! Finding the rows at fault: what fails as a whole is tried in halves. Pure: writing is a function that is passed in.

/// From here down rows are tried one by one: halving eight rows costs as many attempts as there are rows.
const ONE_BY_ONE: usize = 8;

/// Writes `rows` in as few pieces as their faults allow. Each piece is written whole or not at all. A row that fails alone
/// goes to `faulty`, with its fault; a fault that is not about rows (`about_rows`) ends it all. Returns what was written.
pub fn bisect<R: Copy, F>(
    rows: &[R],
    write: &mut impl FnMut(&[R]) -> Result<i64, F>,
    about_rows: &impl Fn(&F) -> bool,
    faulty: &mut Vec<(R, F)>,
) -> Result<i64, F> {
    let fault = match write(rows) {
        Ok(written) => return Ok(written),
        Err(fault) if !about_rows(&fault) => return Err(fault),
        Err(fault) => fault,
    };
    match rows {
        [] => Ok(0),
        [row] => {
            faulty.push((*row, fault));
            Ok(0)
        }
        _ => {
            let piece = if rows.len() <= ONE_BY_ONE {
                1
            } else {
                rows.len().div_ceil(2)
            };
            let mut written = 0;
            for part in rows.chunks(piece) {
                written += bisect(part, write, about_rows, faulty)?;
            }
            Ok(written)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Outcome {
        written: Result<i64, &'static str>,
        faulty: Vec<u32>,
        attempts: usize,
        stored: Vec<u32>,
    }

    fn try_out(count: u32, is_bad: impl Fn(u32) -> Option<&'static str>) -> Outcome {
        let rows: Vec<u32> = (0..count).collect();
        let mut attempts = 0;
        let mut stored = Vec::new();
        let mut faulty = Vec::new();
        let mut write = |part: &[u32]| {
            attempts += 1;
            match part.iter().find_map(|row| is_bad(*row)) {
                Some(fault) => Err(fault),
                None => {
                    stored.extend_from_slice(part);
                    Ok(part.len() as i64)
                }
            }
        };
        let written = bisect(&rows, &mut write, &|fault| *fault == "row", &mut faulty);
        Outcome {
            written,
            faulty: faulty.into_iter().map(|(row, _)| row).collect(),
            attempts,
            stored,
        }
    }

    #[test]
    fn good_rows_take_one_attempt() {
        let outcome = try_out(10_000, |_| None);
        assert_eq!((outcome.written, outcome.attempts), (Ok(10_000), 1));
    }

    #[test]
    fn one_bad_row_costs_the_logarithm_of_their_number() {
        for bad in [0, 1, 4_999, 5_000, 9_999] {
            let outcome = try_out(10_000, |row| (row == bad).then_some("row"));
            assert_eq!((outcome.written, &outcome.faulty[..]), (Ok(9_999), &[bad][..]));
            assert!(outcome.attempts <= 32, "{bad}: {} attempts", outcome.attempts);
        }
    }

    #[test]
    fn when_all_are_bad_each_is_tried_hardly_more_than_once() {
        let outcome = try_out(1_000, |_| Some("row"));
        assert_eq!((outcome.written, outcome.faulty.len()), (Ok(0), 1_000));
        assert!(outcome.attempts <= 1_300, "{} attempts", outcome.attempts);
    }

    #[test]
    fn every_row_is_written_once_or_named_once() {
        for step in [2, 3, 7, 50] {
            let mut outcome = try_out(501, |row| (row % step == 0).then_some("row"));
            outcome.stored.extend(&outcome.faulty);
            outcome.stored.sort_unstable();
            assert_eq!(outcome.stored, (0..501).collect::<Vec<_>>(), "{step}");
        }
    }

    #[test]
    fn a_fault_that_is_not_about_rows_ends_it_at_once() {
        let outcome = try_out(1_000, |row| (row == 700).then_some("disk"));
        assert_eq!((outcome.written, outcome.attempts), (Err("disk"), 1));
        let outcome = try_out(1_000, |row| match row {
            1 => Some("row"),
            700 => Some("disk"),
            _ => None,
        });
        assert_eq!(outcome.written, Err("disk"));
        assert_eq!(outcome.faulty, [1]);
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(try_out(0, |_| Some("row")).written, Ok(0));
    }
}
