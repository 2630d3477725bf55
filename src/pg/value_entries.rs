//! The entries of a leaf of an index by tenant, attribute, value and entity, all at once. Pure: what is read is a copy of the page.
//!
//! The page is in order, so where a stretch of values begins and ends is found by looking at a few entries; of those in between only the
//! entity is read.

use std::cmp::Ordering;

use super::btree_key::INFO;
use super::btree_page::{HAS_NULLS, Page};
use super::index_read::Scalar;

/// Where columns are in a tuple, as the server lays them out; a text follows the attribute at once, and the entity the text.
const TENANT: usize = 8;
const ATTRIBUTE: usize = 16;
const TEXT: usize = 20;
const NUMBER: usize = 24;
const BEHIND_NUMBER: usize = 32;

/// An entity, and where its document was when the value was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub entity: i64,
    pub document: u64,
}

/// Values that lie together in the index: of one tenant and attribute, from the least to the greatest.
#[derive(Debug, Clone, Copy)]
pub struct Stretch<'a> {
    pub tenant_id: i64,
    pub attribute_id: i32,
    pub low: Option<Scalar<'a>>,
    /// And whether it is one of them itself.
    pub high: Option<(Scalar<'a>, bool)>,
    /// Entities behind this one alone.
    pub after: Option<i64>,
}

impl Stretch<'_> {
    /// Of one value entities come in order.
    pub fn is_one_value(&self) -> bool {
        match (&self.low, &self.high) {
            (Some(low), Some((high, true))) => order(low, high) == Ordering::Equal,
            _ => false,
        }
    }
}

/// As the server orders values of one type; texts by their bytes.
fn order(left: &Scalar, right: &Scalar) -> Ordering {
    match (left, right) {
        (Scalar::Number(left), Scalar::Number(right)) => left
            .partial_cmp(right)
            .unwrap_or_else(|| left.is_nan().cmp(&right.is_nan())),
        (Scalar::Whole(left), Scalar::Whole(right)) => left.cmp(right),
        (Scalar::Text(left), Scalar::Text(right)) => left.as_bytes().cmp(right.as_bytes()),
        // Of one column all values have one type.
        _ => Ordering::Equal,
    }
}

/// How the tuples of the index look, by the type of their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Number,
    Whole,
    Text,
}

impl Kind {
    pub fn of(like: &Scalar) -> Kind {
        match like {
            Scalar::Number(_) => Kind::Number,
            Scalar::Whole(_) | Scalar::Small(_) => Kind::Whole,
            Scalar::Text(_) => Kind::Text,
        }
    }
}

pub struct Entries<'a> {
    pub page: Page<'a>,
    pub kind: Kind,
    pub stretch: &'a Stretch<'a>,
    /// What is marked as dead is not passed over.
    pub with_dead: bool,
}

impl Entries<'_> {
    /// Adds the entities within the stretch in the order of the page; one may come more than once. Whether there may be more on pages
    /// to the right. None: this is not such a page.
    pub fn add_to(&self, found: &mut Vec<Entry>) -> Option<bool> {
        let (first, end) = (self.page.first(), self.page.items() + 1);
        if first >= end {
            return Some(true);
        }
        let start = match self.stand(first)? {
            Ordering::Less => self.bound(first + 1, end, Ordering::Less)?,
            _ => first,
        };
        let stop = match self.stand(end - 1)? {
            Ordering::Greater => self.bound(start, end - 1, Ordering::Equal)?,
            _ => end,
        };
        let after = self.stretch.after.unwrap_or(i64::MIN);
        let is_behind = |entity| entity > after || self.stretch.after.is_none();
        for item in start..stop {
            let (tuple, is_dead) = self.page.tuple(item)?;
            if is_dead && !self.with_dead {
                continue;
            }
            let (entity, document) = self.entity(tuple)?;
            if is_behind(entity) {
                found.push(Entry { entity, document });
            }
        }
        Some(stop == end)
    }

    /// The first item that stands behind this; all from `low` on are looked at, and one that does is known to be at `high`.
    fn bound(&self, mut low: u16, mut high: u16, behind: Ordering) -> Option<u16> {
        while low < high {
            let middle = low + (high - low) / 2;
            if self.stand(middle)? <= behind {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Some(low)
    }

    /// Whether an item is before the stretch, in it, or behind it.
    fn stand(&self, item: u16) -> Option<Ordering> {
        let (tuple, _) = self.page.tuple(item)?;
        if u16::from_ne_bytes(piece(tuple, INFO)?) & HAS_NULLS != 0 {
            return None;
        }
        let tenant_id = i64::from_ne_bytes(piece(tuple, TENANT)?);
        let attribute_id = i32::from_ne_bytes(piece(tuple, ATTRIBUTE)?);
        let prefix = (tenant_id, attribute_id).cmp(&(self.stretch.tenant_id, self.stretch.attribute_id));
        if prefix != Ordering::Equal {
            return Some(prefix);
        }
        if let Some(low) = &self.stretch.low {
            match self.against(tuple, low)? {
                Ordering::Less => return Some(Ordering::Less),
                Ordering::Equal if self.stretch.is_one_value() => {
                    let is_before = self
                        .stretch
                        .after
                        .is_some_and(|after| self.entity(tuple).is_some_and(|(entity, _)| entity <= after));
                    return Some(if is_before {
                        Ordering::Less
                    } else {
                        Ordering::Equal
                    });
                }
                _ => {}
            }
        }
        let Some((high, is_included)) = &self.stretch.high else {
            return Some(Ordering::Equal);
        };
        Some(match self.against(tuple, high)? {
            Ordering::Less => Ordering::Equal,
            Ordering::Equal if *is_included => Ordering::Equal,
            _ => Ordering::Greater,
        })
    }

    fn against(&self, tuple: &[u8], value: &Scalar) -> Option<Ordering> {
        Some(match value {
            Scalar::Number(_) => order(&Scalar::Number(f64::from_ne_bytes(piece(tuple, NUMBER)?)), value),
            Scalar::Whole(_) | Scalar::Small(_) => {
                order(&Scalar::Whole(i64::from_ne_bytes(piece(tuple, NUMBER)?)), value)
            }
            Scalar::Text(value) => text(tuple)?.0.cmp(value.as_bytes()),
        })
    }

    /// With the place of its document.
    #[inline]
    fn entity(&self, tuple: &[u8]) -> Option<(i64, u64)> {
        let at = match self.kind {
            Kind::Number | Kind::Whole => BEHIND_NUMBER,
            Kind::Text => text(tuple)?.1.next_multiple_of(8),
        };
        Some((
            i64::from_ne_bytes(piece(tuple, at)?),
            u64::from_ne_bytes(piece(tuple, at + 8)?),
        ))
    }
}

#[inline]
fn piece<const N: usize>(tuple: &[u8], at: usize) -> Option<[u8; N]> {
    tuple.get(at..)?.first_chunk().copied()
}

/// The text of a tuple, and where it ends. Its header is one byte or four; what is so short is neither compressed nor elsewhere.
#[inline]
fn text(tuple: &[u8]) -> Option<(&[u8], usize)> {
    let first = *tuple.get(TEXT)?;
    let (is_short, short) = if cfg!(target_endian = "little") {
        (first & 1 == 1, first >> 1)
    } else {
        (first & 0x80 != 0, first & 0x7f)
    };
    if is_short {
        let end = TEXT + usize::from(short);
        return Some((tuple.get(TEXT + 1..end)?, end));
    }
    let long = u32::from_ne_bytes(piece(tuple, TEXT)?);
    let (is_plain, long) = if cfg!(target_endian = "little") {
        (long & 3 == 0, long >> 2)
    } else {
        (long & 0xc000_0000 == 0, long)
    };
    let end = TEXT + long as usize;
    tuple
        .get(TEXT + 4..end)
        .filter(|_| is_plain)
        .map(|text| (text, end))
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use crate::pg::btree_page::PAGE;
    use crate::pg::btree_page::tests::{append, empty};

    fn tuple(tenant_id: i64, attribute_id: i32, value: &[u8], entity: i64, document: u64) -> Vec<u8> {
        let mut bytes = vec![0; TENANT];
        bytes.extend(tenant_id.to_ne_bytes());
        bytes.extend(attribute_id.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(entity.to_ne_bytes());
        bytes.extend(document.to_ne_bytes());
        let info = bytes.len() as u16;
        bytes[INFO..INFO + 2].copy_from_slice(&info.to_ne_bytes());
        bytes
    }

    fn number(value: f64) -> Vec<u8> {
        [vec![0; 4], value.to_ne_bytes().to_vec()].concat()
    }

    /// With a header of one byte, or of four.
    fn stored(text: &str) -> Vec<u8> {
        let (length, long) = (text.len() + 1, text.len() as u32 + 4);
        let mut bytes = match (length > 0x7f, cfg!(target_endian = "little")) {
            (false, true) => vec![(length as u8) << 1 | 1],
            (false, false) => vec![length as u8 | 0x80],
            (true, true) => (long << 2).to_ne_bytes().to_vec(),
            (true, false) => long.to_ne_bytes().to_vec(),
        };
        bytes.extend(text.as_bytes());
        bytes
    }

    fn page(tuples: &[Vec<u8>]) -> Box<[u8; PAGE]> {
        let mut bytes = empty(0, 0);
        for tuple in tuples {
            append(&mut bytes, tuple);
        }
        bytes
    }

    fn read(
        bytes: &[u8; PAGE],
        kind: Kind,
        stretch: &Stretch,
        with_dead: bool,
    ) -> Option<(Vec<(i64, u64)>, bool)> {
        let mut found = Vec::new();
        let entries = Entries {
            page: Page::new(bytes),
            kind,
            stretch,
            with_dead,
        };
        let more = entries.add_to(&mut found)?;
        let pair = |entry: Entry| (entry.entity, entry.document);
        Some((found.into_iter().map(pair).collect(), more))
    }

    const NUMBERS: [f64; 6] = [f64::NEG_INFINITY, -0.0, 1.0, 1.5, f64::INFINITY, f64::NAN];

    #[test]
    fn stretches_of_numbers_are_what_lies_between_their_ends() {
        let (mut tuples, mut all) = (Vec::new(), Vec::new());
        for (tenant_id, attribute_id) in [(1, 7), (2, 6), (2, 7), (2, 8)] {
            for (rank, value) in NUMBERS.iter().enumerate() {
                for entity in [-3, 0, 0, 4] {
                    let place = tuples.len() as u64 + 1;
                    tuples.push(tuple(tenant_id, attribute_id, &number(*value), entity, place));
                    all.push((tenant_id, attribute_id, rank, entity, place));
                }
            }
        }
        let page = page(&tuples);
        let ends = || (0..NUMBERS.len()).map(Some).chain([None]);
        for attribute_id in 5..10 {
            for (low, high) in ends().flat_map(|low| ends().map(move |high| (low, high))) {
                for (is_included, after) in [(true, None), (false, None), (true, Some(-3)), (true, Some(0))] {
                    let stretch = Stretch {
                        tenant_id: 2,
                        attribute_id,
                        low: low.map(|rank| Scalar::Number(NUMBERS[rank])),
                        high: high.map(|rank| (Scalar::Number(NUMBERS[rank]), is_included)),
                        after,
                    };
                    let is_in = |(tenant, attribute, rank, entity, _): &&(i64, i32, usize, i64, u64)| {
                        (*tenant, *attribute) == (2, attribute_id)
                            && low.is_none_or(|low| *rank >= low)
                            && high.is_none_or(|high| *rank < high || is_included && *rank == high)
                            && after.is_none_or(|after| *entity > after)
                    };
                    let expected: Vec<(i64, u64)> = all
                        .iter()
                        .filter(is_in)
                        .map(|(_, _, _, entity, place)| (*entity, *place))
                        .collect();
                    let (found, more) = read(&page, Kind::Number, &stretch, false).expect("a page");
                    // The other way round there is nothing between the ends.
                    if low.is_none_or(|low| high.is_none_or(|high| low <= high)) {
                        assert_eq!(found, expected, "{stretch:?}");
                    }
                    let last = attribute_id == 9
                        || attribute_id == 8 && high.is_none_or(|high| high == 5 && is_included);
                    assert!(more || !last, "{stretch:?}");
                }
            }
        }
    }

    fn of_text<'a>(low: &'a str, high: &'a str) -> Stretch<'a> {
        Stretch {
            tenant_id: 1,
            attribute_id: 1,
            low: Some(Scalar::Text(low)),
            high: Some((Scalar::Text(high), true)),
            after: None,
        }
    }

    #[test]
    fn texts_of_any_length_are_read() {
        let long = "b".repeat(150);
        let mut tuples: Vec<Vec<u8>> = Vec::new();
        for (entity, text) in ["", "a", "ab", &long, "c"].iter().enumerate() {
            tuples.push(tuple(1, 1, &stored(text), entity as i64, entity as u64));
        }
        let page = page(&tuples);
        let ids = |low, high| {
            let (found, _) = read(&page, Kind::Text, &of_text(low, high), false).expect("a page");
            found.into_iter().map(|(entity, _)| entity).collect::<Vec<_>>()
        };
        assert_eq!(ids("", "z"), [0, 1, 2, 3, 4]);
        assert_eq!(ids("a", "a"), [1]);
        assert_eq!(ids(&long, &long), [3]);
        assert_eq!(ids("aba", "b"), [0; 0]);
        assert_eq!(ids("b", "c"), [3, 4]);
    }

    #[test]
    fn the_dead_are_passed_over_where_marks_are_believed() {
        let value = stored("on");
        let mut page = page(&[tuple(1, 1, &value, 5, 11), tuple(1, 1, &value, 6, 12)]);
        // The line pointer of the second says that it is dead.
        let pointer = 28;
        let raw = u32::from_ne_bytes([
            page[pointer],
            page[pointer + 1],
            page[pointer + 2],
            page[pointer + 3],
        ]);
        page[pointer..pointer + 4].copy_from_slice(&(raw | 3 << 15).to_ne_bytes());
        let of = |with_dead| {
            read(&page, Kind::Text, &of_text("on", "on"), with_dead)
                .expect("a page")
                .0
        };
        assert_eq!(of(false), [(5, 11)]);
        assert_eq!(of(true), [(5, 11), (6, 12)]);
    }

    #[test]
    fn what_is_no_such_page_is_refused() {
        let whole = tuple(1, 1, &number(1.0), 5, 11);
        let mut with_null = whole.clone();
        with_null[INFO + 1] |= 0x80;
        let mut none = page(std::slice::from_ref(&whole));
        none[24..28].fill(0);
        let stretch = Stretch {
            low: None,
            high: None,
            ..of_text("", "")
        };
        for bytes in [page(&[with_null]), page(&[whole[..24].to_vec()]), none] {
            assert!(read(&bytes, Kind::Number, &stretch, false).is_none());
        }
        // A compressed text.
        let mut packed = stored(&"b".repeat(150));
        let first = packed[0];
        packed[0] = if cfg!(target_endian = "little") {
            first | 2
        } else {
            first | 0x40
        };
        assert!(
            read(
                &page(&[tuple(1, 1, &packed, 5, 1)]),
                Kind::Text,
                &of_text("b", "b"),
                false
            )
            .is_none()
        );
    }
}
