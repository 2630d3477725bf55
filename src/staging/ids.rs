//! Which ids occur among many: each is said once.

use std::collections::HashSet;

/// Ids below this have a bit of their own.
const DENSE: usize = 1 << 17;

const BITS: usize = u64::BITS as usize;

#[derive(Debug, Default)]
pub struct Ids {
    bits: Vec<u64>,
    sparse: HashSet<i32>,
}

impl Ids {
    #[inline]
    pub fn add(&mut self, id: i32) {
        let place = id as u32 as usize;
        match self.bits.get_mut(place / BITS) {
            Some(word) => *word |= 1 << (place % BITS),
            None => self.add_beyond(id),
        }
    }

    #[cold]
    fn add_beyond(&mut self, id: i32) {
        let place = id as u32 as usize;
        if place >= DENSE {
            self.sparse.insert(id);
            return;
        }
        self.bits.resize(place / BITS + 1, 0);
        self.bits[place / BITS] |= 1 << (place % BITS);
    }

    pub fn iter(&self) -> impl Iterator<Item = i32> {
        let bits = self.bits.iter().enumerate().flat_map(|(index, word)| {
            (0..BITS)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit| (index * BITS + bit) as i32)
        });
        bits.chain(self.sparse.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_said_once() {
        let wanted = [
            0,
            1,
            63,
            64,
            200,
            DENSE as i32 - 1,
            DENSE as i32,
            i32::MAX,
            -1,
            i32::MIN,
        ];
        let mut ids = Ids::default();
        for id in wanted.iter().rev().chain(&wanted) {
            ids.add(*id);
        }
        let mut found: Vec<i32> = ids.iter().collect();
        found.sort_unstable();
        let mut expected = wanted.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(Ids::default().iter().count(), 0);
    }
}
