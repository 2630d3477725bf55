//! Which pages of a partition that has grown too large are emptied. It is used as a ring: what was emptied is filled again, so
//! the oldest rows are not the first ones, and the size of the file says nothing about what is in it. Both are told from a
//! sample. Pure.

/// Pages that are looked at, evenly spaced.
const SAMPLE: i64 = 1024;

/// Removal begins when rows take so much of what they may...
const FULL: f64 = 0.9;
/// ...and ends here, so that there is room for the rows of some time.
const ENOUGH: f64 = 0.75;

/// The pages to look at.
pub fn sample(pages: i64) -> Vec<i64> {
    let count = pages.clamp(0, SAMPLE);
    (0..count).map(|number| number * pages / count).collect()
}

/// Pages from the first up to and without the second.
pub type Range = (i64, i64);

/// What to empty, oldest first. `ages` has, for each page of the sample, when the row that was found there was refused, or
/// none where the page is free; `allowed` is the share of the file that rows may take.
pub fn to_empty(pages: i64, ages: &[Option<i64>], allowed: f64) -> Vec<Range> {
    let count = ages.len();
    let mut used = ages.iter().flatten().count();
    if (used as f64) <= FULL * allowed * count as f64 {
        return Vec::new();
    }
    let mut by_age: Vec<(i64, usize)> = ages
        .iter()
        .enumerate()
        .filter_map(|(slice, age)| Some(((*age)?, slice)))
        .collect();
    by_age.sort_unstable();
    let mut ranges = Vec::new();
    for (_, slice) in by_age {
        if used as f64 <= ENOUGH * allowed * count as f64 {
            break;
        }
        used -= 1;
        let bound = |slice: usize| slice as i64 * pages / count as i64;
        ranges.push((bound(slice), bound(slice + 1)));
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_spread_over_all_pages() {
        assert!(sample(0).is_empty());
        assert_eq!(sample(3), [0, 1, 2]);
        let pages = sample(10 * SAMPLE + 7);
        assert_eq!(pages.len() as i64, SAMPLE);
        assert!(
            pages
                .windows(2)
                .all(|pair| (10..=11).contains(&(pair[1] - pair[0])))
        );
    }

    #[test]
    fn nothing_is_emptied_while_there_is_room() {
        let ages: Vec<Option<i64>> = (0..100).map(Some).collect();
        assert!(to_empty(1000, &ages, 1.2).is_empty());
        assert!(to_empty(1000, &[], 1.0).is_empty());
        // The file is twice as large as it may be, but half of it is free.
        let half: Vec<Option<i64>> = (0..100).map(|n| (n % 2 == 0).then_some(n)).collect();
        assert!(to_empty(1000, &half, 0.56).is_empty());
    }

    #[test]
    fn the_oldest_go_first_wherever_they_lie() {
        // Written round the ring once already: 60.. is older than 0..
        let ages: Vec<Option<i64>> = (0..100)
            .map(|n| Some(if n < 60 { 1000 + n } else { n }))
            .collect();
        let ranges = to_empty(1000, &ages, 1.0);
        assert_eq!(ranges.len(), 25);
        assert_eq!((ranges[0], ranges[24]), ((600, 610), (840, 850)));
        // Forty are older; then the others follow from the start.
        let ranges = to_empty(1000, &ages, 0.5);
        assert_eq!(ranges[40], (0, 10));
        assert_eq!(to_empty(1000, &ages, 0.0).len(), 100);
    }

    #[test]
    fn ranges_end_where_the_next_begin() {
        let ages = vec![Some(1); 1024];
        let mut ranges = to_empty(12_345, &ages, 0.0);
        ranges.sort_unstable();
        assert_eq!((ranges[0].0, ranges[1023].1), (0, 12_345));
        assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0));
    }
}
