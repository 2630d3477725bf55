//! Which of many entries are in another list as well, whose entities come one by one, in whatever order. Pure.

use crate::pg::value_entries::Entry;

/// Entities that wait to be found.
pub struct Sieve {
    /// Where they lie close together: a bit for each between the first and the last.
    near: Option<Near>,
    far: Far,
}

struct Near {
    first: i64,
    wanted: Bits,
    marked: Bits,
}

/// In order, each once. Most that are asked about are none of them, which some bits mostly tell.
#[derive(Default)]
struct Far {
    wanted: Vec<i64>,
    marked: Vec<bool>,
    bits: Bits,
    shift: u32,
}

/// Bits for each entity, at most where they are one for each place, and otherwise.
const MOST_BITS: usize = 64;
const BITS: usize = 16;

#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn none_of(count: usize) -> Bits {
        Bits(vec![0; count.div_ceil(64)])
    }

    /// False behind the last.
    #[inline]
    fn has(&self, bit: usize) -> bool {
        self.0
            .get(bit / 64)
            .is_some_and(|word| word & 1 << (bit % 64) != 0)
    }

    #[inline]
    fn set(&mut self, bit: usize) {
        if let Some(word) = self.0.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }

    /// The first one that is set, from here on.
    fn next(&self, from: usize) -> Option<usize> {
        let mut mask = u64::MAX << (from % 64);
        for (place, word) in self.0.iter().enumerate().skip(from / 64) {
            let found = word & mask;
            if found != 0 {
                return Some(place * 64 + found.trailing_zeros() as usize);
            }
            mask = u64::MAX;
        }
        None
    }
}

impl Near {
    /// Behind the last one for what is not between the ends.
    #[inline]
    fn bit(&self, entity: i64) -> usize {
        usize::try_from(entity.wrapping_sub(self.first) as u64).unwrap_or(usize::MAX)
    }
}

impl Far {
    fn of(entries: &[Entry]) -> Far {
        let mut wanted: Vec<i64> = entries.iter().map(|entry| entry.entity).collect();
        wanted.sort();
        wanted.dedup();
        let count = (wanted.len() * BITS).next_power_of_two().max(64);
        let mut far = Far {
            marked: vec![false; wanted.len()],
            bits: Bits::none_of(count),
            shift: 64 - count.trailing_zeros(),
            wanted: Vec::new(),
        };
        for entity in &wanted {
            far.bits.set(far.bit(*entity));
        }
        far.wanted = wanted;
        far
    }

    #[inline]
    fn bit(&self, entity: i64) -> usize {
        // The golden ratio spreads what lies close together.
        ((entity as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    fn is_marked(&self, entity: i64) -> bool {
        let place = self.wanted.binary_search(&entity);
        place.is_ok_and(|place| self.marked[place])
    }
}

impl Sieve {
    pub fn of(entries: &[Entry]) -> Sieve {
        let entities = || entries.iter().map(|entry| entry.entity);
        let (first, last) = (entities().min().unwrap_or(0), entities().max().unwrap_or(0));
        let width = usize::try_from(last.wrapping_sub(first) as u64).unwrap_or(usize::MAX);
        if width >= entries.len().saturating_mul(MOST_BITS) {
            return Sieve {
                near: None,
                far: Far::of(entries),
            };
        }
        let mut near = Near {
            first,
            wanted: Bits::none_of(width + 1),
            marked: Bits::none_of(width + 1),
        };
        for entity in entities() {
            near.wanted.set(near.bit(entity));
        }
        Sieve {
            near: Some(near),
            far: Far::default(),
        }
    }

    /// An entity of the other list.
    #[inline]
    pub fn mark(&mut self, entity: i64) {
        if let Some(near) = &mut self.near {
            let bit = near.bit(entity);
            if near.wanted.has(bit) {
                near.marked.set(bit);
            }
        } else if self.far.bits.has(self.far.bit(entity))
            && let Ok(place) = self.far.wanted.binary_search(&entity)
        {
            self.far.marked[place] = true;
        }
    }

    /// The next wanted entity behind this one.
    pub fn behind(&self, entity: i64) -> Option<i64> {
        let Some(near) = &self.near else {
            let next = self.far.wanted.partition_point(|wanted| *wanted <= entity);
            return self.far.wanted.get(next).copied();
        };
        let from = if entity < near.first {
            0
        } else {
            near.bit(entity).checked_add(1)?
        };
        near.wanted.next(from).map(|bit| near.first + bit as i64)
    }

    /// Leaves of the entries those that were marked.
    pub fn keep_marked(&self, entries: &mut Vec<Entry>) {
        entries.retain(|entry| match &self.near {
            Some(near) => near.marked.has(near.bit(entry.entity)),
            None => self.far.is_marked(entry.entity),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(entities: &[i64]) -> Vec<Entry> {
        let entry = |(place, entity): (usize, &i64)| Entry {
            entity: *entity,
            document: place as u64,
        };
        entities.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn what_both_have_is_left() {
        let far: Vec<i64> = (0..300).map(|one| one * 1_000_003 - 7).collect();
        for wanted in [
            vec![],
            vec![5],
            vec![i64::MIN, i64::MAX],
            vec![i64::MAX - 1, i64::MAX],
            vec![i64::MIN, i64::MIN + 63, i64::MIN + 64],
            vec![9, 3, 3, 70, -1, 9],
            (-100..100).rev().collect(),
            far.clone(),
        ] {
            let all = wanted
                .iter()
                .flat_map(|one| [one.wrapping_sub(1), *one, one.wrapping_add(1)]);
            let mut all: Vec<i64> = all.chain([0, i64::MIN, i64::MAX]).collect();
            all.sort_unstable();
            all.dedup();
            let mut sieve = Sieve::of(&entries(&wanted));
            for entity in &all {
                let next = wanted.iter().filter(|one| *one > entity).min();
                assert_eq!(sieve.behind(*entity), next.copied(), "{wanted:?} behind {entity}");
            }
            let others: Vec<i64> = all.into_iter().filter(|one| one.rem_euclid(3) != 0).collect();
            for entity in &others {
                sieve.mark(*entity);
            }
            let mut left = entries(&wanted);
            sieve.keep_marked(&mut left);
            let mut expected = entries(&wanted);
            expected.retain(|entry| others.contains(&entry.entity));
            assert_eq!(left, expected);
        }
    }
}
