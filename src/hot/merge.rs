//! New values into a document: the newest observation of each attribute wins, whatever the order in which they come. Pure.

use std::cmp::Ordering;

use super::corrupt::Corrupt;
use super::document::{self, Item, Kind, Pair, key_order};
use super::stamp::Stamp;
use super::times::{self, Times};
use super::value::{HotValue, JsonReader};

/// A value on its way into a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta<'a> {
    pub attribute_id: i32,
    pub name: &'a str,
    /// The attribute that is shared by all tenants and has the same name. The tenant's own takes its place.
    pub shadows: Option<i32>,
    pub stamp: Stamp,
    pub value: HotValue<'a>,
}

/// What is stored of an entity: `hot_attrs` without the length in front, and `hot_times`.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    pub attrs: &'a [u8],
    pub times: Option<&'a [u8]>,
}

/// The document as it is to be written.
#[derive(Debug, PartialEq)]
pub struct Merged {
    /// With the length in front.
    pub attrs: Vec<u8>,
    pub times: Vec<u8>,
    /// When the newest of its values was observed.
    pub as_of: i64,
    /// Places of the deltas that brought another value, and not the same one anew.
    pub changed: Vec<usize>,
    /// Attributes that were taken out.
    pub forgotten: Vec<i32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Corrupt(Corrupt),
    /// Larger than the server allows a document to be.
    TooLarge,
}

impl From<Corrupt> for Fault {
    fn from(corrupt: Corrupt) -> Fault {
        Fault::Corrupt(corrupt)
    }
}

/// Leaves of several deltas for one attribute the one that wins, and puts them in the order of attributes.
pub fn reduce<'a>(mut deltas: Vec<Delta<'a>>, json: JsonReader) -> Vec<Delta<'a>> {
    deltas.sort_by(|left, right| {
        let by_time = || right.stamp.cmp(&left.stamp);
        let by_value = || right.value.compare(&left.value, json);
        (left.attribute_id.cmp(&right.attribute_id))
            .then_with(by_time)
            .then_with(by_value)
    });
    deltas.dedup_by_key(|delta| delta.attribute_id);
    deltas
}

/// `deltas`: each attribute once, in order. None when none of them is newer than what is stored.
pub fn merge(stored: Option<Stored>, deltas: &[Delta], json: JsonReader) -> Result<Option<Merged>, Fault> {
    let known = match stored.and_then(|stored| stored.times) {
        Some(packed) => times::unpack(packed)?,
        None => Times::new(),
    };
    // Most of what comes is newer; what is not needs no look at the document.
    if deltas.iter().all(|delta| is_older(&known, delta)) {
        return Ok(None);
    }
    let pairs = match stored {
        Some(stored) => document::read(stored.attrs)?,
        None => Vec::new(),
    };
    let encoded = Encoded::of(deltas, json);
    let mut draft = Draft {
        pairs,
        added: Vec::new(),
        times: known,
        new_times: Times::new(),
        changed: Vec::new(),
        forgotten: Vec::new(),
    };
    let mut any = false;
    for (place, delta) in deltas.iter().enumerate() {
        any |= draft.take(place, delta, encoded.item(place));
    }
    if !any {
        return Ok(None);
    }
    draft.finish().map(Some)
}

fn find_time(times: &Times, id: i32) -> Result<usize, usize> {
    times.binary_search_by_key(&id, |(known, _)| *known)
}

fn is_older(times: &Times, delta: &Delta) -> bool {
    find_time(times, delta.attribute_id).is_ok_and(|place| delta.stamp < times[place].1)
}

/// Values in the server's layout, one after the other.
struct Encoded {
    bytes: Vec<u8>,
    items: Vec<(Kind, usize)>,
}

impl Encoded {
    fn of(deltas: &[Delta], json: JsonReader) -> Encoded {
        let mut bytes = Vec::with_capacity(deltas.len() * 16);
        let items = deltas
            .iter()
            .map(|delta| {
                let kind = delta.value.encode(json, &mut bytes);
                (kind, bytes.len())
            })
            .collect();
        Encoded { bytes, items }
    }

    fn item(&self, place: usize) -> Item<'_> {
        let start = if place == 0 { 0 } else { self.items[place - 1].1 };
        let (kind, end) = self.items[place];
        Item {
            kind,
            bytes: &self.bytes[start..end],
        }
    }
}

/// A document that is being changed.
struct Draft<'a> {
    pairs: Vec<Pair<'a>>,
    added: Vec<Pair<'a>>,
    times: Times,
    new_times: Times,
    changed: Vec<usize>,
    forgotten: Vec<i32>,
}

impl<'a> Draft<'a> {
    /// Whether the delta is newer than what is there, and so was taken.
    fn take(&mut self, place: usize, delta: &'a Delta<'a>, item: Item<'a>) -> bool {
        let known = find_time(&self.times, delta.attribute_id);
        let key = delta.name.as_bytes();
        let there = self.pairs.binary_search_by(|pair| key_order(pair.key, key));
        if let Ok(at) = known {
            let by_value = || match there {
                Ok(pair) => item.compare(&self.pairs[pair].item),
                Err(_) => Ordering::Greater,
            };
            if delta.stamp.cmp(&self.times[at].1).then_with(by_value) != Ordering::Greater {
                return false;
            }
        }
        let is_new = match there {
            // A shared attribute's value of the same name is no value of this one.
            Ok(pair) => known.is_err() || self.pairs[pair].item != item,
            Err(_) => true,
        };
        if is_new {
            self.changed.push(place);
        }
        match there {
            Ok(pair) => self.pairs[pair].item = item,
            Err(_) => self.added.push(Pair { key, item }),
        }
        match known {
            Ok(at) => self.times[at].1 = delta.stamp,
            Err(_) => self.new_times.push((delta.attribute_id, delta.stamp)),
        }
        if let Some(at) = delta.shadows.and_then(|id| find_time(&self.times, id).ok()) {
            self.forgotten.push(self.times.remove(at).0);
        }
        true
    }

    fn finish(mut self) -> Result<Merged, Fault> {
        if !self.added.is_empty() {
            self.pairs.append(&mut self.added);
            self.pairs
                .sort_unstable_by(|left, right| key_order(left.key, right.key));
        }
        if !self.new_times.is_empty() {
            self.times.append(&mut self.new_times);
            self.times.sort_unstable_by_key(|(id, _)| *id);
        }
        Ok(Merged {
            attrs: document::write(&self.pairs).ok_or(Fault::TooLarge)?,
            times: times::pack(&self.times),
            as_of: times::newest(&self.times).unwrap_or(i64::MIN),
            changed: self.changed,
            forgotten: self.forgotten,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::document::LENGTH;
    use super::*;

    fn json(text: &str, bytes: &mut Vec<u8>) -> Kind {
        bytes.extend_from_slice(text.as_bytes());
        Kind::Container
    }

    fn delta(id: i32, name: &str, event: i64, ingested: i64, value: f64) -> Delta<'_> {
        Delta {
            attribute_id: id,
            name,
            shadows: None,
            stamp: Stamp { event, ingested },
            value: HotValue::Number(value),
        }
    }

    fn after(stored: Option<&Merged>, deltas: &[Delta]) -> Option<Merged> {
        let stored = stored.map(|merged| Stored {
            attrs: &merged.attrs[LENGTH..],
            times: Some(&merged.times),
        });
        merge(stored, deltas, &json).unwrap()
    }

    #[test]
    fn any_order_of_arrival_gives_the_same_document() {
        let all = [
            delta(1, "a", 5, 9, 1.0),
            delta(1, "a", 5, 9, 2.0),
            delta(1, "a", 7, 7, 0.5),
            delta(1, "a", 7, 8, 0.25),
            delta(2, "bb", 1, 2, 3.0),
            delta(2, "bb", 1, 2, 3.0),
            delta(3, "c", 4, 4, -1.0),
        ];
        let expected = after(None, &reduce(all.to_vec(), &json)).unwrap();
        // Every rotation, forwards and backwards, one by one and in pieces.
        for start in 0..all.len() {
            let mut order = all.to_vec();
            order.rotate_left(start);
            for piece in 1..=3 {
                let mut stored: Option<Merged> = None;
                for part in order.chunks(piece) {
                    let merged = after(stored.as_ref(), &reduce(part.to_vec(), &json));
                    stored = merged.or(stored);
                }
                let found = stored.unwrap();
                assert_eq!(
                    (found.attrs, found.times, found.as_of),
                    (expected.attrs.clone(), expected.times.clone(), 7)
                );
                order.reverse();
            }
        }
    }

    #[test]
    fn what_is_not_newer_writes_nothing() {
        let stored = after(None, &[delta(1, "a", 5, 9, 2.0)]).unwrap();
        for (event, ingested, value) in [(5, 9, 2.0), (5, 9, 1.0), (5, 8, 3.0), (4, 99, 3.0)] {
            assert_eq!(
                after(Some(&stored), &[delta(1, "a", event, ingested, value)]),
                None
            );
        }
        assert!(after(Some(&stored), &[delta(1, "a", 5, 9, 3.0)]).is_some());
    }

    #[test]
    fn a_value_that_comes_again_is_no_change() {
        let stored = after(None, &[delta(1, "a", 5, 5, 2.0), delta(2, "b", 5, 5, 1.0)]).unwrap();
        assert_eq!(stored.changed, [0, 1]);
        let again = after(
            Some(&stored),
            &[delta(1, "a", 6, 6, 2.0), delta(2, "b", 6, 6, 2.0)],
        )
        .unwrap();
        assert_eq!((again.changed, again.as_of), (vec![1], 6));
    }

    #[test]
    fn the_tenants_own_attribute_takes_the_place_of_the_shared_one() {
        let stored = after(None, &[delta(1, "a", 50, 50, 2.0)]).unwrap();
        let mut own = delta(2, "a", 5, 5, 2.0);
        own.shadows = Some(1);
        let merged = after(Some(&stored), &[own]).unwrap();
        assert_eq!(
            (&merged.changed[..], &merged.forgotten[..], merged.as_of),
            (&[0][..], &[1][..], 5)
        );
        assert_eq!(times::unpack(&merged.times).unwrap().len(), 1);
    }

    #[test]
    fn what_is_corrupt_is_an_error() {
        let merged = after(None, &[delta(1, "a", 5, 5, 2.0)]).unwrap();
        let deltas = [delta(1, "a", 6, 6, 2.0)];
        for (attrs, times) in [
            (&merged.attrs[LENGTH..], &[9u8, 9][..]),
            (&merged.attrs[..3], &merged.times),
        ] {
            let stored = Stored {
                attrs,
                times: Some(times),
            };
            assert!(matches!(
                merge(Some(stored), &deltas, &json),
                Err(Fault::Corrupt(_))
            ));
        }
    }
}
