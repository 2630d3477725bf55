//! What the document of an entity should be by the facts there are. Pure but for reading them.

use super::corrupt::Corrupt;
use super::document::{self, Item, Pair, key_order};
use super::merge::{Delta, Merged, Stored};
use super::stamp::Stamp;
use super::times::{self, Times};
use super::value::JsonReader;

/// Where the document and the facts disagree about an attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference<'a> {
    pub attribute_id: i32,
    pub name: String,
    pub stored: Option<(Item<'a>, Option<Stamp>)>,
    /// The place of the delta that is right, if there is one.
    pub from_facts: Option<usize>,
}

/// A stored value whose time nobody knows any more is older than all others.
const UNKNOWN: Stamp = Stamp {
    event: i64::MIN,
    ingested: i64::MIN,
};

/// Compares a document with what facts say: the latest value of each attribute that is hot for the tenant and has one. A stored
/// value that is newer, or has no fact at all, is right if its fact may have been there: `is_gone` says of a time whether facts of
/// then have been removed. What cannot be read counts as not there, but for values whose times alone are lost.
pub fn differences<'a>(
    stored: Option<Stored<'a>>,
    deltas: &[Delta],
    hot: &[(i32, &str)],
    is_gone: impl Fn(i64) -> bool,
    json: JsonReader,
) -> Vec<Difference<'a>> {
    let pairs = stored.map_or(Ok(Vec::new()), |stored| document::read(stored.attrs));
    let pairs = pairs.unwrap_or_default();
    let times = unpacked(stored);
    let readable = times.is_ok();
    let times = times.unwrap_or_default();
    let stamp_of = |id: i32| {
        let place = times.binary_search_by_key(&id, |(known, _)| *known);
        place.ok().map(|place| times[place].1)
    };
    let mut found = Vec::new();
    let mut claimed = vec![false; pairs.len()];
    for (id, name) in hot {
        let place = pairs
            .binary_search_by(|pair| key_order(pair.key, name.as_bytes()))
            .ok();
        if let Some(place) = place {
            claimed[place] = true;
        }
        let item = place.map(|place| pairs[place].item);
        let stamp = stamp_of(*id);
        let right = deltas.binary_search_by_key(id, |delta| delta.attribute_id).ok();
        let known = stamp.or_else(|| (!readable).then_some(UNKNOWN));
        let keeps = |known: Stamp| {
            right.is_none_or(|right| known > deltas[right].stamp)
                && (known == UNKNOWN || is_gone(known.ingested))
        };
        let is_right = match (item, right) {
            (Some(_), _) if known.is_some_and(keeps) => readable,
            (Some(item), Some(right)) => {
                let mut bytes = Vec::new();
                let kind = deltas[right].value.encode(json, &mut bytes);
                stamp == Some(deltas[right].stamp) && item == Item { kind, bytes: &bytes }
            }
            (None, None) => stamp.is_none(),
            _ => false,
        };
        if !is_right {
            found.push(Difference {
                attribute_id: *id,
                name: (*name).to_owned(),
                stored: item.map(|item| (item, stamp)),
                from_facts: right.filter(|_| !(item.is_some() && known.is_some_and(keeps))),
            });
        }
    }
    // Keys that no hot attribute has.
    for (pair, _) in pairs.iter().zip(claimed).filter(|(_, claimed)| !claimed) {
        found.push(Difference {
            attribute_id: 0,
            name: String::from_utf8_lossy(pair.key).into_owned(),
            stored: Some((pair.item, None)),
            from_facts: None,
        });
    }
    found
}

fn unpacked(stored: Option<Stored>) -> Result<Times, Corrupt> {
    match stored.and_then(|stored| stored.times) {
        Some(packed) => times::unpack(packed),
        None => Ok(Times::new()),
    }
}

/// The document without the differences. None when it would be too large.
pub fn mended(
    stored: Option<Stored>,
    deltas: &[Delta],
    hot: &[(i32, &str)],
    differences: &[Difference],
    json: JsonReader,
) -> Option<Merged> {
    let wrong = |name: &[u8]| differences.iter().find(|one| one.name.as_bytes() == name);
    let pairs = stored.map_or(Ok(Vec::new()), |stored| document::read(stored.attrs));
    let known = unpacked(stored);
    let readable = known.is_ok();
    let known = known.unwrap_or_default();
    let mut bytes = Vec::new();
    let mut ranges = Vec::new();
    for delta in deltas {
        let start = bytes.len();
        let kind = delta.value.encode(json, &mut bytes);
        ranges.push((kind, start..bytes.len()));
    }
    let mut kept: Vec<Pair> = pairs.unwrap_or_default();
    // A value without a time stays where no fact is known to contradict it.
    let stays = |one: &Difference| !readable && one.attribute_id != 0 && one.from_facts.is_none();
    kept.retain(|pair| wrong(pair.key).is_none_or(stays));
    let mut times = Times::new();
    for (id, name) in hot {
        let right = wrong(name.as_bytes()).and_then(|one| one.from_facts);
        if let Some(right) = right {
            let (kind, range) = ranges[right].clone();
            kept.push(Pair {
                key: name.as_bytes(),
                item: Item {
                    kind,
                    bytes: &bytes[range],
                },
            });
            times.push((*id, deltas[right].stamp));
        } else if kept.iter().any(|pair| pair.key == name.as_bytes()) {
            let place = known.binary_search_by_key(id, |(known, _)| *known);
            times.push((*id, place.map_or(UNKNOWN, |place| known[place].1)));
        }
    }
    kept.sort_unstable_by(|left, right| key_order(left.key, right.key));
    times.sort_unstable_by_key(|(id, _)| *id);
    Some(Merged {
        attrs: document::write(&kept)?,
        times: times::pack(&times),
        as_of: times::newest(&times).unwrap_or(i64::MIN),
        changed: differences.iter().filter_map(|one| one.from_facts).collect(),
        forgotten: differences
            .iter()
            .filter(|one| one.from_facts.is_none() && one.attribute_id != 0 && !stays(one))
            .map(|one| one.attribute_id)
            .collect(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::document::{Kind, LENGTH};
    use super::super::merge::merge;
    use super::super::value::HotValue;
    use super::*;

    fn json(_: &str, _: &mut Vec<u8>) -> Kind {
        Kind::Null
    }

    const HOT: [(i32, &str); 3] = [(1, "a"), (2, "b"), (3, "c")];

    fn delta(id: i32, at: i64, value: f64) -> Delta<'static> {
        Delta {
            attribute_id: id,
            name: HOT[id as usize - 1].1,
            shadows: None,
            stamp: Stamp::of(at, None),
            value: HotValue::Number(value),
        }
    }

    fn stored(merged: &Merged) -> Option<Stored<'_>> {
        Some(Stored {
            attrs: &merged.attrs[LENGTH..],
            times: Some(&merged.times),
        })
    }

    #[test]
    fn a_document_is_mended_and_then_right() {
        let was = merge(
            None,
            &[delta(1, 50, 1.0), delta(2, 60, 2.0), delta(3, 5, 3.0)],
            &json,
        )
        .unwrap()
        .unwrap();
        // The fact of c is gone by retention, that of b says something else, that of a was never there.
        let facts = [delta(2, 60, 9.0)];
        let is_gone = |time| time < 10;
        let found = differences(stored(&was), &facts, &HOT, is_gone, &json);
        assert_eq!(
            found.iter().map(|one| one.attribute_id).collect::<Vec<_>>(),
            [1, 2]
        );
        let mended = mended(stored(&was), &facts, &HOT, &found, &json).unwrap();
        assert_eq!(differences(stored(&mended), &facts, &HOT, is_gone, &json), []);
        assert_eq!((mended.changed, mended.forgotten), (vec![0], vec![1]));
        let expected = merge(None, &[delta(2, 60, 9.0), delta(3, 5, 3.0)], &json)
            .unwrap()
            .unwrap();
        assert_eq!((mended.attrs, mended.times), (expected.attrs, expected.times));
    }

    #[test]
    fn values_whose_times_are_lost_stay_and_lose_against_any_fact() {
        let mut was = merge(None, &[delta(1, 50, 1.0), delta(2, 60, 2.0)], &json)
            .unwrap()
            .unwrap();
        was.times = vec![77];
        let facts = [delta(2, 6, 9.0)];
        let is_gone = |time| time < 10;
        let found = differences(stored(&was), &facts, &HOT, is_gone, &json);
        let mended = mended(stored(&was), &facts, &HOT, &found, &json).unwrap();
        assert_eq!(differences(stored(&mended), &facts, &HOT, is_gone, &json), []);
        let times = times::unpack(&mended.times).unwrap();
        assert_eq!(times, [(1, UNKNOWN), (2, Stamp::of(6, None))]);
    }
}
