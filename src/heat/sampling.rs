//! One reading in so many is counted, for all of them: a count of each would cost the flush more than it is worth. Pure.

use std::collections::HashMap;

/// No divisor of usual numbers of attributes in a row, so that none is counted always and none never.
pub const ONE_IN: u64 = 61;

#[derive(Default)]
pub struct Sampler {
    /// Readings until the next one is counted.
    left: u64,
    counted: HashMap<(i64, i32), u64>,
}

impl Sampler {
    /// The places of those that are counted, of so many that come now.
    pub fn places(&mut self, count: usize) -> impl Iterator<Item = usize> + use<> {
        let first = self.left as usize;
        let chosen = count.saturating_sub(first).div_ceil(ONE_IN as usize);
        let next = first + chosen * ONE_IN as usize;
        self.left = (next - count.min(next)) as u64;
        (first..count).step_by(ONE_IN as usize)
    }

    pub fn add(&mut self, tenant_id: i64, attribute_id: i32) {
        *self.counted.entry((tenant_id, attribute_id)).or_default() += ONE_IN;
    }

    /// What was counted since this was asked last.
    pub fn take(&mut self) -> HashMap<(i64, i32), u64> {
        std::mem::take(&mut self.counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_any_size_are_counted_alike() {
        for size in [1, 2, 60, 61, 62, 1000] {
            let mut sampler = Sampler::default();
            let mut chosen: u64 = 0;
            for _ in 0..61_000 / size {
                for place in sampler.places(size) {
                    assert!(place < size);
                    chosen += 1;
                }
            }
            let expected = (61_000 / size * size) as u64 / ONE_IN;
            assert!(chosen.abs_diff(expected) <= 1, "{size}: {chosen}");
        }
    }

    #[test]
    fn what_was_counted_stands_for_all() {
        let mut sampler = Sampler::default();
        sampler.add(1, 2);
        sampler.add(1, 2);
        assert_eq!(sampler.take().get(&(1, 2)), Some(&(2 * ONE_IN)));
        assert!(sampler.take().is_empty());
    }
}
