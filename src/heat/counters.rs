//! The counters. Plain data of a fixed size; what finds no place is counted together. Pure.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Use;
use crate::worker::board::DATABASES;

/// Attributes that are counted one by one between two looks of the keeper, of all databases together.
const PLACES: usize = 4096;

/// Places in which one attribute may be.
const PROBES: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// 0: nobody.
    pub database: u32,
    /// 0, of tenant 0: the rest.
    pub attribute_id: i32,
    pub tenant_id: i64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub asked: u64,
    pub filtered: u64,
    pub written: u64,
}

impl Counts {
    pub fn is_zero(&self) -> bool {
        *self == Counts::default()
    }

    pub fn add(&mut self, other: &Counts) {
        self.asked += other.asked;
        self.filtered += other.filtered;
        self.written += other.written;
    }
}

struct Place {
    key: Option<Key>,
    asked: AtomicU64,
    filtered: AtomicU64,
    written: AtomicU64,
}

impl Place {
    const fn free() -> Place {
        Place {
            key: None,
            asked: AtomicU64::new(0),
            filtered: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    fn add(&self, what: Use, times: u64) {
        let counter = match what {
            Use::Asked => &self.asked,
            Use::Filtered => &self.filtered,
            Use::Written => &self.written,
        };
        counter.fetch_add(times, Relaxed);
    }

    fn counts(&self) -> Counts {
        Counts {
            asked: self.asked.load(Relaxed),
            filtered: self.filtered.load(Relaxed),
            written: self.written.load(Relaxed),
        }
    }

    fn subtract(&self, counts: Counts) {
        self.asked.fetch_sub(counts.asked, Relaxed);
        self.filtered.fetch_sub(counts.filtered, Relaxed);
        self.written.fetch_sub(counts.written, Relaxed);
    }
}

pub struct Heat {
    places: [Place; PLACES],
    /// Of each database what found no place.
    rest: [Place; DATABASES],
}

impl Heat {
    pub const fn new() -> Heat {
        Heat {
            places: [const { Place::free() }; PLACES],
            rest: [const { Place::free() }; DATABASES],
        }
    }

    /// False if it has no place yet.
    pub fn count(&self, key: Key, what: Use, times: u64) -> bool {
        let found = probes(key).find(|place| self.places[*place].key == Some(key));
        if let Some(place) = found {
            self.places[place].add(what, times);
        }
        found.is_some()
    }

    /// The same, with a place if there is one.
    pub fn enter(&mut self, key: Key, what: Use, times: u64) {
        if self.count(key, what, times) {
            return;
        }
        let free = probes(key).find(|place| self.places[*place].key.is_none());
        let place = match free {
            Some(free) => Some(&mut self.places[free]),
            None => {
                let rest = rest(key.database);
                let known = self.rest.iter().position(|place| place.key == Some(rest));
                let free = known.or_else(|| self.rest.iter().position(|place| place.key.is_none()));
                free.map(|free| &mut self.rest[free])
            }
        };
        if let Some(place) = place {
            place.key = Some(if free.is_some() { key } else { rest(key.database) });
            place.add(what, times);
        }
    }

    fn all(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().chain(&self.rest)
    }

    /// What was counted in a database.
    pub fn read(&self, database: u32, found: &mut Vec<(Key, Counts)>) {
        let counted = self.all().filter_map(|place| {
            let key = place.key.filter(|key| key.database == database)?;
            Some((key, place.counts()))
        });
        found.extend(counted);
    }

    /// What was read is written down. Places in which nothing more was counted are free again.
    pub fn written_down(&mut self, written: &[(Key, Counts)]) {
        for place in self.places.iter_mut().chain(&mut self.rest) {
            let Some((_, counts)) = place
                .key
                .and_then(|key| written.binary_search_by_key(&key, |(key, _)| *key).ok())
                .map(|found| written[found])
            else {
                continue;
            };
            place.subtract(counts);
            if place.counts().is_zero() {
                *place = Place::free();
            }
        }
    }
}

pub fn rest(database: u32) -> Key {
    Key {
        database,
        attribute_id: 0,
        tenant_id: 0,
    }
}

fn probes(key: Key) -> impl Iterator<Item = usize> {
    let mixed = (u64::from(key.database) << 32 | u64::from(key.attribute_id as u32))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(key.tenant_id as u64)
        .wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let first = (mixed >> 40) as usize;
    (0..PROBES).map(move |step| (first + step) % PLACES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(database: u32, attribute_id: i32) -> Key {
        Key {
            database,
            attribute_id,
            tenant_id: 7,
        }
    }

    fn read(heat: &Heat, database: u32) -> Vec<(Key, Counts)> {
        let mut found = Vec::new();
        heat.read(database, &mut found);
        found.sort_by_key(|(key, _)| *key);
        found
    }

    fn boxed() -> Box<Heat> {
        Box::new(Heat::new())
    }

    #[test]
    fn each_attribute_has_its_counters() {
        let mut heat = boxed();
        assert!(!heat.count(key(1, 1), Use::Asked, 1));
        for database in [1, 2] {
            for attribute in 1..100 {
                heat.enter(key(database, attribute), Use::Asked, 1);
                assert!(heat.count(key(database, attribute), Use::Written, 10));
            }
        }
        assert!(heat.count(key(1, 50), Use::Filtered, 3));
        let found = read(&heat, 1);
        assert_eq!(found.len(), 99);
        let expected = Counts {
            asked: 1,
            filtered: 3,
            written: 10,
        };
        assert_eq!(found[49], (key(1, 50), expected));
    }

    #[test]
    fn what_finds_no_place_is_counted_together_and_nothing_is_lost() {
        let mut heat = boxed();
        let most = 3 * PLACES as i32;
        for attribute in 1..=most {
            heat.enter(key(1, attribute), Use::Asked, 1);
        }
        let found = read(&heat, 1);
        assert_eq!(
            found.iter().map(|(_, counts)| counts.asked).sum::<u64>(),
            most as u64
        );
        assert!(
            found
                .iter()
                .any(|(key, counts)| *key == rest(1) && counts.asked > 1000)
        );
        assert!(found.len() > PLACES / 2);
    }

    #[test]
    fn what_is_written_down_makes_room_and_later_counts_stay() {
        let mut heat = boxed();
        for attribute in 1..=3 * PLACES as i32 {
            heat.enter(key(1, attribute), Use::Asked, 1);
        }
        let written = read(&heat, 1);
        let (busy, _) = written[5];
        assert!(heat.count(busy, Use::Asked, 4));
        heat.written_down(&written);
        let left = read(&heat, 1);
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].0, left[0].1.asked), (busy, 4));
    }
}
