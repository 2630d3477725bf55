//! How long flushes took, in buckets that grow by the square root of two: a few bytes for any number of flushes, quantiles
//! right to 41 percent, and two of them added are one. Pure.

/// From 0.1 ms in steps of √2: the last bucket holds all from 74 s on.
pub const BUCKETS: usize = 40;

const FIRST_US: f64 = 100.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    pub counts: [u32; BUCKETS],
}

impl Histogram {
    pub const EMPTY: Self = Histogram { counts: [0; BUCKETS] };

    pub fn record(&mut self, micros: u64) {
        let bucket = (0..BUCKETS - 1)
            .find(|bucket| micros as f64 <= upper_us(*bucket))
            .unwrap_or(BUCKETS - 1);
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
    }

    pub fn add(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
    }

    /// Counts as a table keeps them; what is missing or negative counts as none.
    pub fn from_counts(counts: &[i32]) -> Self {
        let mut histogram = Self::EMPTY;
        for (count, kept) in histogram.counts.iter_mut().zip(counts) {
            *count = u32::try_from(*kept).unwrap_or(0);
        }
        histogram
    }

    pub fn to_counts(self) -> Vec<i32> {
        self.counts
            .iter()
            .map(|count| i32::try_from(*count).unwrap_or(i32::MAX))
            .collect()
    }

    /// The time within which this share of all flushes ended: the upper bound of its bucket, but no more than the longest.
    pub fn quantile_us(&self, share: f64, longest_us: u64) -> Option<f64> {
        let total: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        if total == 0 {
            return None;
        }
        let wanted = (total as f64 * share).ceil().max(1.0);
        let mut seen = 0u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen as f64 >= wanted && bucket < BUCKETS - 1 {
                return Some(upper_us(bucket).min(longest_us as f64));
            }
        }
        Some(longest_us as f64)
    }
}

fn upper_us(bucket: usize) -> f64 {
    FIRST_US * std::f64::consts::SQRT_2.powi(bucket as i32)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_upper_bounds_within_a_bucket() {
        let mut histogram = Histogram::EMPTY;
        (1..=1000u64).for_each(|ms| histogram.record(ms * 1000));
        for (share, exact) in [(0.5, 500_000.0), (0.95, 950_000.0), (0.99, 990_000.0)] {
            let found = histogram.quantile_us(share, 1_000_000).unwrap();
            assert!(
                found >= exact && found <= exact * 1.42,
                "{share}: {found} for {exact}"
            );
        }
        assert_eq!(histogram.quantile_us(1.0, 1_000_000), Some(1_000_000.0));
    }

    #[test]
    fn no_flush_has_no_quantile_and_extremes_have_a_place() {
        let mut histogram = Histogram::EMPTY;
        assert_eq!(histogram.quantile_us(0.5, 0), None);
        histogram.record(0);
        assert_eq!(histogram.quantile_us(0.5, 3), Some(3.0));
        histogram.record(u64::MAX);
        assert_eq!(histogram.quantile_us(1.0, u64::MAX), Some(u64::MAX as f64));
    }

    #[test]
    fn two_halves_added_are_the_whole() {
        let [mut left, mut right, mut whole] = [Histogram::EMPTY; 3];
        for n in 0..100u64 {
            if n % 2 == 0 {
                left.record(n * n * 100);
            } else {
                right.record(n * n * 100);
            }
            whole.record(n * n * 100);
        }
        left.add(&right);
        assert_eq!(left, whole);
        assert_eq!(Histogram::from_counts(&whole.to_counts()), whole);
    }
}
