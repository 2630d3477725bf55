//! Statistics of a handful of rounds, and of many latencies.

use serde::Serialize;

/// The middle of several rounds, and the bounds of their middle half: one wild round moves none of the three.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub median: f64,
    pub lower_quartile: f64,
    pub upper_quartile: f64,
}

impl Summary {
    pub fn of(values: &[f64]) -> Summary {
        Summary {
            median: median(values),
            lower_quartile: percentile(values, 25.0),
            upper_quartile: percentile(values, 75.0),
        }
    }
}

pub fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    }
}

/// The smallest value that at least `percent` of all values do not exceed.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let sorted = sorted(values);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn sorted(values: &[f64]) -> Vec<f64> {
    assert!(!values.is_empty(), "nothing was measured");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_value_in_the_middle() {
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        assert_eq!(median(&[10.0, 1.0, 2.0, 4.0]), 3.0);
    }

    #[test]
    fn one_wild_round_moves_nothing() {
        let summary = Summary::of(&[1.0, 1.1, 50.0, 0.9, 0.1]);
        let bounds = (summary.lower_quartile, summary.upper_quartile);
        assert_eq!((summary.median, bounds), (1.0, (0.9, 1.1)));
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&hundred, 50.0), 50.0);
        assert_eq!(percentile(&hundred, 99.0), 99.0);
        assert_eq!(percentile(&hundred, 100.0), 100.0);
        assert_eq!(percentile(&[7.0, 8.0], 99.0), 8.0);
        assert_eq!(percentile(&[7.0], 1.0), 7.0);
    }

    #[test]
    #[should_panic(expected = "nothing was measured")]
    fn nothing_has_no_median() {
        median(&[]);
    }
}
